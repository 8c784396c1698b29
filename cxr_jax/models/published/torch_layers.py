"""Layers that compute what PyTorch's of the same name compute, with parameters of the same names.

A network of these has one parameter for each tensor of the PyTorch state dict: kernels are stored
[kh, kw, in, out] and [in, out]. The running statistics of BatchNorm count as parameters, so that a
trained network is one tree and `apply({"params": params}, image)` is all there is to using it. In
training the new statistics leave through the collection `statistics`, under the same names.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Float

from cxr_jax.models.blocks import Map, convolve
from cxr_jax.types import AnyArray, Keys

Vector = Float[AnyArray, "b c"]
Thinned = Float[AnyArray, "b _ _ c"]  # of a map: some of its pixels

KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_in", "normal")  # He et al., 2015


def identity(value: AnyArray) -> AnyArray:
    """The sum over one device."""
    return value


class Conv(nn.Module):
    """A convolution with an odd kernel, padded by half of it (torch.nn.Conv2d).

    A strided one is a product of matrices: on a CPU the gradient of a strided convolution is slow,
    see `blocks.convolve`.
    """

    features: int
    size: int
    stride: int = 1
    use_bias: bool = False
    dtype: DTypeLike = jnp.float32
    kernel_init: Initializer = KERNEL_INIT

    @nn.compact
    def __call__(self, x: Map) -> Float[AnyArray, "b _ _ f"]:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("weight", self.kernel_init, shape).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.size == 1:
            y = thin(x, self.stride) @ kernel[0, 0]
        elif self.stride == 1:
            y = convolve(x, kernel)
        else:
            y = patches(x, self.size, self.stride) @ kernel.reshape(-1, self.features)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
            y = y + bias.astype(self.dtype).reshape(1, 1, 1, -1)
        return y


def thin(x: Map, stride: int) -> Thinned:
    """Every `stride`-th row and column, from the first."""
    return x[:, ::stride, ::stride]


def patches(x: Map, size: int, stride: int) -> Float[AnyArray, "b _ _ p"]:
    """The size x size pixels about every `stride`-th pixel, zero beyond the map's edge."""
    rows, columns = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (size // 2,) * 2, (size // 2,) * 2, (0, 0)))
    shifted = [x[:, i : i + rows, j : j + columns] for i in range(size) for j in range(size)]
    return jnp.concatenate([thin(each, stride) for each in shifted], axis=-1)


class Linear(nn.Module):
    """An affine map (torch.nn.Linear)."""

    features: int
    dtype: DTypeLike = jnp.float32
    kernel_init: Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Vector) -> Float[AnyArray, "b f"]:
        shape = (x.shape[-1], self.features)
        weight = self.param("weight", self.kernel_init, shape).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return x.astype(self.dtype) @ weight + bias.astype(self.dtype).reshape(1, -1)


