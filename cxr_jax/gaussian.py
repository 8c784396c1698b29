"""The Gaussian by which images are blurred along one axis."""

import jax.numpy as jnp
from jaxtyping import Float

from cxr_jax.types import AnyArray


def gaussian_weights(side: int, width: float) -> Float[AnyArray, "side side"]:
    """Of every pixel (column) about every pixel (row), 1 at itself; `width` in pixels."""
    place = jnp.arange(side)
    return jnp.exp(-0.5 * jnp.square((place[:, None] - place[None, :]) / width))
