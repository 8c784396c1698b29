"""The healthy subspace: nothing is changed of a healthy film, and a bright square is taken away."""

import numpy as np
import pytest

from cxr_jax.explain.healthy_subspace import COMPONENTS, GAIN, fit_subspace

SIDE, RANK = 12, 4


@pytest.fixture(scope="module")
def healthy() -> np.ndarray:
    """Films of RANK degrees of freedom."""
    rng = np.random.default_rng(0)
    pictures = rng.normal(size=(RANK, SIDE, SIDE, 1))
    return np.float32(0.1 * np.einsum("nk,khwc->nhwc", rng.normal(size=(50, RANK)), pictures))


def test_a_healthy_film_stays_as_it_is(healthy):
    subspace = fit_subspace(healthy)
    assert len(subspace.components) <= COMPONENTS
    assert np.abs(subspace.change(healthy[:3])).max() < 0.01


def test_what_is_too_bright_is_taken_away_and_what_is_too_dark_is_not(healthy):
    change = np.zeros((2, SIDE, SIDE, 1), np.float32)
    change[0, 2:5, 3:6], change[1, 2:5, 3:6] = 0.6, -0.6
    found = fit_subspace(healthy).change(healthy[:2] + change)
    np.testing.assert_allclose(found[0], -GAIN * change[0], atol=0.08)
    # A fit that a dark square has bent leaves something, but nothing in the square itself.
    assert np.abs(found[1, 2:5, 3:6]).max() < 0.05
