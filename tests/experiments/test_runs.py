"""Runs of `main.py` by a study."""

import subprocess

import pytest

from experiments import runs


def test_a_study_fails_with_its_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        runs.subprocess, "run", lambda command: subprocess.CompletedProcess(command, 2)
    )
    with pytest.raises(SystemExit) as ended:
        runs.run_main("configs/phantom.py", tmp_path / "seed1", [])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "seed1") in line


def test_the_command_line_of_changed_fields():
    changes = {"gan.conditioning": "binary", "gan.z_class_channels": (64,), "gan.num_grades": 2}
    assert runs.as_flags(changes) == [
        "--config.gan.conditioning=binary",
        "--config.gan.z_class_channels=(64,)",
        "--config.gan.num_grades=2",
    ]


def test_what_is_finished_is_copied_once(tmp_path):
    source, workdir = tmp_path / "source", tmp_path / "workdir"
    for task, file in (("classifier", "done.json"), ("gan", "half.txt")):
        (source / task).mkdir(parents=True)
        (source / task / file).write_text("{}")
    runs.copy_finished(("classifier", "gan"), source, workdir)
    assert (workdir / "classifier" / "done.json").exists() and not (workdir / "gan").exists()
    (workdir / "classifier" / "done.json").write_text("own")
    runs.copy_finished(("classifier", "gan"), source, workdir)
    assert (workdir / "classifier" / "done.json").read_text() == "own"
