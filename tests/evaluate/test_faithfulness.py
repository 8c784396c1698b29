"""Faithfulness: perfect for a map that is what f values, by hand, and by re-rendering a phantom."""

import numpy as np
import pytest
from scipy import stats

from cxr_jax.datasets.cxr_phantom.phantom import PhantomSpec
from cxr_jax.evaluate import faithfulness
from cxr_jax.evaluate.faithfulness import Valued
from cxr_jax.metrics import Bootstrap

BOOTSTRAP = Bootstrap(resamples=200, seed=0)
SIDE = 8


def make_film(value, visibility=None) -> Valued:
    """A film whose components are rows of pixels."""
    regions = np.zeros((len(value), SIDE, SIDE, 1), bool)
    for number in range(len(value)):
        regions[number, number] = True
    seen = np.ones(len(value)) if visibility is None else np.asarray(visibility, float)
    return Valued(
        names=("lesion",) * len(value),
        regions=regions,
        visibility=seen,
        value=np.asarray(value, float),
        hidden=0,
    )


def spread(mass) -> np.ndarray:
    """A map with these masses on the components."""
    saliency = np.zeros((SIDE, SIDE, 1))
    saliency[: len(mass)] = np.asarray(mass, float)[:, None, None] / SIDE
    return saliency


def test_of_one_film_by_hand():
    film = make_film([4.0, 1.0, 0.1, -2.0])
    scores = faithfulness.score(spread([3.0, 5.0, 1.0, 1.0]), film)
    assert scores["rank"] == pytest.approx(stats.spearmanr([3, 5, 1, 1], film.value).statistic)
    assert scores["top"] == 0
    # 0.1 is less than 5% of 5.1, and so is -2.
    assert scores["unvalued"] == pytest.approx(0.2)
    assert faithfulness.score(spread(film.value.clip(0)), film)["top"] == 1


def test_a_film_with_one_component_says_nothing():
    film = make_film([3.0])
    scores = faithfulness.score(spread([1.0]), film)
    assert all(np.isnan(value) for value in scores.values())
    assert not faithfulness.products(spread([1.0]), film).any()
    empty = faithfulness.score(spread([0.0, 0.0]), make_film([1.0, 2.0]))
    assert np.isnan(empty["top"])


def test_a_map_that_lies_on_no_component_does_not_find_the_first():
    film, elsewhere = make_film([2.0, 1.0]), np.zeros((SIDE, SIDE, 1))
    elsewhere[-1] = 1.0
    assert faithfulness.score(elsewhere, film)["top"] == 0


def test_films_with_too_few_components_do_not_count():
    seen = [1.0, 3.0, 0.5]
    films = [
        make_film([4.0, 1.0, 0.5], seen),
        make_film([3.0], [1.0]),
        make_film([1, 2, 0.2], seen),
    ]
    maps = np.stack([spread([3.0, 2.0, 1.0])] * 3)
    each = faithfulness.score_maps({"some": maps}, films)
    table = faithfulness.summarise(each, Bootstrap(resamples=9, seed=0))
    assert table["some"]["partial"]["images"] == 2


def summarise(maps, films, ours=""):
    each = faithfulness.score_maps(maps, films)
    return faithfulness.summarise(each, BOOTSTRAP, ours=ours)


def draw_films(count=40, components=5):
    rng = np.random.default_rng(0)
    value = rng.lognormal(size=(count, components))
    seen = rng.lognormal(size=(count, components))
    return [make_film(*pair) for pair in zip(value, seen, strict=True)]


def test_what_f_values_is_perfect_and_what_is_seen_is_nothing():
    films = draw_films()
    maps = {
        "latent": np.stack([spread(film.value) for film in films]),
        "seen": np.stack([spread(film.visibility) for film in films]),
        "noise": np.stack([spread(np.random.default_rng(i).random(5)) for i in range(len(films))]),
    }
    table = summarise(maps, films, ours="latent")
    assert table["latent"]["partial"]["mean"] == pytest.approx(1, abs=1e-9)
    assert abs(table["noise"]["partial"]["mean"]) < 0.3
    # A map that is what is seen has nothing left once that is known.
    assert table["seen"]["partial"]["mean"] is None
    low, high = table["noise"]["minus"]["ci95"]
    assert 0.6 < low < table["noise"]["minus"]["mean"] < high < 1.4
    assert "minus" not in table["latent"]


def test_the_partial_correlation_is_that_of_the_residuals():
    films = draw_films()
    rng = np.random.default_rng(1)
    maps = [spread(film.value * film.visibility * rng.lognormal(size=5)) for film in films]
    mass, value, seen = (
        np.concatenate([faithfulness.log_shares(column) for column in columns])
        for columns in (
            [faithfulness.masses(*pair) for pair in zip(maps, films, strict=True)],
            [film.value for film in films],
            [film.visibility for film in films],
        )
    )
    left = [column - seen * (seen @ column) / (seen @ seen) for column in (mass, value)]
    found = summarise({"latent": np.stack(maps)}, films)["latent"]["partial"]
    assert found["mean"] == pytest.approx(np.corrcoef(*left)[0, 1])
    assert found["ci95"][0] < found["mean"] < found["ci95"][1]


def test_values_are_what_f_answers_without_each_component():
    spec = PhantomSpec(64)
    names = {f"3-{index:08d}" for index in range(6)}
    for name in names:
        # f is the mean brightness: additive but for the film's own curve.
        film = faithfulness.value_film(name, spec, lambda image: image.mean(axis=(1, 2, 3)))
        assert len(film.names) == len(film.value) == len(film.regions) == len(film.visibility)
        assert (film.value > 0).all(), "each of them makes the film brighter"
        if len(film.names) > 1:
            assert stats.spearmanr(film.value, film.visibility).statistic > 0.7
