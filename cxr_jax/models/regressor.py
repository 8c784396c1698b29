"""The regressor: a radiograph to the numbers it was drawn from, and the features on the way."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float

from cxr_jax.models.blocks import PixelNorm, ResidualBlock, Stem, downsample
from cxr_jax.types import AnyArray, Image

Parameters = Float[AnyArray, "b p"]
Features = Float[AnyArray, "b d"]


class Regressor(nn.Module):
    """A compact residual CNN with one linear output a parameter.

    Attributes:
      num_parameters: p.
      widths: channels at 1/2, 1/4, 1/8, ... of the image size; a residual block from 1/4 on.
      num_features: d.
    """

    num_parameters: int
    widths: Sequence[int]
    num_features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: Image) -> tuple[Parameters, Features]:
        """Returns the standardised parameters and the penultimate features."""
        x = Stem(tuple(self.widths[:2]), dtype=self.dtype)(image)
        for stage, width in enumerate(self.widths[1:], start=1):
            x = downsample(x) if stage > 1 else x
            x = ResidualBlock(width, dtype=self.dtype)(x)
        x = nn.silu(PixelNorm()(x))
        # Pooled by a learned matrix, which knows places: half of what is asked is where things are.
        features = nn.silu(nn.Dense(self.num_features, dtype=jnp.float32)(x.reshape(len(x), -1)))
        return nn.Dense(self.num_parameters, dtype=jnp.float32)(features), features
