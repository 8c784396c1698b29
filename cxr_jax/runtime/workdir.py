"""What a run writes about itself: config.json, data.json, done.json and its log.

Of several processes only the first writes.
"""

import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path

import ml_collections

from cxr_jax.errors import InputError
from cxr_jax.runtime import parallel

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


def read_contents(workdir: Path) -> str:
    """What identifies the prepared data that a work directory was begun with."""
    return read_json(workdir / "data.json")["contents"]


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
    path.parent.mkdir(parents=True, exist_ok=True)
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
