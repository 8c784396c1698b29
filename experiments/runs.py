"""Runs of `main.py`, as a user would start them."""

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.results import ROOT


def copy_finished(tasks: Sequence[str], source: Path, workdir: Path) -> None:
    """Copies what is finished in `source` and not yet there; a killed copy is begun anew."""
    workdir.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        if not (workdir / task).exists() and (source / task / "done.json").exists():
            shutil.copytree(source / task, workdir / f"{task}.copying", dirs_exist_ok=True)
            (workdir / f"{task}.copying").rename(workdir / task)


def run_main(config: str, workdir: Path, flags: Sequence[str]) -> None:
    """Runs `main.py` to its end.

    If it fails, so does the study, with its status: what went wrong is on the terminal.
    """
    done = subprocess.run(command(config, workdir, flags))
    if done.returncode:
        print(f"the run in {workdir} failed", file=sys.stderr)
        sys.exit(done.returncode)


def start_main(config: str, workdir: Path, flags: Sequence[str]) -> subprocess.Popen:
    """Starts `main.py`; all that it says is to be read as its standard output."""
    return subprocess.Popen(
        command(config, workdir, flags),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def command(config: str, workdir: Path, flags: Sequence[str]) -> list[str]:
    """The command line of a run."""
    main = [sys.executable, str(ROOT / "main.py")]
    return [*main, f"--config={config}", f"--workdir={workdir}", *flags]


def as_flags(fields: Mapping[str, object]) -> list[str]:
    """{"gan.seed": 1} -> ["--config.gan.seed=1"]."""
    return [f"--config.{name}={value}" for name, value in fields.items()]
