"""The segmenter: its shape, how far it sees, and that it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cxr_jax import losses
from cxr_jax.models.segmenter import Segmenter

SIZE = 32


@pytest.fixture
def network() -> Segmenter:
    return Segmenter(widths=(8, 8))


@pytest.fixture
def image(key) -> jax.Array:
    return jax.random.uniform(key, (3, SIZE, SIZE, 1), minval=-1)


def test_one_logit_a_pixel_whatever_the_precision(network, image):
    for dtype in ("float32", "bfloat16"):
        initialise = network.clone(dtype=dtype).init_with_output
        logit, variables = jax.eval_shape(initialise, jax.random.key(0), image)
        assert logit.shape == image.shape and logit.dtype == jnp.float32
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}


def test_films_do_not_mix_and_every_pixel_is_seen(network, image, random_params):
    params = random_params(network, image)
    find = jax.jit(lambda image: network.apply({"params": params}, image))
    logit = find(image)
    np.testing.assert_allclose(find(image[1:2])[0], logit[1], atol=1e-5)
    weight = jnp.sin(jnp.arange(1.0, 1 + image.size)).reshape(image.shape)
    assert (jax.grad(lambda image: (find(image) * weight).sum())(image) != 0).all()


def test_it_learns_bright_squares_in_a_few_steps(network):
    """Dice above 0.95 on new squares, under a gradient of grey that no threshold cuts."""
    rng = np.random.default_rng(0)
    corner = rng.integers(0, SIZE - 10, (96, 2))
    inside = np.arange(SIZE)[None, :, None] - corner[:, None]
    rows, columns = ((inside >= 0) & (inside < 10)).transpose(2, 0, 1)
    mask = (rows[:, :, None] & columns[:, None, :])[..., None]
    shade = np.linspace(-0.8, 0.4, SIZE)[None, :, None, None]
    image = jnp.asarray(shade + 0.5 * mask + 0.05 * rng.normal(size=mask.shape), jnp.float32)
    optimizer = optax.adam(5e-3)

    @jax.jit
    def step(params, state, image, mask):
        def loss(params):
            return losses.segmentation(network.apply({"params": params}, image), mask).mean()

        gradient = jax.grad(loss)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state

    params = jax.jit(network.init)(jax.random.key(0), image[:1])["params"]
    state = optimizer.init(params)
    for number in range(60):
        rows = np.arange(16) + 16 * (number % 4)
        params, state = step(params, state, image[rows], mask[rows])
    found = np.asarray(jax.jit(network.apply)({"params": params}, image[64:])) > 0
    truth = mask[64:]
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.95
