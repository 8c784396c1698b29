"""The segmenter: a radiograph to its lungs."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from cxr_jax.models.blocks import (
    Conv3,
    PixelNorm,
    ResidualBlock,
    depth_to_space,
    downsample,
    space_to_depth,
    upsample,
)
from cxr_jax.types import Image, LungLogit


class Segmenter(nn.Module):
    """A small U-Net (Ronneberger et al., 2015); its largest convolutions run at half the size.

    Attributes:
      widths: channels at 1/2, 1/4, 1/8, ... of the image size; a residual block at each, and
        another on the way back.
    """

    widths: Sequence[int]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: Image) -> LungLogit:
        """Returns the logit of "lung" of every pixel."""
        x = Conv3(self.widths[0], dtype=self.dtype)(space_to_depth(image))
        skips = []
        for level, width in enumerate(self.widths):
            x = downsample(x) if level > 0 else x
            x = ResidualBlock(width, dtype=self.dtype)(x)
            skips.append(x)
        for width, skip in zip(self.widths[-2::-1], skips[-2::-1], strict=True):
            x = jnp.concatenate([skip, upsample(x)], axis=-1)
            x = ResidualBlock(width, dtype=self.dtype)(x)
        return depth_to_space(Conv3(4, dtype=jnp.float32)(nn.silu(PixelNorm()(x))))
