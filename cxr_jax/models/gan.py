"""The two-latent generator and the discriminator that is told what the classifier says."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from cxr_jax.models.blocks import (
    AnyMap,
    Conv3,
    Map,
    NewMap,
    PixelNorm,
    ResidualBlock,
    binomial_blur,
    depth_to_space,
    downsample,
    space_to_depth,
    upsample,
)
from cxr_jax.types import AnyArray, Image, Keys, Margin, ZClass, ZStructure

Shape = tuple[int, int, int]


def z_structure_shapes(image_size: int, channels: Sequence[int]) -> tuple[Shape, ...]:
    """Shapes of the maps in z_structure: `channels[i]` at 1/16, 1/8, 1/4, ... of the image size."""
    return tuple((image_size >> 4 << i, image_size >> 4 << i, c) for i, c in enumerate(channels))


def z_class_shapes(
    image_size: int, channels: Sequence[int], placed: bool = True
) -> tuple[Shape, ...]:
    """Shapes of the maps in z_class: `channels[i]` at 1/8, 1/4, ... of the image size.

    A cell every 8 or 4 pixels, so that it can place a lesion and give it an outline. If not
    `placed`, there is one cell for the whole image, as in modulation by a style vector.
    """
    if not placed:
        return tuple((1, 1, c) for c in channels)
    return tuple((image_size >> 3 << i, image_size >> 3 << i, c) for i, c in enumerate(channels))


def num_components(shapes: Sequence[Shape]) -> int:
    """Length of the latent vector that packs maps of these shapes."""
    return sum(h * w * c for h, w, c in shapes)


def unpack(latent: Float[AnyArray, "b p"], shapes: Sequence[Shape]) -> list[AnyMap]:
    """Cuts a latent vector into its maps."""
    maps, start = [], 0
    for h, w, c in shapes:
        maps.append(latent[:, start : start + h * w * c].reshape(-1, h, w, c))
        start += h * w * c
    return maps


class ClassBranch(nn.Module):
    """Turns z_class into a map that is exactly zero where z_class is: no biases, SiLU(0) = 0.

    SiLU is smooth at the origin, which is where walks start.
    """

    width: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, z_class: Map) -> NewMap:
        x = Conv3(self.width, use_bias=False, dtype=self.dtype)(z_class)
        return Conv3(self.width, use_bias=False, dtype=self.dtype)(nn.silu(x))


class Modulation(nn.Module):
    """x (1 + a(u)) + b(u) with 1x1 convolutions a, b without bias: the identity where u = 0."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Map, u: Float[AnyArray, " b #h #w f"]) -> Map:
        gain, shift = jnp.split(
            nn.Dense(2 * x.shape[-1], use_bias=False, dtype=self.dtype)(nn.silu(u)), 2, axis=-1
        )
        return x * (1 + gain) + shift


