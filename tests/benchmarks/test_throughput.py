"""How workers are timed side by side, and what is told of them."""

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from timings import make_timed

from benchmarks import contenders, protocol, throughput
from benchmarks.interleave import Entrant, race
from benchmarks.throughput import AGAINST, Ours, Theirs
from cxr_jax.errors import InputError
from experiments.command import main, parse

# ml_collections loads a config file in a way that Python deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

# A worker that says what it is told; each round is slower than the one before, by its own pace.
FAKE = """
import json, sys
pace, images, diary = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
print("a library says something")
say = lambda told: print(json.dumps(told), flush=True)
say({"ready": True, "images": images, "repeats": 1, "devices": "1 x fake"})
for number, line in enumerate(sys.stdin, 1):
    open(diary, "a").write(f"{pace:g} ")
    seconds = [number * pace] * int(line)
    say({"seconds": seconds, "cpu_seconds": 1.5 * sum(seconds), "peak_gib": 0.123})
"""


def fake(diary: Path, pace: float, images: int, steps: int) -> Entrant:
    command = [sys.executable, "-c", FAKE, str(pace), str(images), str(diary)]
    return Entrant(command=command, folder=Path.cwd(), environment=os.environ, steps=steps)


def test_workers_take_rounds_in_turn(tmp_path):
    diary = tmp_path / "diary"
    found = race({"a": fake(diary, 1.0, 32, 2), "b": fake(diary, 4.0, 8, 1)}, rounds=3)
    assert diary.read_text().split() == ["1", "4"] * 3
    np.testing.assert_allclose(found["a"].seconds, [1, 2, 3])
    np.testing.assert_allclose(found["b"].seconds, [4, 8, 12])
    assert found["a"].images == 32 and found["a"].cores == pytest.approx(1.5)
    row = throughput.describe(found["a"])
    assert row["images_per_second"] == {"median": 16.0, "least": 10.67, "most": 32.0}
    assert row["peak_gib"] == 0.12
    assert throughput.ratio(found["a"], found["b"]) == {"median": 16, "least": 16, "most": 16}


def test_who_cannot_run_here_says_why(tmp_path):
    told = '{"ready": false, "reason": "PyTorch is missing"}'
    cannot = Entrant(
        command=[sys.executable, "-c", f"print('{told}')"],
        folder=tmp_path,
        environment=os.environ,
        steps=1,
    )
    found = race({"torch": cannot, "a": fake(tmp_path / "diary", 1.0, 32, 2)}, rounds=1)
    assert found["torch"] == "PyTorch is missing" and found["a"].images == 32
    row = throughput.describe(found["torch"])
    assert throughput.cells(row)[0] == "PyTorch is missing"


def test_a_worker_that_ends_early_is_named(tmp_path):
    dies = Entrant(
        command=[sys.executable, "-c", ""], folder=tmp_path, environment=os.environ, steps=1
    )
    with pytest.raises(InputError, match="the slow one ended early"):
        race({"the slow one": dies}, rounds=1)


def test_a_worker_answers_each_line(capsys):
    taken = []
    contender = contenders.Contender(step=lambda: taken.append(1), images=4)
    protocol.serve(contender.step, io.StringIO("3\n1\n"))
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert len(taken) == 4 and len(first["seconds"]) == 3 and len(second["seconds"]) == 1
    assert first["peak_gib"] > 0 and first["cpu_seconds"] >= 0


def test_ratios_are_of_rounds_and_not_of_medians():
    # Medians would say 2; in every round it was 4 times as fast, or as slow.
    ours, torch = make_timed(1.0, 8.0, 2.0, images=2), make_timed(2.0, 4.0, 4.0)
    found = throughput.ratios_of("classifier", {"classifier": ours, "PyTorch": torch})
    assert found == {"classifier_step_vs_torch": {"median": 4, "least": 1, "most": 4}}
    assert throughput.ratios_of("classifier", {"classifier": ours}) == {}


