"""Checkpoints over Orbax: what a resumed run needs, beside what other tasks load.

Every checkpoint carries the SHA-256 of its arrays, which is compared when they are loaded: Orbax
0.12.8 was seen to load a file with a flipped bit without a word. Several processes save and load
jointly, in a directory that they all see; how many there were when it was saved does not matter.
"""

import hashlib
import logging
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from cxr_jax.errors import InputError
from cxr_jax.runtime import parallel
from cxr_jax.types import Params

logger = logging.getLogger(__name__)

_policies = ocp.training.preservation_policies


class DamagedError(Exception):
    """The arrays of a checkpoint are not those that were saved; the message says how that shows."""


class Checkpoints:
    """The newest two and the best checkpoint of one task.

    Each holds two parts: `training`, the whole state, and `variables`, the networks alone, which is
    all that another task loads.
    """

    def __init__(self, directory: Path):
        self._directory = directory / "checkpoints"
        self._checkpointer = ocp.training.Checkpointer(
            self._directory.absolute(),
            preservation_policy=_policies.AnyPreservationPolicy([_policies.LatestN(2), _best(1)]),
        )

    def save(self, step: int, state: Params, variables: Params, *, score: float) -> None:
        """Saves a step; `score` decides which checkpoint is the best (highest, then newest)."""
        parts = {"training": state, "variables": variables}
        self._checkpointer.save_checkpointables(
            step,
            parallel.to_global(parts),
            metrics={"score": float(score)},
            custom_metadata={name: describe(part) for name, part in parts.items()},
            force=True,
            overwrite=True,
        )

    def newest(self, state: Params) -> Params:
        """The newest intact state, placed like `state`; `state` itself if there is none.

        A damaged one is named, and set aside beside the others.
        """
        for saved in sorted(self._checkpointer.checkpoints, key=lambda c: c.step, reverse=True):
            try:
                return self._load(saved.step, "training", state)
            except DamagedError as reason:
                logger.warning(
                    "checkpoint %s is damaged (%s); resuming from the one before",
                    self._directory / str(saved.step),
                    reason,
                )
                self._set_aside(saved.step)
        return state

    def best(self, variables: Params) -> Params:
        """The networks of the best checkpoint, placed like `variables`.

        Raises:
          InputError: if there is no checkpoint, or the best is damaged.
        """
        step = self._best_step()
        try:
            return self._load(step, "variables", variables)
        except DamagedError as reason:
            path = self._directory / str(step)
            raise InputError(
                f"the checkpoint {path} is damaged ({reason}); put an intact copy in its place, or "
                f"delete {self._directory.parent} and run its task again"
            ) from reason

    def digest(self) -> str:
        """The SHA-256 of the best checkpoint's networks, as it was when they were saved."""
        return self._description(self._best_step(), "variables")["sha256"]

    def close(self) -> None:
        """Waits for unfinished saves."""
        self._checkpointer.close()

    def _best_step(self) -> int:
        saved = self._checkpointer.checkpoints
        if not saved:
            raise InputError(
                f"{self._directory} holds no checkpoint; run the task that trains it first"
            )
        return max(saved, key=lambda c: (c.metrics["score"], c.step)).step

    def _description(self, step: int, part: str) -> Mapping:
        try:
            return self._checkpointer.metadata(step).custom_metadata[part]
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise DamagedError("it has lost its description") from error

    def _load(self, step: int, part: str, like: Params) -> Params:
        saved = self._description(step, part)
        _check_shapes(self._directory, saved["arrays"], describe_shapes(like))
        try:
            wanted = {part: parallel.to_global(like)}
            loaded = self._checkpointer.load_checkpointables(step, wanted)[part]
        except Exception as error:  # whatever a damaged file makes of Orbax and its decoders
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise DamagedError(lines[0][:200]) from error
        loaded = parallel.to_local(loaded)
        if sha256(loaded) != saved["sha256"]:
            raise DamagedError("its arrays have another SHA-256 than was saved")
        return loaded

    def _set_aside(self, step: int) -> None:
        if parallel.is_first():
            aside = self._directory.parent / "damaged"
            aside.mkdir(exist_ok=True)
            shutil.rmtree(aside / str(step), ignore_errors=True)
            (self._directory / str(step)).rename(aside / str(step))
        parallel.wait(f"damaged-{step}")
        self._checkpointer.reload()


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
    with closing(Checkpoints(directory)) as checkpoints:
        return checkpoints.best(parallel.replicate(empty))


def networks_digest(directory: Path) -> str:
    """The SHA-256 of the networks that `load_networks` loads.

    Raises:
      InputError: if there is no checkpoint.
    """
    with closing(Checkpoints(directory)) as checkpoints:
        return checkpoints.digest()


def _check_shapes(directory: Path, saved: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Raises `InputError` naming the first array in which a checkpoint and a config differ."""
    for place in sorted(saved.keys() | wanted.keys()):
        old, new = saved.get(place, "nothing"), wanted.get(place, "nothing")
        if old != new:
            raise InputError(
                f"the checkpoint in {directory} does not fit this config ({place} is {old} there, "
                f"and would be {new}); choose another --workdir"
            )


def _best(n: int) -> _policies.PreservationPolicy:
    return _policies.BestN(
        get_metric_fn=lambda metrics: metrics["score"], n=n, keep_checkpoints_without_metrics=False
    )
