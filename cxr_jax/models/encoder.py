"""The encoder: a radiograph to its two latents."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float

from cxr_jax.models.blocks import (
    AnyMap,
    Conv3,
    Map,
    PixelNorm,
    ResidualBlock,
    Stem,
    downsample,
    upsample,
)
from cxr_jax.types import AnyArray, Image, ZClass, ZStructure

Latents = Float[AnyArray, "b p"]


class Encoder(nn.Module):
    """Means and log standard deviations of z_structure, and of z_class before its scaling.

    Attributes:
      z_structure_channels, z_class_channels, spatial_z_class: as in the generator.
      widths: channels at 1/2, 1/4, 1/8 and 1/16 of the image size.
    """

    z_structure_channels: Sequence[int]
    z_class_channels: Sequence[int]
    widths: Sequence[int]
    spatial_z_class: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: Image) -> tuple[tuple[ZStructure, ZStructure], tuple[ZClass, ZClass]]:
        """Returns ((mean, log_std) of the structure, (mean, log_std) of the unit class latent)."""
        x = Stem(tuple(self.widths[:2]), dtype=self.dtype)(image)
        pyramid = []
        for level, width in enumerate(self.widths[1:]):
            x = downsample(x) if level > 0 else x
            x = ResidualBlock(width, dtype=self.dtype)(x)
            pyramid.append(nn.silu(PixelNorm()(x)))
        coarse_to_fine = pyramid[::-1]
        z_structure = self._gaussians(coarse_to_fine, self.z_structure_channels)
        context = coarse_to_fine[0]
        contexts = []
        for features in coarse_to_fine[1:]:
            context = jnp.concatenate([features, upsample(context)], axis=-1)
            context = nn.silu(Conv3(self.widths[-2], dtype=self.dtype)(context))
            contexts.append(context)
        if not self.spatial_z_class:
            contexts = [context.mean(axis=(1, 2), keepdims=True) for context in contexts]
        return z_structure, self._gaussians(contexts, self.z_class_channels)

    def _gaussians(
        self, maps: Sequence[AnyMap], channels: Sequence[int]
    ) -> tuple[Latents, Latents]:
        """One head a map, packed together."""
        heads = [self._gaussian(x, c) for x, c in zip(maps, channels, strict=False)]
        mean, log_std = zip(*heads, strict=True)
        return jnp.concatenate(mean, axis=-1), jnp.concatenate(log_std, axis=-1)

    def _gaussian(self, features: Map, channels: int) -> tuple[Latents, Latents]:
        moments = Conv3(2 * channels, dtype=jnp.float32)(features)
        mean, log_std = jnp.split(moments, 2, axis=-1)
        flat = (len(features), -1)
        return mean.reshape(flat), log_std.reshape(flat).clip(-5, 1)