def test_what_is_reached_of_a_matrix_product(monkeypatch):
    monkeypatch.setattr(throughput, "gan_gflop", lambda: 8.0)
    monkeypatch.setattr(throughput, "matmul_gflop", lambda: 2.0)
    rows = {"GAN": make_timed(0.5), throughput.MATMUL: make_timed(0.05)}  # 16 of 40 GFLOP/s
    assert throughput.ratios_of("gan", rows)["share_of_matmul"]["median"] == pytest.approx(0.4)


def test_another_checkout_races_in_the_peers_stead(tmp_path):
    group = {"classifier": Ours(name="classifier", steps=3), "PyTorch": Theirs(name="x", steps=3)}
    alone = throughput.entrants(group, against=None, python="python-with-torch")
    assert list(alone) == ["classifier", "PyTorch"]
    assert alone["PyTorch"].command[0] == "python-with-torch"
    both = throughput.entrants(group, against=tmp_path, python="")
    assert list(both) == ["classifier", "classifier" + AGAINST]
    assert both["classifier" + AGAINST].folder == tmp_path
    assert both["classifier" + AGAINST].command == both["classifier"].command
    rows = {"classifier": make_timed(1.0), "classifier" + AGAINST: make_timed(3.0)}
    found = throughput.ratios_of("classifier", rows)
    assert found == {"classifier against the other checkout": {"median": 3, "least": 3, "most": 3}}


def test_a_worker_may_find_nothing_kept(tmp_path):
    for keeps, said in ((True, "True"), (False, "False")):
        entrant = Ours(name="gan", steps=1, keeps=keeps).entrant(tmp_path)
        assert entrant.environment["JAX_ENABLE_COMPILATION_CACHE"] == said


def test_every_ratio_is_of_rows_that_there_are():
    for group, over, under in throughput.RATIOS.values():
        assert {over, under} <= throughput.GROUPS[group].keys()
    names = {step.name for group in throughput.GROUPS.values() for step in group.values()}
    assert set(contenders.CONTENDERS) <= names


def test_groups_stand_beside_those_of_other_devices(monkeypatch, tmp_path):
    monkeypatch.setattr(
        throughput, "race", lambda workers, rounds: {"encoder": make_timed(0.5, 0.25)}
    )
    known = {"gan, 1 x other": {"rounds": 1, "rows": {}, "ratios": {}}}
    options = parse(throughput.STUDY, ["--only=encoder", "--out="])
    fields = {**vars(options), "earlier": {"results": known}}
    (found,) = throughput.run(type(options)(**fields))
    assert list(found) == ["gan, 1 x other", "encoder, 1 x fake"]
    text = throughput.to_markdown(found)
    assert "| encoder | 3 [2, 4] | 1 | 0.5 | 1 |" in text.splitlines()


def test_what_was_timed_beside_peers_is_kept_when_another_checkout_is(monkeypatch, tmp_path):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "worker.py").touch()
    monkeypatch.setattr(throughput, "race", lambda workers, rounds: {"encoder": make_timed(0.5)})
    known = {"encoder, 1 x fake": {"rounds": 1, "rows": {}, "ratios": {}}}
    options = parse(throughput.STUDY, ["--only=encoder", f"--against={tmp_path}", "--out="])
    (found,) = throughput.run(type(options)(**{**vars(options), "earlier": {"results": known}}))
    assert list(found) == ["encoder, 1 x fake", f"encoder{AGAINST}, 1 x fake"]


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--workdir=runs/phantom"], "takes no --workdir"),
        (["--only=gans"], "--only=gans: the groups are classifier, gan,"),
        (["--against=nowhere"], "nowhere has no benchmarks/worker.py; compare whole commands"),
    ],
)
def test_what_cannot_be_timed_is_told(capsys, flags, said):
    argv = ["throughput", "--out=", *flags]
    assert main("benchmarks", {"throughput": throughput.STUDY}, argv) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", contenders.CONTENDERS)
def test_every_contender_takes_steps(name, tiny_config):
    contender = contenders.CONTENDERS[name](tiny_config)
    contender.step()
    contender.step()
    assert contender.images >= 1
