"""The healthy subspace: nothing is changed of a healthy film, and a bright square is taken away."""

import numpy as np
import pytest

from cxr_jax.explain.healthy_subspace import COMPONENTS, GAIN, fit_subspace

SIDE, RANK = 32, 4


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
    change[0, 6:13, 8:15], change[1, 6:13, 8:15] = 0.6, -0.6
    found = fit_subspace(healthy).change(healthy[:2] + change)
    assert found[0, 9, 11, 0] == pytest.approx(-GAIN * 0.6, abs=0.1)
    # A fit that a dark square has bent leaves something, but nothing in the square itself.
    assert np.abs(found[1, 6:13, 8:15]).max() < 0.05


def test_noise_is_no_finding(healthy):
    """Of which no component knows anything."""
    noise = np.random.default_rng(1).normal(scale=0.1, size=healthy[:8].shape)
    found = fit_subspace(healthy).change(healthy[:8] + np.float32(noise))
    assert np.abs(found).mean() < 0.2 * np.abs(noise).mean()


def test_the_components_are_those_of_the_covariance(healthy):
    """Against NumPy's decomposition, up to a rotation: they span the same films."""
    found = fit_subspace(healthy).components[-RANK:].reshape(RANK, -1)
    pixels = healthy.reshape(len(healthy), -1)
    wanted = np.linalg.svd(pixels - pixels.mean(axis=0), full_matrices=False)[2][:RANK]
    np.testing.assert_allclose(found.T @ found, wanted.T @ wanted, atol=1e-4)
