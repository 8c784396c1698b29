"""The study of faults, with stand-ins for runs: they count, and go on where they were."""

import signal
import subprocess
import sys

import pytest

from experiments.studies import faults
from experiments.studies.faults import Interruption

COUNT = """
import pathlib, signal, sys, time
path, last = pathlib.Path(sys.argv[1]), int(sys.argv[2])
def save(*_):
    print("gan is saved; the same command goes on from there")
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
for number in range(int(path.read_text()) if path.exists() else 0, last):
    time.sleep(0.05)
    path.with_suffix(".new").write_text(str(number + 1))
    path.with_suffix(".new").replace(path)
"""


def starter(path, last: int):
    command = [sys.executable, "-IS", "-c", COUNT, str(path), str(last)]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return lambda: subprocess.Popen(command, **pipes)


@pytest.fixture(autouse=True)
def no_waiting_for_imports(monkeypatch):
    monkeypatch.setattr(faults, "STARTING", 0.2)


def test_a_run_is_interrupted_as_often_as_asked_and_then_ends(tmp_path):
    path = tmp_path / "count"
    found = faults.harass(starter(path, 60), signal.SIGKILL, times=3, whole=1.0, seed="seed")
    assert [one.status for one in found] == [-signal.SIGKILL] * 3
    assert not any(one.saved for one in found)
    assert path.read_text() == "60"


def test_a_run_that_saves_first_is_believed_by_what_it_says(tmp_path):
    path = tmp_path / "count"
    found = faults.harass(starter(path, 60), signal.SIGTERM, times=1, whole=1.0, seed="seed")
    assert found[0].status == 143 and found[0].saved and 0 <= found[0].seconds < 5
    assert path.read_text() == "60"


def test_a_run_that_ends_before_its_signal_was_not_interrupted(tmp_path):
    assert not faults.harass(
        starter(tmp_path / "count", 0), signal.SIGKILL, times=2, whole=100.0, seed="a"
    )


def test_a_run_that_fails_is_no_survivor():
    fails = lambda: subprocess.Popen(
        [sys.executable, "-IS", "-c", "import sys; sys.exit('no')"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with pytest.raises(RuntimeError, match="no"):
        faults.harass(fails, signal.SIGKILL, times=1, whole=10.0, seed="seed")


def test_what_is_counted_of_a_signal():
    one, other = (
        Interruption(status=143, seconds=seconds, saved=saved)
        for seconds, saved in ((0.25, True), (4.0, False))
    )
    found = faults.count({"a": [one, one], "b": [other]}, {"a": True, "b": False})
    assert found == {
        "signals": 3,
        "runs": 2,
        "identical": 1,
        "lost": ["b"],
        "saved": 2,
        "statuses": [143],
        "longest_seconds": 4.0,
    }
    assert faults.count({"a": []}, {"a": True})["longest_seconds"] is None


@pytest.mark.parametrize("kind", faults.DAMAGES)
def test_damage_is_done(tmp_path, kind):
    path = tmp_path / "array"
    path.write_bytes(bytes(range(64)))
    faults.DAMAGES[kind](path)
    assert not path.exists() or path.read_bytes() != bytes(range(64))


def test_what_is_counted_of_damage():
    refused = dict(status=2, named=True, traceback=False)
    used = dict(status=0, named=False, traceback=False)
    died = dict(status=1, named=False, traceback=True)
    row = faults.count_damaged([refused, refused, used, died])
    assert row == {
        "checkpoints": 4,
        "named": 2,
        "used": 1,
        "tracebacks": 1,
        "others": [used, died],
    }
