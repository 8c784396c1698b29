"""The worker of the PyTorch peers: its protocol, and its reasons where a peer cannot run."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.peers import worker
from benchmarks.peers.peer import Peer, Unavailable

ROOT = Path(__file__).parents[2]


def spoken(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_process_is_asked_for_steps_by_lines_and_ends_with_its_input():
    command = [sys.executable, "-m", "benchmarks.peers.worker", "matmul_numpy", "--size=16"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    with subprocess.Popen(command, env=environment, **pipes) as process:
        ready = json.loads(process.stdout.readline())
        assert ready["ready"] and ready["images"] == 1 and ready["devices"] == "1 threads"
        assert ready["flop"] == 2 * 16**3 and ready["repeats"] == 1
        for steps in (3, 1):  # each is answered before the next is asked for
            process.stdin.write(f"{steps}\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            assert len(answer["seconds"]) == steps and min(answer["seconds"]) > 0
            assert answer["cpu_seconds"] >= 0
        process.stdin.close()
        assert process.stdout.read() == "" and process.wait(60) == 0


def test_two_steps_warm_up_and_none_is_taken_unasked(monkeypatch, capsys):
    taken = []
    peer = Peer(step=lambda: taken.append(1), images=4, repeats=50.0)
    monkeypatch.setattr(worker, "load", lambda name, given: peer)
    monkeypatch.setattr("sys.stdin", io.StringIO("2\n\n0\n"))
    worker.main(["matmul_numpy"])
    ready, two, none = spoken(capsys)
    assert len(taken) == worker.WARM_UPS + 2
    assert ready["images"] == 4 and ready["repeats"] == 50
    assert len(two["seconds"]) == 2 and none["seconds"] == []


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["matmul_numpy", "--mode=bf16"], "NumPy has no bfloat16"),
        (["matmul_numpy", "--batch=3"], "takes no --batch; it takes size, mode"),
        (["matmul_numpy", "--threads=1"], "OPENBLAS_NUM_THREADS"),
    ],
)
def test_what_a_peer_cannot_do_has_a_reason(flags, reason, capsys):
    worker.main(flags)
    (answer,) = spoken(capsys)
    assert answer["ready"] is False and reason in answer["reason"]


@pytest.mark.parametrize("missing", ["torch", "torchvision"])
def test_without_pytorch_the_extra_is_named(missing, monkeypatch, capsys):
    def absent(module):
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(worker.importlib, "import_module", absent)
    worker.main(["paper_gan_step"])
    (answer,) = spoken(capsys)
    assert answer["reason"] == f'{missing} is not installed: python -m pip install -e ".[torch]"'


def test_an_error_of_the_compiler_is_a_reason_and_any_other_an_error():
    def fail():
        raise RuntimeError("no working C++ compiler\n  was found")

    peer = Peer(step=fail, images=1)
    reason = "torch.compile: RuntimeError: no working C\\+\\+ compiler was found"
    with pytest.raises(Unavailable, match=reason):
        worker.warmed_up(peer, "compile")
    with pytest.raises(RuntimeError, match="was found"):
        worker.warmed_up(peer, "eager")
