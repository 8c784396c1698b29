"""The comparison of inversions: what it says of films whose truth is known."""

import numpy as np
import pytest
from builders import make_perfect_films

from cxr_jax.explain.films import Films
from experiments.studies import inversion


def make_films(share: np.ndarray, margin: np.ndarray) -> tuple[Films, np.ndarray]:
    """Black films with one grey pixel, of which the change takes away a share; and their twins."""
    twin = np.zeros((len(share), 4, 4, 1), np.uint8)
    image = np.full(twin.shape, -1, np.float32)
    image[:, 0, 0] = -0.5
    drawn = image + 0.1  # an error of reconstruction that the change does not carry
    origin = drawn - share.reshape(-1, 1, 1, 1) * (image + 1)
    films = make_perfect_films(
        image, margin, drawn=drawn, origin=origin, drawn_margin=margin - 0.25
    )
    return films, twin


def test_the_error_of_the_carried_change_by_hand():
    films, twin = make_films(np.array([1.0, 0.0, 0.25, 1.0]), np.array([1.0, 2.0, 3.0, -1.0]))
    found = inversion.twin_error(films, twin)  # the negative is left out
    np.testing.assert_allclose(found, [0.0, 1.0, 0.75], atol=1e-5)
    assert inversion.twin_error(films, None).size == 0


def test_films_are_compared_with_their_own_inversion_from_scratch():
    films, twin = make_films(np.full(4, 0.5), np.array([1.0, 1.0, -1.0, -1.0]))
    scratch = films.replace(drawn=films.image + np.array([0.0, 0.1, 0.2, 0.1]).reshape(4, 1, 1, 1))
    table = inversion.measure(films, scratch, twin)
    assert table["rmse"]["mean"] == pytest.approx(0.1)
    assert table["rmse_less_scratch"]["mean"] == pytest.approx((0.1 + 0 - 0.1 + 0) / 4, abs=1e-6)
    assert table["margin_error"]["mean"] == pytest.approx(0.25)
    assert table["twin_error"]["mean"] == pytest.approx(0.5)
    assert inversion.measure(films, scratch)["twin_error"]["mean"] is None


def test_the_fastest_call_counts_and_the_first_does_not(monkeypatch):
    clock = iter([0.0, 5.0, 10.0, 12.0])
    monkeypatch.setattr(inversion.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(inversion, "TIMED", 2)
    calls = []
    assert inversion.timed(lambda: calls.append(1) or "films") == ("films", 2.0)
    assert len(calls) == 3
