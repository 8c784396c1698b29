"""A field of velocities that carries Gaussian noise to latent codes.

Flow matching (Lipman et al., ICLR 2023) with straight ways: of a code x and noise e the point
(1 - t) e + t x moves by x - e, and the field learns the mean of that over all ways through a point.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from cxr_jax.types import AnyArray

NUM_FREQUENCIES = 16
FASTEST = 200.0  # radians over the whole way


def time_features(time: Float[AnyArray, " b"]) -> Float[AnyArray, "b f"]:
    """Sines and cosines of a time in [0, 1], from slow to fast."""
    frequencies = jnp.geomspace(1.0, FASTEST, NUM_FREQUENCIES)
    angle = time[:, None] * frequencies[None]
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


class VelocityField(nn.Module):
    """v(x, t | context): a residual perceptron whose layers are scaled by the time.

    Untrained it is zero: noise stays what it is, so that fields begin as the plain Gaussian.

    Attributes:
      width: of its layers.
      depth: how many residual layers.
    """

    width: int
    depth: int

    @nn.compact
    def __call__(
        self,
        x: Float[AnyArray, "b k"],
        time: Float[AnyArray, " b"],
        context: Float[AnyArray, "b c"],
    ) -> Float[AnyArray, "b k"]:
        when = time_features(time)
        inner = nn.Dense(self.width)(jnp.concatenate([x, when, context], axis=-1))
        for _ in range(self.depth):
            step = nn.Dense(self.width)(nn.silu(nn.LayerNorm()(inner)))
            step = nn.silu(step * (1 + nn.Dense(self.width)(when)))
            inner = inner + nn.Dense(self.width, kernel_init=nn.initializers.zeros)(step)
        last = nn.Dense(x.shape[-1], kernel_init=nn.initializers.zeros)
        return last(nn.silu(nn.LayerNorm()(inner)))
