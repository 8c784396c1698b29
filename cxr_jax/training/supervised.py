"""What supervised trainings share: the optimiser, the step down a loss, and its loop."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import flax.linen as nn
import jax
import ml_collections
import numpy as np
import optax
from clu import metrics as clu_metrics

from cxr_jax.data.arrays import Arrays, train_batches
from cxr_jax.models.model import Model
from cxr_jax.networks.build import fresh_params
from cxr_jax.runtime import parallel
from cxr_jax.training import ema, loop
from cxr_jax.training.ema import EmaState
from cxr_jax.training.loop import Snapshot, make_averages
from cxr_jax.types import Params

# loss(params, batch, keys, step): a scalar, from a key an example and the number of steps taken.
Loss = Callable[[Params, Arrays, jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluator:
    """A network that judges explanations.

    Attributes:
      name: its section of `config.evaluators`, and its folder.
      truths: of the training films, beside the films themselves, that it is taught by.
      run: (config, workdir, splits) to its test figures; raises `Untaught`.
    """

    name: str
    truths: tuple[str, ...]
    run: Callable[[ml_collections.ConfigDict, Path, dict[str, Arrays]], dict]


class Untaught(Exception):
    """The data set lacks what a network would be taught by; the message is the recorded reason."""


def make_train_step(
    loss: Loss, optimizer: optax.GradientTransformation, *, ema_decay: float, seed: int
) -> Callable:
    """Builds the pure step (state, batch, None) -> (state, metrics)."""
    averages = make_averages("loss")

    def step(
        state: EmaState, batch: Arrays, frozen: None
    ) -> tuple[EmaState, clu_metrics.Collection]:
        del frozen  # there is nothing beside the batch
        keys = parallel.example_keys(seed, state.step, batch["index"])
        graded = jax.value_and_grad(loss)(state.params, batch, keys, state.step)
        value, gradient = parallel.mean(graded)
        state = ema.update(state, gradient, optimizer, decay=ema_decay)
        return state, averages.single_from_model_output(loss=value)

    return step


def map_train_step(
    config: ml_collections.ConfigDict,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    devices: parallel.Devices | None = None,
) -> Callable:
    """`make_train_step` of a section of the config, on every device or on those given."""
    step = make_train_step(loss, optimizer, ema_decay=config.ema_decay, seed=seed)
    return parallel.pmap_step(step, devices=devices)


def train(
    config: ml_collections.ConfigDict,
    network: nn.Module,
    loss: Loss,
    *,
    arrays: Arrays,
    seed: int,
    directory: Path,
) -> Model:
    """Trains one network on `arrays` to its end, resuming where a killed run was.

    Returns:
      The network with its averaged parameters.
    """
    params = fresh_params(network, arrays["image"].shape[1], seed)
    found = train_params(config, params, loss, arrays=arrays, seed=seed, directory=directory)
    return Model(network, found)


def train_params(
    config: ml_collections.ConfigDict,
    params: Params,
    loss: Loss,
    *,
    arrays: Arrays,
    seed: int,
    directory: Path,
    saved: Callable[[Params], Params] = lambda params: params,
) -> Params:
    """`train` of any parameters, on any arrays; returns their average.

    Args:
      saved: from the average what other tasks load.
    """
    optimizer = make_optimizer(config)
    step = map_train_step(config, loss, optimizer, seed=seed)
    state = loop.train(
        directory,
        loop.make_plan(config),
        ema.init_state(params, optimizer),
        step=lambda number, state, batch: step(state, batch, None),
        batches=lambda start: train_batches(arrays, config.batch_size, seed, start_step=start),
        snapshot=lambda state: Snapshot(variables=saved(state.ema), score=int(state.step)),
    )
    return state.ema


def finite_or_none(value: float) -> float | None:
    """JSON has no NaN: what is undefined is null."""
    return float(value) if np.isfinite(value) else None


def make_optimizer(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
    """AdamW with a warm-up and a cosine decay to zero."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, config.num_steps // 20, max(config.num_steps, 1)
    )
    return optax.adamw(schedule, weight_decay=config.weight_decay)