class BatchNorm(nn.Module):
    """Normalises channels (Ioffe & Szegedy, 2015; torch.nn.BatchNorm2d).

    Attributes:
      total: sums over the devices; the statistics of a batch are those of all of it.
      momentum: the new batch's share in the running statistics.
    """

    total: Callable[[AnyArray], AnyArray] = identity
    momentum: float = 0.1
    epsilon: float = 1e-5
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Map, train: bool) -> Map:
        channels = (x.shape[-1],)
        zeros, ones = nn.initializers.zeros_init(), nn.initializers.ones_init()
        weight = self.param("weight", ones, channels)
        bias = self.param("bias", zeros, channels)
        mean = jax.lax.stop_gradient(self.param("running_mean", zeros, channels))
        variance = jax.lax.stop_gradient(self.param("running_var", ones, channels))
        if train:
            running = mean, variance
            mean, variance, unbiased = self._moments(x.astype(weight.dtype))
            if self.is_mutable_collection("statistics"):
                self._move("running_mean", running[0], mean)
                self._move("running_var", running[1], unbiased)
        scale = weight * jax.lax.rsqrt(variance + self.epsilon)
        shift = bias - mean * scale
        to_map = lambda channel: channel.reshape(1, 1, 1, -1)
        return (x * to_map(scale) + to_map(shift)).astype(self.dtype)

    def _moments(self, x: Map) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Mean, variance and unbiased variance of each channel, over the batch of all devices."""
        count = self.total(jnp.asarray(x[..., 0].size, x.dtype))
        mean = self.total(x.sum(axis=(0, 1, 2))) / count
        squared = jnp.square(x - mean.reshape(1, 1, 1, -1)).sum(axis=(0, 1, 2))
        squared = self.total(squared)
        return mean, squared / count, squared / jnp.maximum(count - 1, 1)

    def _move(self, name: str, running: jax.Array, new: jax.Array) -> None:
        moved = (1 - self.momentum) * running + self.momentum * jax.lax.stop_gradient(new)
        self.put_variable("statistics", name, moved)


def dropout(x: Vector | Map, rate: float, keys: Keys | None, *, layer: int) -> Vector | Map:
    """Zeroes components with probability `rate` and scales the others up; nothing without keys.

    Every example draws from its own key, so that the devices play no part.
    """
    if keys is None or rate == 0:
        return x
    draw = lambda key: jax.random.bernoulli(jax.random.fold_in(key, layer), 1 - rate, x.shape[1:])
    return jnp.where(jax.vmap(draw)(keys), x / (1 - rate), 0.0)


def max_pool_3(x: Map) -> Thinned:
    """Maxima of 3x3 windows, stride 2, padded by 1 (torch.nn.MaxPool2d(3, 2, 1)).

    By rows and then by columns, as maxima of slices: XLA's own gradient is slow on a CPU.
    """
    for axis in (1, 2):
        pad = [(0, 0)] * 4
        pad[axis] = (1, 1)
        x = jnp.pad(x, pad, constant_values=-jnp.inf)
        size = x.shape[axis] - 2
        cut = lambda i, x=x, axis=axis, size=size: jax.lax.slice_in_dim(x, i, i + size, 2, axis)
        x = jnp.maximum(jnp.maximum(cut(0), cut(1)), cut(2))
    return x


def _blocks_of_2(x: Map) -> Float[AnyArray, "b _ 2 _ 2 c"]:
    b, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2]  # an odd row or column is left over
    return x.reshape(b, h // 2, 2, w // 2, 2, c)


def max_pool_2(x: Map) -> Thinned:
    """Maxima of 2x2 blocks (torch.nn.MaxPool2d(2))."""
    return _blocks_of_2(x).max(axis=(2, 4))


def mean_pool_2(x: Map) -> Thinned:
    """Means of 2x2 blocks (torch.nn.AvgPool2d(2))."""
    return _blocks_of_2(x).mean(axis=(2, 4))


def _bins(size: int, count: int) -> np.ndarray:
    """Row i averages the pixels from floor(i size / count) to ceil((i + 1) size / count)."""
    rows = np.zeros((count, size), np.float32)
    for i in range(count):
        start, end = i * size // count, -(-(i + 1) * size // count)
        rows[i, start:end] = 1 / (end - start)
    return rows


def adaptive_mean_pool(x: Map, size: int) -> Float[AnyArray, "b {size} {size} c"]:
    """Means over a grid of size x size windows (torch.nn.AdaptiveAvgPool2d)."""
    rows, columns = (jnp.asarray(_bins(n, size), x.dtype) for n in x.shape[1:3])
    return jnp.einsum("ih,bhwc,jw->bijc", rows, x, columns)


def stage(module: nn.Module, features: dict, x: Map) -> Map:
    """Names the next feature map `stage_1`, `stage_2`, ... and lets `perturbations` be added to it.

    Args:
      module: the network, which is being called.
      features: the maps so far; the new one is entered.
    """
    name = f"stage_{len(features) + 1}"
    if not module.is_initializing():  # which would list the perturbations beside the params
        x = module.perturb(name, x)
    features[name] = x
    return x
