"""Checkpoints over Orbax: what a resumed run needs, beside what other tasks load.

Every checkpoint carries the SHA-256 of its arrays, which is compared when they are loaded: Orbax
0.12.8 was seen to load a file with a flipped bit without a word. Its free functions alone are used,
since its own list of checkpoints cannot be made where the metadata of one of them are damaged.

Several processes save and load jointly, in a directory that they all see; how many there were when
it was saved does not matter.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from cxr_jax.errors import InputError
from cxr_jax.runtime import parallel
from cxr_jax.types import Params

logger = logging.getLogger(__name__)

FULL = ("RESOURCE_EXHAUSTED", "No space left on device")  # in errors of a full disk
BESIDE = 1_000_000  # bytes that a checkpoint may have beside its arrays
METADATA_FILE = "_CHECKPOINT_METADATA"  # Orbax's, whose own reader opens every array too


class DamagedError(Exception):
    """The arrays of a checkpoint are not those that were saved; the message says how that shows."""


class Checkpoints:
    """The newest two and the best checkpoint of one task.

    Each holds two parts: `training`, the whole state, and `variables`, the networks alone, which is
    all that another task loads.
    """

    def __init__(self, directory: Path):
        self._directory = directory.absolute() / "checkpoints"

    def save(self, step: int, state: Params, variables: Params, *, score: float) -> None:
        """Saves a step; `score` decides which checkpoint is the best (highest, then newest).

        Raises:
          InputError: if an array is not finite: saved, it would be resumed from.
          OSError: if the disk is full; the checkpoints before are as they were.
        """
        parts = {"training": state, "variables": variables}
        _check_finite(self._path(step), parts)
        _check_room(self._path(step), parts)
        description = {name: describe(part) for name, part in parts.items()}
        with _from_one_device(), _full_disk_said(self._path(step)):
            ocp.save_checkpointables(
                self._path(step),
                parallel.to_global(parts),
                custom_metadata=_sealed({"score": float(score), **description}),
                overwrite=True,
            )
        if parallel.is_first():
            self._remove_old()
        parallel.wait(f"saved-{step}")

    def newest(self, state: Params) -> Params:
        """The newest intact state, placed like `state`; `state` itself if there is none.

        Damaged checkpoints are named in the log, and set aside in the folder `damaged`.

        Raises:
          InputError: if the newest intact one is of other arrays than `state`.
        """
        steps = self._steps()
        parallel.wait("checkpoints-listed")  # before any of them is set aside
        found = None
        for step in reversed(steps):
            try:
                description = self._description(step)
                if found is None:
                    found = self._load(step, description["training"], training=state)
            except DamagedError as reason:
                logger.warning(
                    "checkpoint %s is damaged (%s); it is set aside in %s, and training resumes "
                    "from the newest that is intact",
                    self._path(step),
                    reason,
                    self._set_aside(step),
                )
        return state if found is None else found

    def best(self, variables: Params) -> Params:
        """The networks of the best checkpoint, placed like `variables`.

        Raises:
          InputError: if there is no checkpoint, one of other networks, or a damaged one.
        """
        step, description = self._best()
        try:
            return self._load(step, description["variables"], variables=variables)
        except DamagedError as reason:
            raise self._refused(step, reason) from reason

    def digest(self) -> str:
        """The SHA-256 of the best checkpoint's networks, as it was when they were saved.

        Raises:
          InputError: if there is no checkpoint, or one with a damaged description.
        """
        _, description = self._best()
        return description["variables"]["sha256"]

    def _path(self, step: int) -> Path:
        return self._directory / str(step)

    def _steps(self) -> list[int]:
        """Of the checkpoints that are complete: Orbax renames a folder when it is."""
        if not self._directory.exists():
            return []
        return sorted(int(path.name) for path in self._directory.iterdir() if path.name.isdigit())

    def _description(self, step: int) -> Mapping:
        """What was saved beside the arrays: the score, and `describe` of both parts."""
        try:
            saved = json.loads((self._path(step) / METADATA_FILE).read_text())["custom_metadata"]
            description = saved["description"]
            intact = saved["sha256"] == _sealed(description)["sha256"]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DamagedError("its description cannot be read") from error
        if not intact:
            raise DamagedError("its description has another SHA-256 than was saved")
        return description

    def _best(self) -> tuple[int, Mapping]:
        """Step and description of the best checkpoint."""
        found = {}
        for step in self._steps():
            try:
                found[step] = self._description(step)
            except DamagedError as reason:  # it may have been the best
                raise self._refused(step, reason) from reason
        if not found:
            raise InputError(
                f"{self._directory} holds no checkpoint; run the task that trains it first"
            )
        step = max(found, key=lambda step: (found[step]["score"], step))
        return step, found[step]

    def _refused(self, step: int, reason: DamagedError) -> InputError:
        return InputError(
            f"the checkpoint {self._path(step)} is damaged ({reason}); put an intact copy in its "
            f"place, or delete {self._directory.parent} and run its task again"
        )

    def _load(self, step: int, saved: Mapping, **part: Params) -> Params:
        """The part that is named, placed like what it is given; `saved` is its description."""
        ((name, like),) = part.items()
        _check_shapes(self._directory, saved["arrays"], describe_shapes(like))
        try:
            wanted = {name: parallel.to_global(like)}
            loaded = ocp.load_checkpointables(self._path(step), wanted)[name]
        except Exception as error:  # whatever a damaged file makes of Orbax and its decoders
            raise DamagedError("its arrays cannot be read") from error
        loaded = parallel.to_local(loaded)
        if sha256(loaded) != saved["sha256"]:
            raise DamagedError("its arrays have another SHA-256 than was saved")
        return loaded

    def _set_aside(self, step: int) -> Path:
        """Moves a checkpoint out of the way, and returns where to."""
        aside = self._directory.parent / "damaged" / str(step)
        if parallel.is_first():
            shutil.rmtree(aside, ignore_errors=True)
            aside.parent.mkdir(exist_ok=True)
            self._path(step).rename(aside)
        parallel.wait(f"damaged-{step}")
        return aside

    def _remove_old(self) -> None:
        """Removes all checkpoints but the newest two and the best."""
        steps = self._steps()
        best, _ = self._best()
        for step in steps[:-2]:
            if step != best:
                shutil.rmtree(self._path(step))


def _from_one_device() -> ocp.Context:
    """Many small arrays are saved in half the time that a slice from every device takes."""
    context = ocp.Context()
    context.array.saving.use_replica_parallel = False
    return context


def _check_room(path: Path, tree: Params) -> None:
    """Raises `OSError` if a disk has no room for a tree: begun on, Orbax's threads all complain."""
    path.parent.mkdir(parents=True, exist_ok=True)
    needed = BESIDE + sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    if shutil.disk_usage(path.parent).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@contextlib.contextmanager
