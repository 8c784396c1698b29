"""The numbers of a phantom film, read off masks that were drawn by hand."""

import numpy as np
import pytest

from cxr_jax.data.film_parameters import LUNGS, NAMES, SOURCES, film_parameters, lung_geometry
from cxr_jax.datasets.cxr_phantom.patient import PARAMETER_NAMES
from cxr_jax.datasets.cxr_phantom.phantom import PhantomSpec, draw

SIZE = 20


def blank(count: int) -> dict[str, np.ndarray]:
    """Films on which nothing is to be seen."""
    masks = {
        name: np.zeros((count, SIZE, SIZE, 1), np.uint8)
        for name in ("lesion_mask", "lookalike_mask", "lung_mask")
    }
    parameters = np.zeros((count, len(PARAMETER_NAMES)), np.float32)
    return {**masks, "severity": np.zeros(count, np.float32), "parameters": parameters}


def named(arrays: dict[str, np.ndarray], film: int = 0) -> dict[str, float]:
    return dict(zip(NAMES, film_parameters(arrays)[film].tolist(), strict=True))


@pytest.fixture
def films() -> dict[str, np.ndarray]:
    """A blank film, and one with a right lung (on its left) of 4 x 10 and a left one of 5 x 8."""
    arrays = blank(2)
    arrays["lung_mask"][1, 2:12, 3:7] = 255
    arrays["lung_mask"][1, 3:11, 12:17] = 255
    arrays["lesion_mask"][1, 4:6, 4:6] = 255
    arrays["lookalike_mask"][1, 5, 13] = 255
    arrays["severity"][1] = 0.75
    arrays["parameters"][1] = np.arange(len(PARAMETER_NAMES))
    return arrays


def test_sizes_and_places_by_hand(films):
    assert set(films) == set(SOURCES)
    found = named(films, film=1)
    row = (40 * 7.0 + 40 * 7.0) / 80 / SIZE
    column = (40 * 5.0 + 40 * 14.5) / 80 / SIZE
    expected = {
        "severity": 0.75,
        "lesion_area": 4 / 400,
        "lookalike_area": 1 / 400,
        "lung_area": 80 / 400,
        "lung_row": row,
        "lung_column": column,
        "right_lung_width": 4 / SIZE,
        "right_lung_height": 10 / SIZE,
        "left_lung_width": 5 / SIZE,
        "left_lung_height": 8 / SIZE,
    }
    drawn = {name: float(i) for i, name in enumerate(PARAMETER_NAMES)}
    assert found == pytest.approx(expected | drawn)


def test_lungs_are_measured_alone_as_among_the_rest(films):
    geometry = lung_geometry(films["lung_mask"] > 0)
    assert geometry.shape == (2, len(LUNGS))
    for i in range(2):
        found = dict(zip(LUNGS, geometry[i].tolist(), strict=True))
        assert found == pytest.approx({name: named(films, i)[name] for name in LUNGS})
    moved = lung_geometry(np.roll(films["lung_mask"] > 0, 2, axis=1))[1] - geometry[1]
    np.testing.assert_allclose(
        moved, [2 / SIZE * (name == "lung_row") for name in LUNGS], atol=1e-9
    )


def test_a_film_with_nothing_has_its_lungs_nowhere(films):
    found = named(films, film=0)
    assert (found.pop("lung_row"), found.pop("lung_column")) == (0.5, 0.5)
    assert set(found.values()) == {0.0}


def test_lungs_are_told_apart_wherever_the_patient_stands(films):
    sizes = [name for name in NAMES if name.startswith(("left_lung", "right_lung"))]
    here = named(films, film=1)
    films["lung_mask"] = np.roll(films["lung_mask"], (3, -3), axis=(1, 2))
    there = named(films, film=1)
    assert [there[name] for name in sizes] == [here[name] for name in sizes]
    assert there["lung_row"] == pytest.approx(here["lung_row"] + 3 / SIZE)
    assert there["lung_column"] == pytest.approx(here["lung_column"] - 3 / SIZE)


def test_they_follow_what_a_patient_was_drawn_from():
    examples = [draw(0, index, PhantomSpec(32)) for index in range(60)]
    arrays = {name: np.stack([example[name] for example in examples]) for name in SOURCES}
    found = dict(zip(NAMES, film_parameters(arrays).T, strict=True))
    for measured, cause, least in [
        ("lung_row", "shift_y", 0.4),
        ("lung_column", "shift_x", 0.8),
        ("right_lung_width", "chest_width", 0.4),
        ("left_lung_height", "inspiration", 0.4),
        ("lesion_area", "severity", 0.8),
    ]:
        assert np.corrcoef(found[measured], found[cause])[0, 1] > least, (measured, cause)
    assert np.isfinite(list(found.values())).all()
