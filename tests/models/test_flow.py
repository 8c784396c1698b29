"""The field of velocities: shapes, what it knows, and that it begins at rest."""

import jax
import jax.numpy as jnp
import numpy as np

from cxr_jax.models.flow import NUM_FREQUENCIES, VelocityField, time_features

FIELD = VelocityField(width=8, depth=2)
X, TIME, CONTEXT = jnp.ones((3, 5)), jnp.array([0.0, 0.5, 1.0]), jnp.ones((3, 2))


def test_a_new_field_moves_nothing():
    params = FIELD.init(jax.random.key(0), X, TIME, CONTEXT)
    np.testing.assert_array_equal(FIELD.apply(params, X, TIME, CONTEXT), 0)


def test_a_taught_field_goes_by_point_time_and_context():
    params = FIELD.init(jax.random.key(0), X, TIME, CONTEXT)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noise = [jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    params = jax.tree.unflatten(tree, noise)
    found = FIELD.apply(params, X, TIME, CONTEXT)
    assert found.shape == X.shape
    for other in ((X + 1, TIME, CONTEXT), (X, 1 - TIME, CONTEXT), (X, TIME, CONTEXT + 1)):
        assert not np.allclose(found[0], FIELD.apply(params, *other)[0])


def test_times_are_told_by_slow_and_fast_waves():
    """The slowest turns by one radian over the way, the fastest by two hundred."""
    features = time_features(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(features[0], [0.0] * NUM_FREQUENCIES + [1.0] * NUM_FREQUENCIES)
    np.testing.assert_allclose(features[1, 0], np.sin(1.0), rtol=1e-5)
    np.testing.assert_allclose(features[1, NUM_FREQUENCIES - 1], np.sin(200.0), atol=1e-3)
