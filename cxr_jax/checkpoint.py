"""Checkpoints over Orbax: what a resumed run needs, beside what other tasks load.

Several processes save and load jointly, in a directory that they all see. How many there were when
it was saved does not matter.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from cxr_jax import parallel
from cxr_jax.types import Params
from datasets.errors import InputError

_policies = ocp.training.preservation_policies


class Checkpoints:
    """The newest and the best checkpoint of one task.

    Each holds two parts: `training`, the whole state, and `variables`, the networks alone, which is
    all that another task loads.
    """

    def __init__(self, directory: Path):
        self._directory = directory / "checkpoints"
        self._checkpointer = ocp.training.Checkpointer(
            self._directory.absolute(),
            preservation_policy=_policies.AnyPreservationPolicy([_policies.LatestN(1), _best(1)]),
        )

    def save(self, step: int, state: Params, variables: Params, score: float) -> None:
        """Saves a step; `score` decides which checkpoint is the best (highest, then newest)."""
        self._checkpointer.save_checkpointables(
            step,
            parallel.to_global({"training": state, "variables": variables}),
            metrics={"score": float(score)},
            force=True,
            overwrite=True,
        )

    def newest(self, state: Params) -> Params:
        """The newest saved state, placed like `state`; `state` itself if there is none."""
        if self._checkpointer.latest is None:
            return state
        return self._load(None, "training", state)

    def best(self, variables: Params) -> Params:
        """The networks of the best checkpoint, placed like `variables`.

        Raises:
          InputError: if there is no checkpoint.
        """
        saved = self._checkpointer.checkpoints
        if not saved:
            raise InputError(
                f"{self._directory} holds no checkpoint; run the task that trains it first"
            )
        best = max(saved, key=lambda c: (c.metrics["score"], c.step))
        return self._load(best.step, "variables", variables)

    def _load(self, step: int | None, part: str, like: Params) -> Params:
        try:
            wanted = {part: parallel.to_global(like)}
            return parallel.to_local(self._checkpointer.load_checkpointables(step, wanted)[part])
        except (
            ValueError,
            KeyError,
            TypeError,
            FileNotFoundError,
            ocp.errors.InvalidLayoutError,
        ) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"the checkpoint in {self._directory} does not fit this config ({reason}); "
                "choose another --workdir"
            ) from error

    def close(self) -> None:
        """Waits for unfinished saves."""
        self._checkpointer.close()


def load_networks(directory: Path, init: Callable[[], Params]) -> Params:
    """The networks of the best checkpoint of a training, on every device.

    Args:
      directory: of the training.
      init: draws networks of the same shapes; it is only asked for these.

    Raises:
      InputError: if there is no checkpoint, or one of other networks.
    """
    shapes = jax.eval_shape(init)
    empty = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    with closing(Checkpoints(directory)) as checkpoints:
        return checkpoints.best(parallel.replicate(empty))


def _best(n: int) -> _policies.PreservationPolicy:
    return _policies.BestN(
        get_metric_fn=lambda metrics: metrics["score"], n=n, keep_checkpoints_without_metrics=False
    )
