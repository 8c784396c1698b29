"""Parameters in training beside their running average, which is what is used afterwards."""

import flax
import jax
import jax.numpy as jnp
import optax

from cxr_jax.types import Params


@flax.struct.dataclass
class AveragedState:
    """Everything that training changes."""

    step: jax.Array
    params: Params
    average: Params
    optimizer: optax.OptState


def init_state(params: Params, optimizer: optax.GradientTransformation) -> AveragedState:
    """The state before the first step."""
    return AveragedState(
        step=jnp.int32(0),
        params=params,
        average=jax.tree.map(jnp.copy, params),
        optimizer=optimizer.init(params),
    )


def update(
    state: AveragedState,
    gradient: Params,
    optimizer: optax.GradientTransformation,
    average_decay: float,
) -> AveragedState:
    """One step down the gradient; the average follows by 1 - `average_decay`."""
    moves, optimizer_state = optimizer.update(gradient, state.optimizer, state.params)
    params = optax.apply_updates(state.params, moves)
    return AveragedState(
        step=state.step + 1,
        params=params,
        average=optax.incremental_update(params, state.average, 1 - average_decay),
        optimizer=optimizer_state,
    )
