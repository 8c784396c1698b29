"""A phantom piece by piece: the whole is the film, and each piece is where it is said to be."""

import numpy as np
import pytest

from cxr_jax.datasets.cxr_phantom.components import draw_components, find_regions
from cxr_jax.datasets.cxr_phantom.phantom import OTHER, PhantomSpec, draw, find_patient

SPEC = PhantomSpec(size=64, marker_if_positive=0.5, marker_if_negative=0.5)
PATIENTS = range(30)


def everything(components) -> np.ndarray:
    return np.ones(len(components.names), bool)


@pytest.fixture(scope="module", params=["", *OTHER])
def population(request) -> list[tuple]:
    spec = PhantomSpec(64, 0.5, 0.5, request.param)
    films = [draw(5, index, spec) for index in PATIENTS]
    return [(film, draw_components(film["patient_id"], spec)) for film in films]


def test_all_of_them_make_the_film_and_none_the_film_without(population):
    for film, components in population:
        on = everything(components)
        np.testing.assert_array_equal(components.render(on), film["image"])
        own = on.copy()
        if components.scene.own.any():
            own[: len(components.parts)] = components.scene.elsewhere[list(components.parts)]
        np.testing.assert_array_equal(components.render(own), film["twin"])
        if "marker" in components.names:
            on[-1] = False
            np.testing.assert_array_equal(components.render(on), film["without_marker"])


def test_regions_do_not_overlap_and_lie_where_the_masks_are(population):
    kinds = {"lesion": 0, "marker": 0, "harmless": 0}
    for film, components in population:
        regions, visibility = find_regions(components)
        assert regions.sum(axis=0).max(initial=0) <= 1
        assert ((visibility > 0) == regions.any(axis=(1, 2, 3))).all()
        masks = {
            "lesion": film["lesion_mask"] | film["lookalike_mask"],
            "marker": film["marker_mask"],
            "harmless": film["lookalike_mask"],
        }
        for number, (name, region) in enumerate(zip(components.names, regions, strict=True)):
            kind = name if name in masks else "harmless"
            if visibility[number] > 0.15 * region.sum() > 3:
                kinds[kind] += 1
                assert (masks[kind][region] > 0).mean() > 0.4, name
    assert min(kinds.values()) >= 3, "each kind was looked at"


def test_patients_are_found_by_their_names():
    film = draw(7, 12_345, SPEC)
    assert find_patient(film["patient_id"]) == (7, 12_345)


@pytest.mark.parametrize("half", OTHER)
def test_the_label_is_about_one_half(half):
    spec = PhantomSpec(64, finding_half=half)
    films = [draw(2, index, spec) for index in range(60)]
    sides = {"left": np.s_[:, :32], "right": np.s_[:, 32:]}
    sides |= {"upper": np.s_[:32], "lower": np.s_[32:]}
    beside = 0
    for film in films:
        lesion = film["lesion_mask"] > 0
        assert lesion.any() == film["label"]
        # Puffs reach a little beyond the middle.
        assert lesion[sides[OTHER[half]]].sum() <= 0.25 * lesion.sum()
        changed = film["image"] != film["twin"]
        assert changed.any() == film["label"]
        beside += (draw_components(film["patient_id"], spec).scene.elsewhere).any()
    assert 10 < beside < 50, "the other half has lesions in some films of either class"
    of_negatives = [
        draw_components(film["patient_id"], spec).scene.elsewhere.any()
        for film in films
        if not film["label"]
    ]
    assert any(of_negatives) and not all(of_negatives)
