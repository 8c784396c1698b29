"""What a training writes about its course: metrics.jsonl, and a progress line."""

import json
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from cxr_jax.errors import InputError
from cxr_jax.runtime import parallel
from cxr_jax.types import Scalar


def _drop_lines_after(path: Path, step: int) -> None:
    """What was recorded after the checkpoint that a run resumes from will be recorded again."""
    lines = path.read_text().splitlines(keepends=True)
    whole = (line for line in lines if line.endswith("\n"))  # a killed run may leave half a line
    path.write_text("".join(line for line in whole if json.loads(line)["step"] <= step))


class MetricWriter:
    """Appends one JSON line a log interval and shows where the run stands.

    On a terminal the line is overwritten in place; elsewhere (a log file, CI) it is printed.
    """

    def __init__(self, directory: Path, *, num_steps: int, batch_size: int, start_step: int):
        directory.mkdir(parents=True, exist_ok=True)
        self._first = parallel.is_first()
        path = directory / "metrics.jsonl" if self._first else Path(os.devnull)
        if self._first and path.exists():
            _drop_lines_after(path, start_step)
        self._file = path.open("a")
        self._task, self._num_steps, self._batch_size = directory.name, num_steps, batch_size
        self._clock, self._step = time.monotonic(), start_step

    def write(self, step: int, scalars: Mapping[str, Scalar]) -> None:
        """Records `scalars` at `step` and shows the progress line.

        Raises:
          InputError: if one of them is not finite. Written down and saved, a diverged network would
            be taken for a trained one.
        """
        now = time.monotonic()
        rate = (step - self._step) * self._batch_size / max(now - self._clock, 1e-9)
        self._clock, self._step = now, step
        scalars = {name: float(value) for name, value in scalars.items()}
        for name, value in scalars.items():
            if not math.isfinite(value):
                raise InputError(
                    f"training of {self._task} has diverged: {name} is {value} at step {step}; "
                    "choose a smaller learning rate, and another --workdir"
                )
        line = {"step": step, "images_per_second": round(rate, 1), **scalars}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        if self._first:
            self._show(step, rate, scalars)

    def _show(self, step: int, rate: float, scalars: Mapping[str, float]) -> None:
        eta = (self._num_steps - step) * self._batch_size / max(rate, 1e-9)
        values = "  ".join(f"{name} {value:.3g}" for name, value in scalars.items())
        text = (
            f"{self._task}  step {step}/{self._num_steps}  {rate:.0f} images/s  "
            f"ETA {int(eta // 60)}:{int(eta % 60):02d}  {values}"
        )
        if sys.stdout.isatty():
            print(f"\r\x1b[2K{text}", end="\n" if step >= self._num_steps else "", flush=True)
        else:
            print(text, flush=True)

    def close(self) -> None:
        """Closes metrics.jsonl."""
        self._file.close()