def _full_disk_said(path: Path) -> Iterator[None]:
    """Makes of what Orbax and its drivers say of a full disk what Python says of it."""
    try:
        yield
    except Exception as error:
        said = f"{error} {error.__cause__}"
        if any(words in said for words in FULL):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def _check_finite(path: Path, tree: Params) -> None:
    """Raises `InputError` naming the first array of a tree that is not finite."""
    for place, leaf in jax.tree_util.tree_leaves_with_path(tree):
        local = np.asarray(leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf)
        if not np.isfinite(local).all():
            raise InputError(
                f"training has diverged: {jax.tree_util.keystr(place)} is not finite, and is not "
                f"saved as {path}; choose a smaller learning rate, and another --workdir"
            )


def _sealed(description: Mapping) -> dict[str, object]:
    """A description with its own SHA-256."""
    text = json.dumps(description, sort_keys=True)
    return {"description": description, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def describe(tree: Params) -> dict[str, object]:
    """What is saved beside arrays: their SHA-256, and shapes and types by name."""
    return {"sha256": sha256(tree), "arrays": describe_shapes(tree)}


def describe_shapes(tree: Params) -> dict[str, str]:
    """Shape and type of every array by its place in the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(place): f"{leaf.dtype}{leaf.shape}" for place, leaf in leaves}


def sha256(tree: Params) -> str:
    """Of the arrays' bytes, in the tree's order."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        local = leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf
        digest.update(np.ascontiguousarray(local).tobytes())
    return digest.hexdigest()


def load_networks(directory: Path, init: Callable[[], Params]) -> Params:
    """The networks of the best checkpoint of a training, on every device.

    Args:
      directory: of the training.
      init: draws networks of the same shapes; it is only asked for these.

    Raises:
      InputError: if there is no checkpoint, one of other networks, or a damaged one.
    """
    shapes = jax.eval_shape(init)
    empty = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return Checkpoints(directory).best(parallel.replicate(empty))


def networks_digest(directory: Path) -> str:
    """The SHA-256 of the networks that `load_networks` loads.

    Raises:
      InputError: if there is no checkpoint.
    """
    return Checkpoints(directory).digest()


def _check_shapes(directory: Path, saved: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Raises `InputError` naming the first array in which a checkpoint and a config differ."""
    for place in sorted(saved.keys() | wanted.keys()):
        old, new = saved.get(place, "nothing"), wanted.get(place, "nothing")
        if old != new:
            raise InputError(
                f"the checkpoint in {directory} does not fit this config ({place} is {old} there, "
                f"and would be {new}); choose another --workdir"
            )
