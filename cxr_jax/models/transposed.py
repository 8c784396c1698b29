"""Transposed convolutions of stride 2, as ordinary ones.

A transposed convolution is an ordinary one of the small map, whose channels are then laid out as
the four pixels that each small pixel becomes. That is the same function of the same kernel, without
the strides that make gradients slow on a CPU.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Float

from cxr_jax.models.blocks import Kernel, Map, convolve, depth_to_space
from cxr_jax.types import AnyArray


def by_phases(kernel: Kernel) -> Float[AnyArray, "t t c 4*f"]:
    """The kernel [k, k, c, n] of a transposed convolution as [t, t, c, 4n], t = ceil(k / 2) odd.

    Output pixel 2i + a is the sum of x[i - j] kernel[a + 2j]: each parity a of rows and of columns
    is a convolution with every second tap, mirrored because ours correlates.
    """
    size, _, channels, features = kernel.shape
    taps = -(-size // 2)
    taps += 1 - taps % 2  # an even number of taps has no middle
    kernel = jnp.pad(kernel, ((0, 2 * taps - size), (0, 2 * taps - size), (0, 0), (0, 0)))
    kernel = kernel.reshape(taps, 2, taps, 2, channels, features)[::-1, :, ::-1]
    return kernel.transpose(0, 2, 4, 1, 3, 5).reshape(taps, taps, channels, 4 * features)


def conv_transpose(x: Map, kernel: Kernel) -> Float[AnyArray, "b _ _ f"]:
    """[b, n, n, c] -> [b, 2n + k - 2, 2n + k - 2, f] (torch.nn.ConvTranspose2d(c, f, k, 2))."""
    b, h, w, _ = x.shape
    size = kernel.shape[0]
    if h == w == 1:  # the kernel itself, weighted by the channels of the only pixel
        return jnp.einsum("bc,hwcf->bhwf", x[:, 0, 0], kernel)
    phases = by_phases(kernel)
    reach = phases.shape[0] // 2
    x = jnp.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    y = depth_to_space(convolve(x, phases))
    return y[:, : 2 * h + size - 2, : 2 * w + size - 2]


class ConvTranspose(nn.Module):
    """A transposed convolution of stride 2 without padding or bias."""

    features: int
    size: int
    kernel_init: Initializer
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Map) -> Float[AnyArray, "b _ _ f"]:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("weight", self.kernel_init, shape)
        return conv_transpose(x.astype(self.dtype), kernel.astype(self.dtype))
