"""Layers: exact inverses, and the convolution's own derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cxr_jax.models import blocks

MAP = (2, 6, 4, 8)


@pytest.fixture
def x(key) -> jax.Array:
    return jax.random.normal(key, MAP)


@pytest.fixture
def kernel(key) -> jax.Array:
    return jax.random.normal(jax.random.fold_in(key, 1), (3, 3, 8, 5))


def same_convolution(x, kernel):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)


def test_space_to_depth_and_back(x):
    packed = blocks.space_to_depth(x)
    assert packed.shape == (2, 3, 2, 32)
    np.testing.assert_array_equal(blocks.depth_to_space(packed), x)
    deep = x.reshape(2, 3, 2, 32)
    np.testing.assert_array_equal(blocks.space_to_depth(blocks.depth_to_space(deep)), deep)


def test_space_to_depth_gathers_blocks():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    packed = blocks.space_to_depth(x)
    np.testing.assert_array_equal(packed[0, 0, 1], [2, 3, 6, 7])
    np.testing.assert_array_equal(packed.mean(axis=-1, keepdims=True), blocks.downsample(x))


def test_upsample_repeats_and_downsample_averages(x):
    large = blocks.upsample(x)
    np.testing.assert_array_equal(large, jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2))
    np.testing.assert_allclose(blocks.downsample(large), x, rtol=1e-6)


def test_convolve_has_the_value_of_lax(x, kernel):
    np.testing.assert_allclose(
        blocks.convolve(x, kernel), same_convolution(x, kernel), rtol=1e-4, atol=1e-4
    )


def test_convolve_has_the_gradients_of_lax(x, kernel):
    weights = jnp.cos(jnp.arange(2 * 6 * 4 * 5.0)).reshape(2, 6, 4, 5)

    def total(convolution):
        return lambda x, kernel: (weights * jnp.tanh(convolution(x, kernel))).sum()

    ours, theirs = (
        jax.jit(jax.grad(total(convolution), argnums=(0, 1)))(x, kernel)
        for convolution in (blocks.convolve, same_convolution)
    )
    for mine, its in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-3, atol=1e-4)


def test_convolve_has_the_forward_derivatives_of_lax(x, kernel, key):
    tangents = jax.random.normal(key, x.shape), jnp.sin(kernel)
    ours, theirs = (
        jax.jvp(convolution, (x, kernel), tangents)[1]
        for convolution in (blocks.convolve, same_convolution)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_convolve_agrees_with_differences(x, kernel):
    check_grads(
        lambda x, k: jnp.tanh(blocks.convolve(x, k)), (x[:1], 0.1 * kernel), 1, atol=2e-2, rtol=2e-2
    )


def test_conv3_learns_with_its_bias(x):
    layer = blocks.Conv3(5)
    params = layer.init(jax.random.key(0), x)["params"]
    assert {name: p.shape for name, p in params.items()} == {"kernel": (3, 3, 8, 5), "bias": (5,)}
    shifted = layer.apply({"params": params | {"bias": jnp.arange(5.0)}}, x)
    difference = shifted - layer.apply({"params": params}, x)
    expected = np.broadcast_to(np.arange(5.0), difference.shape)
    np.testing.assert_allclose(difference, expected, atol=1e-5)
    assert "bias" not in blocks.Conv3(5, use_bias=False).init(jax.random.key(0), x)["params"]


def test_pixel_norm_ignores_scale(x):
    layer = blocks.PixelNorm()
    params = layer.init(jax.random.key(0), x)
    y = layer.apply(params, x)
    np.testing.assert_allclose(jnp.square(y).mean(axis=-1), np.ones(MAP[:3]), rtol=1e-4)
    np.testing.assert_allclose(layer.apply(params, 100 * x), y, rtol=1e-3, atol=1e-4)
    assert not jnp.isnan(jax.grad(lambda x: layer.apply(params, x).sum())(0 * x)).any()


def test_residual_block_starts_as_the_identity(x):
    same = blocks.ResidualBlock(MAP[-1])
    np.testing.assert_array_equal(same.apply(same.init(jax.random.key(0), x), x), x)
    wider = blocks.ResidualBlock(12)
    assert wider.apply(wider.init(jax.random.key(0), x), x).shape == (*MAP[:3], 12)


def test_blur_keeps_constants_and_kills_a_chequerboard():
    constant = jnp.full((1, 6, 6, 1), 0.7)
    np.testing.assert_allclose(blocks.binomial_blur(constant), constant, rtol=1e-6)
    board = (-1.0) ** (jnp.arange(6)[:, None] + jnp.arange(6)[None]).reshape(1, 6, 6, 1)
    assert float(jnp.abs(blocks.binomial_blur(board)[:, 1:-1, 1:-1]).max()) < 1e-6
    spike = jnp.zeros((1, 5, 5, 1)).at[0, 2, 2, 0].set(16.0)
    expected = np.outer([0, 1, 2, 1, 0], [0, 1, 2, 1, 0])
    np.testing.assert_allclose(blocks.binomial_blur(spike)[0, :, :, 0], expected, atol=1e-6)
