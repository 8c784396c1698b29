"""The regressor: its two outputs, and that its features know where things are."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cxr_jax.models.regressor import Regressor

SIZE = 16


@pytest.fixture
def network() -> Regressor:
    return Regressor(num_parameters=2, widths=(8, 8, 8), num_features=12)


@pytest.fixture
def image(key) -> jax.Array:
    return jax.random.uniform(key, (5, SIZE, SIZE, 1), minval=-1)


def test_parameters_and_features(network, image):
    outputs = jax.eval_shape(network.init_with_output, jax.random.key(0), image)[0]
    assert [output.shape for output in outputs] == [(5, 2), (5, 12)]
    assert {output.dtype for output in outputs} == {np.dtype("float32")}


def test_the_parameters_are_linear_in_the_features(network, image, random_params):
    params = random_params(network, image)
    parameters, features = jax.jit(network.apply)({"params": params}, image)
    design = jnp.concatenate([features, jnp.ones((5, 1))], axis=1)
    head = params[f"Dense_{sum(name.startswith('Dense') for name in params) - 1}"]
    weights = jnp.concatenate([head["kernel"], head["bias"][None]])
    np.testing.assert_allclose(design @ weights, parameters, rtol=1e-5, atol=1e-6)


def test_films_do_not_mix(network, image, random_params):
    params = random_params(network, image)
    apply = jax.jit(network.apply)
    whole, alone = (apply({"params": params}, films) for films in (image, image[3:4]))
    for one, other in zip(alone, whole, strict=True):
        np.testing.assert_allclose(one[0], other[3], atol=1e-5)


def test_it_learns_where_a_spot_is(network):
    rng = np.random.default_rng(0)
    place = rng.uniform(-0.7, 0.7, (320, 2))
    axis = np.linspace(-1, 1, SIZE)
    rows, columns = (np.square(axis - place[:, i : i + 1]) for i in (0, 1))
    spots = np.exp(-20 * (rows[:, :, None] + columns[:, None, :]))
    image = jnp.asarray(2 * spots[..., None] - 1, jnp.float32)
    target = jnp.asarray(place / place.std(axis=0), jnp.float32)
    optimizer = optax.adam(3e-3)

    @jax.jit
    def step(params, state, image, target):
        def loss(params):
            return jnp.square(network.apply({"params": params}, image)[0] - target).mean()

        gradient = jax.grad(loss)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state

    params = jax.jit(network.init)(jax.random.key(0), image[:1])["params"]
    state = optimizer.init(params)
    for number in range(120):
        rows = np.arange(32) + 32 * (number % 8)
        params, state = step(params, state, image[rows], target[rows])
    error = jax.jit(network.apply)({"params": params}, image[256:])[0] - target[256:]
    assert float(jnp.square(error).mean()) < 0.1
