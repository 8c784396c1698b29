"""What a run writes about itself: config.json, metrics.jsonl, done.json, and a progress line.

Of several processes only the first writes.
"""

import json
import logging
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import ml_collections

from cxr_jax import parallel
from datasets.errors import InputError

MAY_CHANGE = ("evaluators.names", "data.dir", "data.cache_dir")


def flatten(tree: Mapping, prefix: str = "") -> dict:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat


def check_workdir(workdir: Path, config: ml_collections.ConfigDict) -> None:
    """Makes the work directory, or checks that the one there belongs to the same experiment.

    `explain.*` may change between runs, since explaining leaves the trained networks alone, and so
    may `evaluators.names`, which asks for more networks or fewer, and where the data lie: what they
    are `claim_workdir` asks.

    Raises:
      InputError: if `workdir` cannot be written or holds a run of another config.
    """
    path = workdir / "config.json"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if path.exists():
            check_same_experiment(workdir, read_json(path), config.to_dict())
        (workdir / "run.log").touch()
    except OSError as error:
        raise InputError(
            f"work directory {workdir} cannot be written ({error.strerror}); "
            "choose another --workdir"
        ) from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path} is not JSON ({error}); delete it or choose another --workdir"
        ) from error


def claim_workdir(workdir: Path, config: ml_collections.ConfigDict, contents: str) -> None:
    """Writes config.json: from now on the work directory belongs to this experiment and its data.

    Args:
      contents: what identifies the prepared data, as `data.load_splits` says.

    Raises:
      InputError: if the work directory was begun with other data: a film that was trained on there
        might be a test film now.
    """
    path = workdir / "data.json"
    if path.exists() and read_json(path)["contents"] != contents:
        raise InputError(
            f"the data have changed since work directory {workdir} was begun "
            f"({read_json(path)['contents']} then, {contents} now); choose another --workdir"
        )
    write_json(path, {"contents": contents})
    write_json(workdir / "config.json", config.to_dict())


def check_same_experiment(workdir: Path, stored: Mapping, wanted: Mapping) -> None:
    """Raises `InputError` if two configs, or the same parts of them, belong to different runs."""
    stored, wanted = flatten(stored), flatten(wanted)
    for key in sorted(stored.keys() | wanted.keys()):
        old, new = stored.get(key), wanted.get(key)
        may_change = key.startswith("explain.") or key in MAY_CHANGE
        if old != new and not may_change:
            known = key in stored and key in wanted  # and not a field of one version alone
            advice = f", or run with --config.{key}={old}" if known else ""
            raise InputError(
                f"work directory {workdir} belongs to another config: {key} is {old!r} there "
                f"and {new!r} now; choose another --workdir{advice}"
            )


def write_json(path: Path, content: dict) -> None:
    """Writes through a temporary file, so that a killed run never leaves half a file."""
    if not parallel.is_first():
        return
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    temporary.replace(path)


def read_json(path: Path) -> dict:
    """Reads a JSON file."""
    return json.loads(path.read_text())


def log_to(workdir: Path) -> None:
    """Sends this package's log to run.log and to the terminal; of other processes the warnings."""
    first, handlers = parallel.is_first(), [logging.StreamHandler(sys.stderr)]
    if first:
        handlers.append(logging.FileHandler(workdir / "run.log"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("cxr_jax")
    logger.handlers = handlers
    logger.setLevel(logging.INFO if first else logging.WARNING)
    logger.propagate = False


def _drop_lines_after(path: Path, step: int) -> None:
    """What was recorded after the checkpoint that a run resumes from will be recorded again."""
    lines = path.read_text().splitlines(keepends=True)
    whole = (line for line in lines if line.endswith("\n"))  # a killed run may leave half a line
    path.write_text("".join(line for line in whole if json.loads(line)["step"] <= step))


class Recorder:
    """Appends one JSON line a log interval and shows where the run stands.

    On a terminal the line is overwritten in place; elsewhere (a log file, CI) it is printed.
    """

    def __init__(
        self, directory: Path, task: str, num_steps: int, batch_size: int, start_step: int
    ):
        directory.mkdir(parents=True, exist_ok=True)
        self._first = parallel.is_first()
        path = directory / "metrics.jsonl" if self._first else Path(os.devnull)
        if self._first and path.exists():
            _drop_lines_after(path, start_step)
        self._file = path.open("a")
        self._task, self._num_steps, self._batch_size = task, num_steps, batch_size
        self._clock, self._step = time.monotonic(), start_step

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
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


def mark_done(directory: Path, **facts) -> None:
    """Declares a task complete: later runs skip it."""
    write_json(directory / "done.json", facts)


def is_done(directory: Path, **facts) -> bool:
    """Whether the task in `directory` is complete and, if any are given, had these facts."""
    path = directory / "done.json"
    if not path.exists():
        return False
    stored = read_json(path)
    return all(stored.get(name) == json.loads(json.dumps(fact)) for name, fact in facts.items())


def finished(directory: Path) -> int | None:
    """When the task in `directory` was completed, in nanoseconds; None if it was not."""
    path = directory / "done.json"
    return path.stat().st_mtime_ns if path.exists() else None
