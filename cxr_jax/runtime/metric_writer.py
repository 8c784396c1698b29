"""What a training writes about its course: metrics.jsonl, events for TensorBoard, progress."""

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path

from cxr_jax import progress
from cxr_jax.errors import InputError
from cxr_jax.runtime import parallel
from cxr_jax.runtime.tensorboard import Events
from cxr_jax.runtime.workdir import write_text
from cxr_jax.types import Scalar


def _drop_lines_after(path: Path, step: int) -> None:
    """What was recorded after the checkpoint that a run resumes from will be recorded again."""
    lines = path.read_bytes().decode(errors="replace").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]  # a killed run may leave half a line
    kept = [line for number, line in enumerate(whole, 1) if _step_of(path, number, line) <= step]
    write_text(path, "".join(kept))


def _step_of(path: Path, number: int, line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path} line {number} is damaged; delete that line, and the run goes on"
        ) from error


class MetricWriter:
    """Appends one JSON line a log interval and shows where the run stands.

    On a terminal the line is overwritten in place; elsewhere (a log file, CI) it is printed.
    """

    def __init__(self, directory: Path, *, num_steps: int, batch_size: int, start_step: int):
        directory.mkdir(parents=True, exist_ok=True)
        self._first = parallel.is_first()
        self._path = directory / "metrics.jsonl" if self._first else Path(os.devnull)
        if self._first and self._path.exists():
            _drop_lines_after(self._path, start_step)
        self._file = self._path.open("a")
        self._events = Events(directory, start_step) if self._first else None
        self.task, self._num_steps, self._batch_size = directory.name, num_steps, batch_size
        self._clock, self._step = time.monotonic(), start_step

    def write(self, step: int, scalars: Mapping[str, Scalar]) -> None:
        """Records `scalars` at `step` and shows the progress line.

        Raises:
          InputError: if one of them is not finite. Written down and saved, a diverged network would
            be taken for a trained one. Or if the file has gone.
        """
        self.check()
        now = time.monotonic()
        rate = (step - self._step) * self._batch_size / max(now - self._clock, 1e-9)
        self._clock, self._step = now, step
        scalars = {name: float(value) for name, value in scalars.items()}
        for name, value in scalars.items():
            if not math.isfinite(value):
                raise InputError(
                    f"training of {self.task} has diverged: {name} is {value} at step {step}; "
                    "choose a smaller learning rate, and another --workdir"
                )
        line = {"step": step, "images_per_second": round(rate, 1), **scalars}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        if self._events:
            self._events.write(step, scalars)
            self._show(step, rate, scalars)

    def show_sheet(self, step: int, sheet: Path) -> None:
        """Adds a sample sheet to the events."""
        if self._events:
            self._events.show(step, sheet)

    def check(self) -> None:
        """Raises `InputError` if the file is no longer where it was."""
        if not self._path.exists():
            raise InputError(
                f"{self._path} has been moved or deleted while {self.task} was trained; nothing is "
                "written there any more: put the work directory back, or choose another --workdir"
            )

    def _show(self, step: int, rate: float, scalars: Mapping[str, float]) -> None:
        left = (self._num_steps - step) * self._batch_size / max(rate, 1e-9)
        values = "  ".join(f"{name} {value:.3g}" for name, value in scalars.items())
        text = (
            f"{self.task}  step {step}/{self._num_steps}  {rate:.0f} images/s{progress.eta(left)}"
            f"  {values}"
        )
        progress.show(text, is_last=step >= self._num_steps)

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        if self._events:
            self._events.close()
