"""The necessary part of a change: complete, nothing where f is blind, all where f feels it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax import necessity
from cxr_jax.models.classifier import Classifier

B, SIDE = 2, 32


@pytest.fixture
def image(key) -> jax.Array:
    return jax.random.uniform(key, (B, SIDE, SIDE, 1), minval=-0.5, maxval=0.5)


@pytest.fixture
def change(key) -> jax.Array:
    return 0.3 * jax.random.uniform(jax.random.fold_in(key, 1), (B, SIDE, SIDE, 1))


def middles(count: int) -> jax.Array:
    return jnp.broadcast_to((jnp.arange(count) + 0.5) / count, (B, count))


def test_evidence_sums_to_what_f_moves_by(image, change):
    classify = lambda x: jnp.tanh(x.mean(axis=(1, 2, 3)) * 4)
    found = necessity.evidence(classify, image, change, shares=middles(64))
    moved = classify(image + change) - classify(image)
    np.testing.assert_allclose(found.sum(axis=(1, 2, 3)), moved, rtol=1e-3)


def test_nothing_is_kept_where_f_cannot_look(image, change, random_params):
    network = Classifier(widths=(8, 8), visible="left")
    params = random_params(network, image)
    classify = lambda x: network.apply({"params": params}, x)[0]
    found = necessity.evidence(classify, image, change, shares=middles(4))
    assert not np.asarray(found[:, :, SIDE // 2 :]).any()
    assert np.asarray(found[:, :, : SIDE // 2]).any()
    kept = necessity.felt(found, change, least=0.25)
    # Nor does the blur carry anything across the middle.
    assert not np.asarray(kept[:, :, SIDE // 2 :]).any()
    assert np.asarray(kept[:, :, SIDE // 2 - 1]).all()


def test_all_is_kept_where_f_feels_all_alike_whatever_the_direction(image, change):
    for sign in (1, -1):
        classify = lambda x, sign=sign: sign * 5 * x.mean(axis=(1, 2, 3))
        found = necessity.evidence(classify, image, change, shares=middles(2))
        np.testing.assert_allclose(necessity.felt(found, change, least=1.0), 1.0, atol=1e-3)
        np.testing.assert_allclose(necessity.felt_share(classify, image, change), 1.0, atol=1e-3)


def test_half_of_what_is_felt_by_half_is_kept(image):
    # f owes three times as much to a unit of change on the left: 1.5 and 0.5 of the mean.
    weight = jnp.where(jnp.arange(SIDE) < SIDE // 2, 3.0, 1.0)[None, None, :, None]
    classify = lambda x: (weight * x).mean(axis=(1, 2, 3))
    ones = jnp.ones_like(image)
    found = necessity.evidence(classify, image, ones, shares=middles(1))
    kept = np.asarray(necessity.felt(found, ones, least=1.0))
    np.testing.assert_allclose(kept[:, :, :8], 1.0, atol=1e-3)
    np.testing.assert_allclose(kept[:, :, -8:], 0.5, atol=0.02)
    np.testing.assert_allclose(necessity.felt(found, ones, least=0.25), 1.0, atol=1e-3)
