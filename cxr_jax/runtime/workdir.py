"""What a run writes about itself: config.json, data.json, done.json and its log.

Of several processes only the first writes.
"""

import contextlib
import errno
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import filelock
import ml_collections

from cxr_jax.errors import InputError
from cxr_jax.runtime import parallel

DONE = "done.json"
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
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
    are `claim_workdir` asks. As long as nothing has been trained, everything may.

    Raises:
      InputError: if `workdir` cannot be written, or holds a run of another config or a damaged one.
    """
    path = workdir / "config.json"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        stored = read_json(path) if path.exists() else {}
        if stored and is_begun(workdir):
            check_same_experiment(workdir, stored, config.to_dict())
        (workdir / "run.log").touch()
    except OSError as error:
        if error.errno in FULL_DISK:
            raise
        raise InputError(
            f"work directory {workdir} cannot be written ({error.strerror}); "
            "choose another --workdir"
        ) from error


def is_begun(workdir: Path) -> bool:
    """Whether anything has been trained in a work directory."""
    return any(workdir.rglob("checkpoints")) or any(workdir.rglob(DONE))


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Keeps other processes out, by the file `path`, until the block or the process ends.

    Args:
      what: is not to be shared, for the message.

    Raises:
      InputError: if another process is at it.
    """
    if not parallel.is_first():
        yield
        return
    try:
        with filelock.FileLock(path, timeout=0):
            yield
    except filelock.Timeout:
        raise InputError(
            f"another process is at work in {what}; wait for its end, or choose another --workdir"
        ) from None


def claim_workdir(workdir: Path, config: ml_collections.ConfigDict, contents: str) -> None:
    """Writes config.json: from now on the work directory belongs to this experiment and its data.

    Args:
      contents: what identifies the prepared data, as `data.load_splits` says.

    Raises:
      InputError: if the work directory was begun with other data: a film that was trained on there
        might be a test film now.
    """
    path = workdir / "data.json"
    if path.exists() and is_begun(workdir) and read_contents(workdir) != contents:
        raise InputError(
            f"the data have changed since work directory {workdir} was begun "
            f"({read_contents(workdir)} then, {contents} now); choose another --workdir"
        )
    write_json(path, {"contents": contents})
    write_json(workdir / "config.json", config.to_dict())


def read_contents(workdir: Path) -> str:
    """What identifies the prepared data that a work directory was begun with."""
    return read_json(workdir / "data.json").get("contents", "")


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
    """Writes the whole file or none."""
    if not parallel.is_first():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes through a temporary file: what is there afterwards is the old text or the new."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())  # or a power cut may leave the new name with an empty file
    temporary.replace(path)


REMEDIES = {
    DONE: "delete it, and the task is ended anew from its last checkpoint",
    "calibration.json": "delete it, and --task=explain calibrates anew",
}


def read_json(path: Path) -> dict:
    """Reads a JSON file of ours.

    Raises:
      InputError: if it holds anything but an object.
    """
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("no object")
    except ValueError as error:  # of JSON, or of its encoding
        remedy = REMEDIES.get(path.name, "restore it from a copy, or choose another --workdir")
        raise InputError(f"{path} is damaged ({str(error)[:100]}); {remedy}") from error
    return content


def log_to(workdir: Path) -> None:
    """Sends this package's log to run.log and to the terminal; of other processes the warnings."""
    first, handlers = parallel.is_first(), [logging.StreamHandler(sys.stderr)]
    if first:
        handlers.append(logging.FileHandler(workdir / "run.log"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("cxr_jax")
    for handler in logger.handlers:
        handler.close()
    logger.handlers = handlers
    logger.setLevel(logging.INFO if first else logging.WARNING)
    logger.propagate = False


def mark_done(directory: Path, **facts) -> None:
    """Declares a task complete: later runs skip it."""
    write_json(directory / DONE, facts)


def is_done(directory: Path, **facts) -> bool:
    """Whether the task in `directory` is complete and, if any are given, had these facts."""
    path = directory / DONE
    if not path.exists():
        return False
    stored = read_json(path)
    return all(stored.get(name) == json.loads(json.dumps(fact)) for name, fact in facts.items())
