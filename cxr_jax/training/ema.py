"""Parameters in training beside their moving average, which is what is used afterwards."""

import functools
from collections.abc import Mapping
from types import MappingProxyType

import flax
import jax
import jax.numpy as jnp
import optax

from cxr_jax.types import Count, Params


@flax.struct.dataclass(kw_only=True)
class EmaState:
    """Everything that training changes."""

    step: Count
    params: Params
    ema: Params
    optimizer: optax.OptState


@functools.partial(jax.jit, static_argnums=1)  # a large network has a thousand arrays
def init_state(params: Params, optimizer: optax.GradientTransformation) -> EmaState:
    """The state before the first step."""
    return EmaState(
        step=jnp.int32(0),
        params=params,
        ema=jax.tree.map(jnp.copy, params),
        optimizer=optimizer.init(params),
    )


def replace(params: Params, new: Params) -> Params:
    """Nested dictionaries with the leaves of `new` in their places."""
    if not isinstance(params, Mapping):
        return new
    return {
        name: replace(value, new[name]) if name in new else value for name, value in params.items()
    }


def update(
    state: EmaState,
    gradient: Params,
    optimizer: optax.GradientTransformation,
    *,
    decay: float,
    statistics: Params = MappingProxyType({}),
) -> EmaState:
    """One step down the gradient; the average follows by 1 - `decay`.

    Args:
      statistics: parameters that are measured, not learned, with their new values.
    """
    updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.params)
    params = replace(optax.apply_updates(state.params, updates), statistics)
    return EmaState(
        step=state.step + 1,
        params=params,
        ema=optax.incremental_update(params, state.ema, 1 - decay),
        optimizer=optimizer_state,
    )
