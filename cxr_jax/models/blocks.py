"""Layers that the networks share.

Sizes are changed by space-to-depth, averaging and nearest-neighbour repetition around SAME 3x3
convolutions: on a CPU the weight gradient of strided or transposed convolutions is up to forty
times slower, and few channels at full resolution waste any machine.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.custom_derivatives import linear_call
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from cxr_jax.types import AnyArray

Map = Float[AnyArray, "b h w c"]
NewMap = Float[AnyArray, "b h w f"]  # as large, with other channels
AnyMap = Float[AnyArray, "b _ _ _"]  # of any size, with any channels
Kernel = Float[AnyArray, "kh kw c f"]


# A 3x3 convolution, whose gradient with respect to its input is written as the ordinary convolution
# that it is. XLA's own form of that gradient is thirty times slower inside a `lax.scan` on a CPU.


def _convolve(x: Map, kernel: Kernel) -> NewMap:
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)


def _mirrored(kernel: Kernel) -> Float[AnyArray, "kh kw f c"]:
    return jnp.flip(kernel, axis=(0, 1)).swapaxes(2, 3)


@jax.custom_jvp
def convolve(x: Map, kernel: Kernel) -> NewMap:
    """SAME convolution with stride 1; differentiable once, in forward or reverse mode."""
    return _convolve(x, kernel)


@convolve.defjvp
def _convolve_jvp(primals: tuple, tangents: tuple) -> tuple[Map, Map]:
    (x, kernel), (dx, dkernel) = primals, tangents
    by_x = linear_call(
        lambda kernel, dx: _convolve(dx, kernel),
        lambda kernel, dy: _convolve(dy, _mirrored(kernel)),
        kernel,
        dx,
    )
    return convolve(x, kernel), by_x + _convolve(x, dkernel)


class Conv3(nn.Module):
    """A 3x3 SAME convolution of stride 1."""

    features: int
    use_bias: bool = True
    dtype: DTypeLike = jnp.float32
    kernel_init: Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Map) -> NewMap:
        kernel = self.param("kernel", self.kernel_init, (3, 3, x.shape[-1], self.features))
        y = convolve(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
            y = y + bias.astype(self.dtype).reshape(1, 1, 1, -1)
        return y


def space_to_depth(x: Map) -> Float[AnyArray, "b h//2 w//2 4*c"]:
    """[b, h, w, c] -> [b, h/2, w/2, 4c]."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // 2, w // 2, 4 * c)


def depth_to_space(x: Map) -> Float[AnyArray, "b 2*h 2*w c//4"]:
    """[b, h, w, 4c] -> [b, 2h, 2w, c]; the inverse of `space_to_depth`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, 2 * h, 2 * w, c // 4)


def downsample(x: Map) -> Float[AnyArray, "b h//2 w//2 c"]:
    """Mean of 2x2 blocks."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))


def upsample(x: Map) -> Float[AnyArray, "b 2*h 2*w c"]:
    """Nearest-neighbour repetition to twice the size."""
    b, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c))
    return x.reshape(b, 2 * h, 2 * w, c)


def full_precision(x: Array) -> Array:
    """At least float32: for statistics, and for what a network returns."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class PixelNorm(nn.Module):
    """RMS norm over channels, pixel by pixel (Karras et al., 2018), with a learned gain.

    Far cheaper on a CPU than GroupNorm, and it needs no statistics over the batch or the devices.
    """

    @nn.compact
    def __call__(self, x: Map) -> Map:
        gain = self.param("gain", nn.initializers.ones_init(), (x.shape[-1],))
        y = full_precision(x)
        scale = jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + 1e-6)
        return (y * scale * gain.reshape(1, 1, 1, -1)).astype(x.dtype)


class ResidualBlock(nn.Module):
    """x + two normalised 3x3 convolutions; the second starts at zero, the block as the identity."""

    width: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Map) -> NewMap:
        conv = functools.partial(Conv3, self.width, dtype=self.dtype)
        y = conv()(nn.silu(PixelNorm()(x)))
        y = conv(kernel_init=nn.initializers.zeros_init())(nn.silu(PixelNorm()(y)))
        if x.shape[-1] != self.width:
            x = nn.Dense(self.width, use_bias=False, dtype=self.dtype)(x)
        return x + y


class Stem(nn.Module):
    """An image to maps at a quarter of its size: twice space-to-depth and a 3x3 convolution."""

    widths: tuple[int, int]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: Map) -> Float[AnyArray, "b h//4 w//4 f"]:
        x = nn.silu(Conv3(self.widths[0], dtype=self.dtype)(space_to_depth(image)))
        return Conv3(self.widths[1], dtype=self.dtype)(space_to_depth(x))


def binomial_blur(x: Map) -> Map:
    """The 3x3 binomial filter, edges repeated."""
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    x = x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]
    return (x[:, :, :-2] + 2 * x[:, :, 1:-1] + x[:, :, 2:]) / 16
