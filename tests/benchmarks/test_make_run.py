"""How whole runs are timed."""

import pytest

from benchmarks import make_run
from benchmarks.make_run import Side
from cxr_jax.cli import TASKS
from cxr_jax.errors import InputError
from experiments.command import main, parse

# ml_collections loads a config file in a way that Python deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def checkout(folder, line: str):
    folder.mkdir()
    (folder / "main.py").write_text(f"import os, sys, time\ntime.sleep(0.2)\n{line}\n")
    return folder


def test_a_task_is_run_as_a_user_would(tmp_path):
    line = "open('told', 'w').write(' '.join([*sys.argv[1:], os.environ['XDG_CACHE_HOME']]))"
    side = Side(checkout=checkout(tmp_path / "there", line), workdir=tmp_path / "run" / "ours")
    taken = side.take("gan", "configs/phantom.py", ("--config.gan.num_steps=3",))
    assert taken["seconds"] >= 0.2 and taken["peak_gib"] > 0
    assert (tmp_path / "there" / "told").read_text().split() == [
        "--config=configs/phantom.py",
        f"--workdir={tmp_path}/run/ours",
        "--task=gan",
        "--config.gan.num_steps=3",
        f"{tmp_path}/run/ours_programs",  # its own, and none at first
    ]


def test_a_checkout_says_which_tasks_it_has(tmp_path):
    wrapped = "print('  --task: <all|classifier|\\n    gan|explain>: What to run')"
    side = Side(checkout=checkout(tmp_path / "there", wrapped), workdir=tmp_path / "run")
    assert side.tasks() == ["classifier", "gan", "explain"]
    silent = Side(checkout=checkout(tmp_path / "silent", ""), workdir=tmp_path / "run")
    with pytest.raises(InputError, match="silent names no tasks"):
        silent.tasks()


def test_a_task_that_fails_is_named(tmp_path):
    side = Side(checkout=checkout(tmp_path / "there", "sys.exit(3)"), workdir=tmp_path / "run")
    with pytest.raises(InputError, match="task gan of .*there failed"):
        side.take("gan", "configs/phantom.py", ())


def test_both_checkouts_take_each_task_in_turns_as_to_who_is_first(tmp_path, monkeypatch):
    order = []

    def take(side, task, config, overrides):
        order.append((task, side.workdir.name))
        return {
            "seconds": {"ours": 1.0, "other": 4.0}[side.workdir.name],
            "cpu_seconds": 1,
            "peak_gib": 1,
        }

    report = {
        "paths": {
            "linear": {
                "pos_to_neg": {"flip_rate": {"mean": 0.5}, "twin_error": {"mean": 0.625}},
                "neg_to_pos": {"flip_rate": {"mean": 0.75}},
            }
        },
        "maps": {"latent": {"on_target": {"mean": 0.25}, "pixel_auroc_lung": {"mean": 0.875}}},
    }
    older = [task for task in TASKS if task != "prior"]
    tasks = lambda side: list(TASKS) if side.workdir.name == "ours" else older
    monkeypatch.setattr(Side, "take", take)
    monkeypatch.setattr(Side, "tasks", tasks)
    monkeypatch.setattr(make_run, "read_report", lambda workdir: report)
    argv = [f"--workdir={tmp_path}", "--against=elsewhere", "--out="]
    *_, results = make_run.run(parse(make_run.STUDY, argv))
    found = results["beside elsewhere"]
    first, second, *_ = TASKS
    assert order[:4] == [(first, "ours"), (first, "other"), (second, "other"), (second, "ours")]
    ratios = dict.fromkeys([*older, "gan_and_encoder"], 0.25)
    assert found["ratio"] == ratios | {"all": round(len(TASKS) / (4 * len(older)), 3)}
    assert order.count(("prior", "ours")) == 1 and ("prior", "other") not in order
    rows = make_run.to_markdown(results).splitlines()
    assert "| ours | gan | 1 | 1 | 1 | 0.167 |" in rows
    assert "| `other` | 0.500 | 0.750 | 0.625 | 0.250 | 0.875 |" in rows


def test_a_run_is_timed_from_its_beginning(tmp_path, capsys):
    (tmp_path / "ours").mkdir()
    argv = ["make_run", f"--workdir={tmp_path}", "--out="]
    assert main("benchmarks", {"make_run": make_run.STUDY}, argv) == 2
    assert "is there already" in capsys.readouterr().err
