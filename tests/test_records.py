"""What a run writes about itself, and whose work directory it is."""

import json
import os

import pytest
from ml_collections import ConfigDict

from cxr_jax.runtime import workdir
from cxr_jax.errors import InputError


def make_config(**fields) -> ConfigDict:
    config = dict(seed=0, gan=dict(widths=(8, 16), rate=0.1), explain=dict(images=8))
    return ConfigDict(config | fields)


def claim(workdir, config: ConfigDict, contents: str = "films 1") -> None:
    workdir.check_workdir(workdir, config)
    workdir.claim_workdir(workdir, config, contents)


def test_a_workdir_stays_with_its_data(tmp_path):
    claim(tmp_path, make_config(), "films 1")
    claim(tmp_path, make_config(), "films 1")
    with pytest.raises(InputError, match="films 1 then, films 2 now"):
        claim(tmp_path, make_config(), "films 2")
    assert workdir.read_json(tmp_path / "data.json") == {"contents": "films 1"}


def test_a_new_workdir_gets_the_config(tmp_path):
    workdir = tmp_path / "a" / "b"
    claim(workdir, make_config())
    assert json.loads((workdir / "config.json").read_text()) == {
        "seed": 0,
        "gan": {"widths": [8, 16], "rate": 0.1},
        "explain": {"images": 8},
    }


def test_the_same_config_may_come_back(tmp_path):
    claim(tmp_path, make_config())
    claim(tmp_path, make_config())


@pytest.mark.parametrize(
    ("change", "named", "advised"),
    [
        (dict(seed=1), "seed", True),
        (dict(gan=dict(widths=(8, 32), rate=0.1)), "gan.widths", True),
        # No flag can take back what only one version of the program knows.
        (dict(gan=dict(widths=(8, 16))), "gan.rate", False),
        (dict(more=3), "more", False),
    ],
)
def test_another_config_is_refused_by_the_field_that_differs(tmp_path, change, named, advised):
    claim(tmp_path, make_config())
    before = (tmp_path / "config.json").read_text()
    with pytest.raises(InputError, match=named.replace(".", r"\.")) as raised:
        claim(tmp_path, make_config(**change))
    assert str(tmp_path) in str(raised.value)
    assert (f"--config.{named}=" in str(raised.value)) == advised
    assert (tmp_path / "config.json").read_text() == before


def test_explaining_may_be_configured_anew(tmp_path):
    claim(tmp_path, make_config())
    claim(tmp_path, make_config(explain=dict(images=16)))
    assert workdir.read_json(tmp_path / "config.json")["explain"] == {"images": 16}


def test_the_same_data_may_lie_elsewhere(tmp_path):
    claim(tmp_path, make_config(data=dict(dir="films", cache_dir="", image_size=64)))
    claim(tmp_path, make_config(data=dict(dir="moved", cache_dir="cache", image_size=64)))
    with pytest.raises(InputError, match="data.image_size"):
        claim(tmp_path, make_config(data=dict(dir="films", cache_dir="", image_size=128)))


def test_other_evaluators_may_be_asked_for_but_not_made_otherwise(tmp_path):
    claim(tmp_path, make_config(evaluators=dict(names=(), robust=dict(steps=1))))
    claim(tmp_path, make_config(evaluators=dict(names=("robust",), robust=dict(steps=1))))
    assert workdir.read_json(tmp_path / "config.json")["evaluators"]["names"] == ["robust"]
    with pytest.raises(InputError, match="evaluators.robust.steps"):
        claim(tmp_path, make_config(evaluators=dict(names=("robust",), robust=dict(steps=2))))


