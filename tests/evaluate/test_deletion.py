"""Deletion and insertion on pictures of ten pixels, with a classifier that adds some of them up."""

import numpy as np
import pytest

from cxr_jax.evaluate import deletion
from cxr_jax.metrics import Bootstrap

WEIGHT = np.array([4.0, 2.0, 1.0, 1.0, 0, 0, 0, 0, 0, 0]).reshape(1, 1, 10, 1)


def ask(image: np.ndarray) -> np.ndarray:
    return (WEIGHT * image).sum(axis=(1, 2, 3))


def score(image: np.ndarray, other: np.ndarray, saliency: np.ndarray) -> dict[str, np.ndarray]:
    maps = {"map": deletion.rank_pixels(saliency)}
    return deletion.score(ask, image, other, maps=maps, least_move=0.1)["map"]


@pytest.fixture(autouse=True)
def shares(monkeypatch):
    monkeypatch.setattr(deletion, "SHARES", (0.1, 0.2))


FILM, OTHER = np.ones((1, 1, 10, 1)), np.zeros((1, 1, 10, 1))


def test_the_pixels_that_carry_the_answer():
    found = score(FILM, OTHER, WEIGHT)
    # Of 8, what is left without 4, and without 6; and what these are alone.
    assert found["deletion"] == pytest.approx([(4 / 8 + 2 / 8) / 2])
    assert found["insertion"] == pytest.approx([(4 / 8 + 6 / 8) / 2])


def test_pixels_that_carry_nothing():
    found = score(FILM, OTHER, WEIGHT[:, :, ::-1])
    assert found["deletion"] == pytest.approx([1.0])
    assert found["insertion"] == pytest.approx([0.0])


def test_a_counterfactual_that_moves_nothing_says_nothing():
    still = FILM.copy()
    still[..., 9, :] = 0  # a pixel without weight
    films, others = np.concatenate([FILM, FILM]), np.concatenate([OTHER, still])
    found = score(films, others, np.concatenate([WEIGHT] * 2))
    assert np.isfinite(found["deletion"]).tolist() == [True, False]
    assert np.isnan(found["insertion"][1])


def test_the_first_pixels_are_as_many_as_asked_and_none_is_before_a_larger_one():
    saliency = np.random.default_rng(0).random((3, 8, 8, 1))
    places = deletion.rank_pixels(saliency)
    for share in (1 / 64, 0.25, 0.5):
        picked = deletion.first_pixels(places, share)
        assert (picked.sum(axis=(1, 2, 3)) == round(share * 64)).all()
        for one, map_ in zip(picked, saliency, strict=True):
            assert map_[one].min() > map_[~one].max()


def test_equal_pixels_are_not_taken_from_the_top():
    flat = np.zeros((2, 20, 20, 1))
    picked = deletion.first_pixels(deletion.rank_pixels(flat), 0.5)
    assert 0.3 < picked[0, :10].mean() < 0.7
    np.testing.assert_array_equal(picked[0], picked[1])


def test_every_map_is_judged_by_every_classifier():
    maps = {"good": -WEIGHT, "bad": WEIGHT[:, :, ::-1]}  # the size counts, not the sign
    asked = {"f": (ask, 8.0), "h": (lambda image: 2 * ask(image), 1000.0)}
    each = deletion.score_maps(asked, FILM, OTHER, maps=maps)
    assert each["good"].keys() == {"deletion_f", "insertion_f", "deletion_h", "insertion_h"}
    assert each["good"]["deletion_f"] < each["bad"]["deletion_f"]
    assert np.isnan(each["good"]["deletion_h"])  # 16 logits are little beside its gap
    table = deletion.summarise(each, Bootstrap(resamples=10, seed=0))
    assert table["counterfactual"] == "linear"
    assert table["maps"]["good"]["insertion_f"]["mean"] == pytest.approx(5 / 8)
    assert table["maps"]["good"]["insertion_h"]["mean"] is None
