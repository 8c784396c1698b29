"""The fast rewrite of transposed convolutions is the plain one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.models.transposed import conv_transpose


def plain(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """By the definition: every pixel adds the kernel, weighted, at twice its place."""
    b, h, w, _ = x.shape
    size, features = kernel.shape[0], kernel.shape[-1]
    y = np.zeros((b, 2 * h + size - 2, 2 * w + size - 2, features))
    for i in range(h):
        for j in range(w):
            y[:, 2 * i : 2 * i + size, 2 * j : 2 * j + size] += np.einsum(
                "bc,klcf->bklf", x[:, i, j], kernel
            )
    return y


@pytest.mark.parametrize("size", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("height, width", [(1, 1), (1, 3), (5, 4)])
def test_it_is_the_definition(height, width, size):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, height, width, 3))
    kernel = rng.normal(size=(size, size, 3, 2))
    found = conv_transpose(jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32))
    np.testing.assert_allclose(found, plain(x, kernel), atol=1e-4)


def by_lax(x, kernel):
    """XLA's own, which correlates where the definition convolves."""
    mirrored = jnp.flip(kernel, (0, 1))
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_transpose(x, mirrored, (2, 2), "VALID", dimension_numbers=layout)


def test_it_and_its_gradients_are_those_of_xla():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 5, 5, 4)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(5, 5, 4, 3)), jnp.float32)
    weight = jnp.asarray(rng.normal(size=(2, 13, 13, 3)), jnp.float32)

    def gradients(conv):
        return jax.grad(lambda x, k: (weight * jnp.tanh(conv(x, k))).sum(), (0, 1))(x, kernel)

    for one, other in zip(gradients(conv_transpose), gradients(by_lax), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