class Generator(nn.Module):
    """G(z_structure, z_class) -> image.

    z_structure is a pyramid of maps (1/16, 1/8, 1/4, ... of the image size), each N(0, I), added
    where their size is reached: a single vector cannot hold one patient's ribs. z_class is one too
    (1/8, 1/4, ...) and modulates every size, so that it can place, size and grade a lesion.

    Attributes:
      z_structure_channels: of the maps at 1/16, 1/8, ...; one level of the generator each.
      widths: channels of each of those levels, and of the two layers after them.
      spatial_z_class: False for a z_class without maps, with which ablations compare.
    """

    image_size: int
    z_structure_channels: Sequence[int]
    z_class_channels: Sequence[int]
    widths: Sequence[int]
    spatial_z_class: bool = True
    dtype: DTypeLike = jnp.float32

    @property
    def latent_sizes(self) -> tuple[int, int]:
        """Number of components of z_structure and of z_class."""
        size = self.image_size
        of_structure = z_structure_shapes(size, self.z_structure_channels)
        of_class = z_class_shapes(size, self.z_class_channels, self.spatial_z_class)
        return num_components(of_structure), num_components(of_class)

    @nn.compact
    def __call__(self, z_structure: ZStructure, z_class: ZClass, keys: Keys | None = None) -> Image:
        del keys  # nothing is drawn or measured in training
        shapes = z_structure_shapes(self.image_size, self.z_structure_channels)
        maps = unpack(z_structure, shapes)
        conditions = self._conditions(z_class)
        base = self.param("base", nn.initializers.normal(1.0), (1, *shapes[0][:2], self.widths[0]))
        x = jnp.broadcast_to(base, (len(z_structure), *base.shape[1:])).astype(self.dtype)
        for level, (z, width) in enumerate(zip(maps, self.widths, strict=False)):
            x = x + nn.Dense(width, use_bias=False, dtype=self.dtype)(z)
            x = Modulation(dtype=self.dtype)(x, conditions[level])
            x = ResidualBlock(width, dtype=self.dtype)(x)
            # Fewer channels first, then larger: the full-size layers are what costs.
            x = upsample(nn.Dense(self.widths[level + 1], dtype=self.dtype)(x))
        x = nn.silu(Conv3(self.widths[-1], dtype=self.dtype)(nn.silu(PixelNorm()(x))))
        x = depth_to_space(Conv3(4, dtype=jnp.float32)(x))
        # The blur removes the dot pattern of depth-to-space at none of a convolution's cost.
        return jnp.tanh(binomial_blur(x))

    def _conditions(self, z_class: ZClass) -> list[AnyMap]:
        """What modulates each level: the class maps of its size and coarser ones, joined."""
        shapes = z_class_shapes(self.image_size, self.z_class_channels, self.spatial_z_class)
        branches = [
            ClassBranch(self.widths[-1], dtype=self.dtype)(u) for u in unpack(z_class, shapes)
        ]
        if not self.spatial_z_class:
            return [sum(branches)] * len(self.z_structure_channels)
        conditions = [downsample(branches[0]), branches[0]]
        while len(conditions) < len(self.z_structure_channels):
            finer = branches[len(conditions) - 1] if len(conditions) <= len(branches) else 0.0
            conditions.append(upsample(conditions[-1]) + finer)
        return conditions


class Discriminator(nn.Module):
    """A projection discriminator (Miyato & Koyama, 2018), told the classifier's graded answer.

    Attributes:
      widths: channels at 1/2, 1/4, 1/8 and 1/16 of the image size.
      num_grades: conditions; 0 is "the classifier says negative".
    """

    widths: Sequence[int]
    num_grades: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, image: Image, grade: Int[AnyArray, " b"], keys: Keys | None = None
    ) -> Margin:
        del keys  # nothing is drawn in training
        # R1 differentiates twice, which `Conv3` does not allow.
        conv = functools.partial(nn.Conv, kernel_size=(3, 3), dtype=self.dtype)
        x = nn.leaky_relu(conv(self.widths[0])(space_to_depth(image)), 0.2)
        x = conv(self.widths[1])(space_to_depth(x))
        for level, width in enumerate(self.widths[1:]):
            x = downsample(x) if level > 0 else x
            skip = nn.Dense(width, use_bias=False, dtype=self.dtype)(x)
            y = conv(width)(nn.leaky_relu(x, 0.2))
            y = conv(width)(nn.leaky_relu(y, 0.2))
            x = (skip + y) * 0.5**0.5
        x = nn.leaky_relu(nn.Dense(self.widths[-1] // 2, dtype=self.dtype)(x), 0.2)
        x = x.reshape(len(x), -1).astype(jnp.float32)
        x = nn.leaky_relu(nn.Dense(128)(x), 0.2)
        condition = nn.Embed(self.num_grades, 128)(grade)
        return nn.Dense(1)(x)[:, 0] + jnp.sum(condition * x, axis=-1) / 128**0.5


class LatentCritic(nn.Module):
    """Tries to read the classifier's answer off z_structure, which ought not to contain it.

    Attributes:
      z_structure_channels: as in the generator.
      widths: channels at the size of the finest map and at half of it.
    """

    image_size: int
    z_structure_channels: Sequence[int]
    widths: Sequence[int]

    @nn.compact
    def __call__(self, z_structure: ZStructure) -> Margin:
        maps = unpack(z_structure, z_structure_shapes(self.image_size, self.z_structure_channels))
        x = maps[0]
        for finer in maps[1:]:
            x = jnp.concatenate([upsample(x), finer], axis=-1)
        x = nn.leaky_relu(Conv3(self.widths[0])(x), 0.2)
        for width in self.widths[1:]:
            x = nn.leaky_relu(Conv3(width)(downsample(x)), 0.2)
        return nn.Dense(1)(x.mean(axis=(1, 2)))[:, 0]
