"""Several processes train together, in one folder, what one process trains with as many devices."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.test_end_to_end import PATHS, assert_contract, read

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def free_address() -> str:
    with socket.socket() as unused:
        unused.bind(("localhost", 0))
        return f"localhost:{unused.getsockname()[1]}"


def start(arguments: list[str], folder: Path, devices: int, **environment: str) -> subprocess.Popen:
    """A process with so many devices; what is compiled once serves all of `folder`."""
    environment = {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "PYTHONPATH": str(ROOT),
        **environment,
    }
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen, status: int = 0) -> str:
    output, _ = process.communicate(timeout=3000)
    assert process.returncode == status, output[-3000:]
    return output


def workers(folder: Path, count: int, steps: int = 100) -> list[subprocess.Popen]:
    """`count` processes with four devices together; they die after `steps` of the GAN."""
    worker, address = str(ROOT / "tests" / "runtime" / "train_worker.py"), free_address()
    return [
        start(
            [worker, str(folder), address, str(count), str(number), str(steps)],
            folder.parent,
            4 // count,
            JAX_ENABLE_X64="1",
        )
        for number in range(count)
    ]


def write_config(folder: Path, config) -> None:
    """A short training of every task, in 64 bits."""
    for section in (config.classifier, config.judge):
        section.update(dict(dtype="float64", batch_size=16, num_steps=24, eval_every=12))
    config.gan.update(dict(dtype="float64", batch_size=16, num_steps=6, r1_every=3))
    config.gan.update(dict(log_every=2, save_every=2))
    config.encoder.update(dict(batch_size=16, num_steps=4, log_every=2, save_every=2))
    folder.mkdir()
    (folder / "config.json").write_text(config.to_json())


def test_two_processes_are_killed_and_one_goes_on(tmp_path, tiny_config):
    for name in ("undisturbed", "killed"):
        write_config(tmp_path / name, tiny_config)
    for process in workers(tmp_path / "undisturbed", count=1):
        finish(process)
    killed = tmp_path / "killed"
    for process in workers(killed, count=2, steps=5):
        finish(process, status=-signal.SIGKILL)
    assert {path.name for path in (killed / "gan" / "checkpoints").iterdir()} == {"4"}
    assert len((killed / "gan" / "metrics.jsonl").read_text().splitlines()) == 2, "one writes"
    assert not (killed / "gan" / "done.json").exists()
    for process in workers(killed, count=1):
        finish(process)
    with (
        np.load(tmp_path / "undisturbed" / "final.npz") as one,
        np.load(killed / "final.npz") as other,
    ):
        assert sorted(one) == sorted(other)
        for name in one:
            np.testing.assert_allclose(one[name], other[name], rtol=0, atol=1e-5)


def test_the_whole_experiment_by_two_processes(tmp_path):
    workdir, address = tmp_path / "run", free_address()
    processes = [
        start(
            [
                *("main.py", "--config=configs/phantom.py:tiny", f"--workdir={workdir}"),
                f"--config.data.cache_dir={tmp_path / 'cache'}",
                *("--distributed", f"--coordinator_address={address}"),
                *("--num_processes=2", f"--process_id={number}"),
            ],
            tmp_path,
            devices=2,
        )
        for number in range(2)
    ]
    first, second = [finish(process) for process in processes]
    assert_contract(workdir)
    assert read(workdir / "explain" / "metrics.json")["paths"].keys() == PATHS
    assert "gan  step 20/20" in first and "step" not in second, "one tells of the progress"
