"""The networks of Dravid & Katsaggelos (AAAI 2022), which are AC-GAN's (Odena et al., 2017).

The generator's transposed convolutions are not padded, so a single pixel grows to 5, 13, 29, 61 and
128; with one of them fewer, to 64.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Int

from cxr_jax.models.published.torch_layers import BatchNorm, Conv, Linear, dropout, identity
from cxr_jax.models.transposed import ConvTranspose
from cxr_jax.types import AnyArray, Image, Keys, Margin, ZClass, ZStructure

INIT = nn.initializers.normal(0.02)  # Radford et al., 2016


def grown_size(layers: int) -> int:
    """The image size that so many transposed convolutions make of one pixel."""
    size = 1
    for _ in range(layers - 1):
        size = 2 * size + 3
    return 2 * size + 6


class PaperGenerator(nn.Module):
    """G(z_structure, z_class) -> image, from both vectors joined; with keys as in training.

    Attributes:
      image_size: must be `grown_size(len(widths))`.
      latent_sizes: components of z_structure and of z_class.
      widths: of the dense layer and of each transposed convolution but the last.
      total: sums over the devices, for BatchNorm.
    """

    image_size: int
    latent_sizes: tuple[int, int] = (100, 10)
    widths: Sequence[int] = (768, 384, 256, 192, 64)
    total: Callable[[jax.Array], jax.Array] = identity
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        z_structure: ZStructure,
        z_class: ZClass,
        keys: Keys | None = None,
    ) -> Image:
        z = jnp.concatenate([z_structure, z_class], axis=-1)
        x = Linear(self.widths[0], kernel_init=INIT, dtype=self.dtype, name="dense")(z)
        x = x[:, None, None]
        for i, width in enumerate(self.widths[1:], start=1):
            x = ConvTranspose(width, 5, INIT, dtype=self.dtype, name=f"grow_{i}")(x)
            norm = BatchNorm(self.total, dtype=self.dtype, name=f"norm_{i}")
            x = nn.relu(norm(x, train=keys is not None))
        x = ConvTranspose(1, 8, INIT, name="image")(x.astype(jnp.float32))
        return jnp.tanh(x)


class PaperDiscriminator(nn.Module):
    """Six 3x3 convolutions and one logit, whatever the grade; with keys as in training.

    Attributes:
      widths: of the convolutions; the odd ones halve the image, the even ones cut its edge off.
      rate: of dropout.
      total: sums over the devices, for BatchNorm.
    """

    widths: Sequence[int] = (16, 32, 64, 128, 256, 512)
    rate: float = 0.5
    total: Callable[[jax.Array], jax.Array] = identity
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Image,
        grade: Int[AnyArray, " b"],
        keys: Keys | None = None,
    ) -> Margin:
        del grade
        x = image
        for i, width in enumerate(self.widths):
            halves = i % 2 == 0
            conv = Conv(width, 3, 2 if halves else 1, kernel_init=INIT, dtype=self.dtype)
            x = conv(x) if halves else conv(x)[:, 1:-1, 1:-1]
            if i > 0:
                x = BatchNorm(self.total, dtype=self.dtype)(x, train=keys is not None)
            x = dropout(nn.leaky_relu(x, 0.2), self.rate, keys, layer=i)
        x = x.reshape(len(x), -1).astype(jnp.float32)
        return Linear(1, kernel_init=INIT)(x)[:, 0]