def test_a_file_in_the_way_is_named(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(InputError, match="file cannot be written"):
        claim(path, make_config())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_forbidden_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written"):
        claim(tmp_path / "run", make_config())


@pytest.mark.parametrize("broken", ["{", "", "not json"])
def test_a_broken_config_is_named(tmp_path, broken):
    (tmp_path / "config.json").write_text(broken)
    with pytest.raises(InputError, match=r"config\.json is not JSON"):
        claim(tmp_path, make_config())


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "metrics.json"
    workdir.write_json(path, {"a": [1, None]})
    for content in ({"a": float("nan")}, {"a": object()}):
        with pytest.raises((ValueError, TypeError)):
            workdir.write_json(path, content)
    assert workdir.read_json(path) == {"a": [1, None]}


def test_a_run_killed_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    workdir.write_json(path, {"a": 1})

    def die(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(path), "replace", die)
    with pytest.raises(KeyboardInterrupt):
        workdir.write_json(path, {"a": 2})
    assert workdir.read_json(path) == {"a": 1}


def read_lines(directory) -> list[dict]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_recorder_writes_a_line_an_interval(tmp_path, capsys):
    recorder = MetricWriter(tmp_path / "gan", "gan", 20, 4, 0)
    recorder.write(10, {"loss": 0.5})
    # A killed run has its lines on disk without having been closed.
    assert read_lines(tmp_path / "gan")[0]["loss"] == 0.5
    recorder.write(20, {"loss": 0.25})
    recorder.close()
    lines = read_lines(tmp_path / "gan")
    assert [line["step"] for line in lines] == [10, 20]
    assert all(line["images_per_second"] > 0 for line in lines)
    shown = capsys.readouterr().out
    assert "gan  step 10/20" in shown and "loss 0.25" in shown


def test_a_resumed_recorder_appends(tmp_path):
    for start in (0, 10):
        recorder = MetricWriter(tmp_path, "gan", 20, 4, start)
        recorder.write(start + 10, {"loss": start})
        recorder.close()
    assert [line["step"] for line in read_lines(tmp_path)] == [10, 20]


def test_what_was_recorded_after_the_checkpoint_is_recorded_once(tmp_path):
    recorder = MetricWriter(tmp_path, "gan", 40, 4, 0)
    for step in (10, 20, 30):
        recorder.write(step, {"loss": 1.0})
    recorder.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4')  # the run was killed while it wrote
    recorder = MetricWriter(tmp_path, "gan", 40, 4, 20)
    recorder.write(30, {"loss": 2.0})
    recorder.close()
    lines = read_lines(tmp_path)
    assert [(line["step"], line["loss"]) for line in lines] == [(10, 1.0), (20, 1.0), (30, 2.0)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_training_ends(tmp_path, value):
    recorder = MetricWriter(tmp_path, "gan", 20, 4, 0)
    with pytest.raises(InputError, match="gan has diverged: loss is (nan|inf) at step 10"):
        recorder.write(10, {"accuracy": 0.5, "loss": value})
    recorder.close()
    assert read_lines(tmp_path) == []


def test_done_is_done_with_its_facts(tmp_path):
    assert not workdir.is_done(tmp_path)
    workdir.mark_done(tmp_path, explain={"images": (1, 2)}, steps=3)
    assert workdir.is_done(tmp_path)
    assert workdir.is_done(tmp_path, explain={"images": (1, 2)})
    assert not workdir.is_done(tmp_path, explain={"images": (1, 3)})
    assert not workdir.is_done(tmp_path, unknown=1)


def test_a_task_that_is_done_again_is_finished_anew(tmp_path):
    assert workdir.finished(tmp_path) is None
    assert workdir.finished(tmp_path / "nowhere") is None
    workdir.mark_done(tmp_path, steps=3)
    os.utime(tmp_path / "done.json", ns=(1, 10**18 + 1))
    assert workdir.finished(tmp_path) == 10**18 + 1
    workdir.mark_done(tmp_path, steps=3)
    assert workdir.finished(tmp_path) > 10**18 + 1
    # To the nanosecond, also after it was written down.
    trained = {"gan": workdir.finished(tmp_path), "evaluators": None}
    workdir.mark_done(tmp_path / ".", explain={}, trained=trained)
    assert workdir.is_done(tmp_path, trained=trained)
    assert not workdir.is_done(tmp_path, trained=trained | {"gan": trained["gan"] + 1})
    assert not workdir.is_done(tmp_path, trained=trained | {"evaluators": 1})
