"""Findings of every kind: exact with and without, where they belong, faint to strong, no leak."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from cxr_jax.configs import findings as configs
from cxr_jax.datasets.cxr_phantom import cxr_phantom_dataset_builder as builder_module
from cxr_jax.datasets.cxr_phantom.canvas import make_canvas, one_thread
from cxr_jax.datasets.cxr_phantom.components import draw_components, find_regions
from cxr_jax.datasets.cxr_phantom.findings import FINDINGS, draw_other
from cxr_jax.datasets.cxr_phantom.lungs import HEART_Y, dome, inner_border, outer_border
from cxr_jax.datasets.cxr_phantom.patient import body_to_film, film_to_body
from cxr_jax.datasets.cxr_phantom.phantom import IMAGE_NAMES, PhantomSpec, draw, draw_scene, stream

NEW = tuple(kind for kind in FINDINGS if kind != "opacity")
SEED = 4
PATIENTS = range(10)


def flat(picture: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 1] as float [h, w], so that differences do not wrap around."""
    return picture[..., 0].astype(float)


def spec_of(kind: str, **changes) -> PhantomSpec:
    return dataclasses.replace(PhantomSpec(size=64, finding=kind), **changes)


@pytest.fixture(scope="module", params=NEW)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def crowded(kind) -> list[dict]:
    """Films that all show another finding as well."""
    with one_thread():
        return [draw(SEED, index, spec_of(kind, distractors=1.0)) for index in PATIENTS]


def test_the_twin_is_the_patient_without_the_finding_and_with_all_else(kind, crowded):
    for index, film in zip(PATIENTS, crowded, strict=True):
        healthy = draw(SEED, index, spec_of(kind, distractors=1.0), label=0)
        for name in ("image", "without_marker"):
            np.testing.assert_array_equal(film["twin"], healthy[name])
        for name in ("lung_mask", "marker_mask", "patient_id"):
            np.testing.assert_array_equal(film[name], healthy[name])
        assert film["lesion_mask"].any() == bool(film["label"])
        assert not healthy["lesion_mask"].any() and healthy["severity"] == 0
        assert film["lookalike_mask"].any() and healthy["lookalike_mask"].any()


def test_the_mask_holds_what_changes(kind):
    """Most of the change lies in it; what lies without is fainter than what lies within."""
    for index in PATIENTS:
        film = draw(SEED, index, spec_of(kind), label=1, severity=0.7)
        change = np.abs(flat(film["image"]) - flat(film["twin"]))
        mask = film["lesion_mask"][..., 0] > 0
        assert 0 < mask.mean() < 0.35
        assert change[mask].mean() > 5 * change[~mask].mean()
        assert change[mask].sum() > 0.6 * change.sum()


def test_change_rises_with_severity_from_almost_nothing(kind):
    for index in range(4):
        change = [
            np.abs(flat(film["image"]) - flat(film["twin"])).mean()
            for film in (
                draw(SEED, index, spec_of(kind), label=1, severity=severity)
                for severity in (0.05, 0.25, 0.5, 0.75, 1.0)
            )
        ]
        assert (np.diff(change) > 0).all(), change
        assert change[0] < 0.35 * change[-1]


def test_severities_leave_no_gap(kind):
    severities = np.array(
        [draw_scene(SEED, index, spec_of(kind, size=32)).severity for index in range(100)]
    )
    assert ((severities > 0) & (severities <= 1)).all()
    assert np.diff(np.sort([0, *severities, 1])).max() < 0.12


@pytest.mark.parametrize("size", [32, 128])
def test_one_patient_is_the_same_at_every_size(kind, size):
    small, large = sorted((size, 64))
    factor = large // small
    for index in range(3):
        few, many = (
            draw(SEED, index, spec_of(kind, size=s), label=1, severity=0.8) for s in (small, large)
        )
        blocks = flat(many["image"]).reshape(small, factor, small, factor).mean((1, 3))
        assert np.corrcoef(blocks.ravel(), flat(few["image"]).ravel())[0, 1] > 0.98


def test_all_parts_make_the_film_and_none_but_the_others_the_twin(kind, crowded):
    spec = spec_of(kind, distractors=1.0)
    for film in crowded:
        components = draw_components(film["patient_id"], spec)
        on = np.ones(len(components.names), bool)
        np.testing.assert_array_equal(components.render(on), film["image"])
        is_own = np.array(components.names) == "lesion"
        np.testing.assert_array_equal(components.render(on & ~is_own), film["twin"])
        assert is_own.any() == film["label"]
        assert any(name.startswith("other ") for name in components.names)
        assert f"other {kind}" not in components.names


def test_regions_of_parts_are_where_the_masks_are(kind, crowded):
    spec, looked_at = spec_of(kind, distractors=1.0), 0
    for film in crowded[:6]:
        components = draw_components(film["patient_id"], spec)
        regions, visibility = find_regions(components)
        assert regions.sum(axis=0).max(initial=0) <= 1
        change = np.abs(film["image"].astype(float) - film["twin"])
        for name, region, seen in zip(components.names, regions, visibility, strict=True):
            if name == "lesion" and seen > 5:
                looked_at += 1
                on_mask = change[region & (film["lesion_mask"] > 0)].sum()
                assert on_mask > 0.6 * change[region].sum()
    assert looked_at


def test_rendering_again_is_exact_whatever_was_rendered_before():
    """Chests that were recorded once are kept: never under another one's name."""
    spec = spec_of("cardiomegaly", distractors=1.0)
    scenes = ((index, draw_scene(SEED, index, spec, label=1)) for index in range(100))
    index, scene = next((i, scene) for i, scene in scenes if "pneumothorax" in scene.findings)
    for on in np.eye(2, dtype=bool):
        fresh = draw_scene(SEED, index, spec, label=1)
        np.testing.assert_array_equal(scene.body(on).recorded, fresh.body(on).recorded)
    assert (scene.body(on).recorded != scene.body(~on).recorded).any()


def test_distractors_are_as_frequent_in_both_classes_and_of_every_other_kind():
    counts = {0: 0, 1: 0}
    kinds = set()
    for index in range(400):
        scene = draw_scene(SEED, index, spec_of("nodule", size=32, distractors=0.3))
        kinds |= scene.findings.keys() - {"nodule"}
        counts[scene.label] += bool(scene.other.any())
    spread = np.sqrt(0.21 / 200)
    assert abs(counts[0] / 200 - 0.3) < 3 * spread and abs(counts[1] / 200 - 0.3) < 3 * spread
    assert kinds == set(FINDINGS) - {"nodule"}


def test_a_distractor_is_the_finding_that_its_label_would_be_about():
    """The same patient's effusion, whether the label is about it or not."""
    for index in range(40):
        scene = draw_scene(SEED, index, spec_of("nodule", size=32, distractors=1.0))
        if "effusion" in scene.findings:
            severity = draw_other_severity(index)
            own = draw_scene(SEED, index, spec_of("effusion", size=32), severity=severity)
            one, other = scene.findings["effusion"], own.findings["effusion"]
            np.testing.assert_array_equal(one.side, other.side)
            np.testing.assert_allclose(one.height, other.height)
            return
    pytest.fail("none of 40 patients had one")


def draw_other_severity(index: int) -> float:
    return draw_other(stream(SEED, index, "distractor"), "nodule", 1.0)["effusion"]


# Each kind as a radiologist knows it. Body coordinates tell where things are.


def places(film_spec: PhantomSpec, index: int):
    """The patient, and body coordinates of the pixels."""
    scene = draw_scene(SEED, index, film_spec, label=1, severity=0.8)
    return scene, *film_to_body(scene.patient, make_canvas(film_spec.size))


def test_an_effusion_hides_the_diaphragm():
    """Silhouette sign: across the dome the twin has an edge, the film has none."""
    spec = spec_of("effusion", size=128)
    for index in range(5):
        scene, _, _ = places(spec, index)
        p, side = scene.patient, scene.findings["effusion"].side[0]
        film = draw(SEED, index, spec, label=1, severity=0.8, lookalikes=False)
        x = np.linspace(0.42, 0.58, 9)
        level = dome(p, x, float(side > 0))
        above, below = (
            sample(film, body_to_film(p, np.stack([side * x, level + d], axis=-1)))
            for d in (-0.07, 0.05)
        )
        edge = {name: np.mean(below[name] - above[name]) for name in ("image", "twin")}
        assert abs(edge["image"]) < 0.3 * edge["twin"]


def test_fluid_hides_vessels_and_all_else_of_the_lung():
    for index in range(3):
        scene, _, _ = places(spec_of("effusion"), index)
        ill, healthy = scene.body(scene.own).chest.lungs, scene.chest.lungs
        left = 1 - scene.findings["effusion"].fluid(scene.chest, 0)
        in_fluid = (left < 0.1) & (healthy.markings > 0.5)
        assert in_fluid.any()
        for name in ("air", "edge", "interior", "markings"):
            faded, clear = getattr(ill, name)[in_fluid], getattr(healthy, name)[in_fluid]
            assert (faded <= 0.1 * clear + 1e-6).all(), name


def sample(film: dict, points: np.ndarray) -> dict[str, np.ndarray]:
    """Grey levels at film points [n, 2], by picture."""
    size = film["image"].shape[0]
    column, row = np.clip(((points + 1) * size / 2).astype(int), 0, size - 1).T
    return {name: flat(film[name])[row, column] for name in IMAGE_NAMES}


def test_fluid_stands_higher_at_the_wall_than_in_the_middle_of_the_lung():
    for index in range(5):
        scene, x, y = places(spec_of("effusion", size=128), index)
        p, effusion = scene.patient, scene.findings["effusion"]
        fluid, side = effusion.fluid(scene.chest, 0) > 0.5, effusion.side[0]
        lateral = outer_border(p, y) - side * x
        at_wall, inside = (
            y[fluid & (lateral > near) & (lateral < near + 0.03)].min() for near in (0.01, 0.2)
        )
        assert at_wall < inside - 0.05


def test_a_pneumothorax_is_dark_without_vessels_beyond_a_line():
    spec = spec_of("pneumothorax", size=128)
    for index in range(5):
        scene, x, y = places(spec, index)
        film = draw(SEED, index, spec, label=1, severity=0.8, lookalikes=False)
        lost = scene.body(scene.own).chest.lungs
        outside = (scene.chest.lungs.markings > 0.9) & (lost.markings == 0)
        rim = ndimage.binary_dilation(outside, iterations=2) & (lost.markings > 0.02)
        rim &= (np.abs(x) > 0.3) & (y < 0.1)
        change = flat(film["image"]) - flat(film["twin"])
        assert outside.mean() > 0.02
        assert change[outside].mean() < -4
        assert change[rim].mean() > change[outside].mean() + 6  # pleura, from its edge


def test_an_enlarged_heart_is_wider_by_what_its_severity_says():
    wider = []
    for severity in (0.2, 0.6, 1.0):
        scene = draw_scene(SEED, 1, spec_of("cardiomegaly"), label=1, severity=severity)
        p = scene.body(scene.own).chest.patient
        sides = [float(inner_border(p, np.array(HEART_Y), left)) for left in (0.0, 1.0)]
        chest = 2 * float(outer_border(p, np.array(HEART_Y)))
        healthy = [float(inner_border(scene.patient, np.array(HEART_Y), s)) for s in (0.0, 1.0)]
        assert sides[0] > healthy[0] and sides[1] > healthy[1]
        wider.append(sum(sides) / chest)
    assert np.diff(wider).min() > 0.03
    assert wider[-1] > 0.5  # cardiothoracic ratio, above which a heart is called enlarged


def test_the_enlarged_heart_is_the_parameter_of_the_film():
    ill, healthy = (
        draw(SEED, 2, spec_of("cardiomegaly"), label=label, severity=1.0)["parameters"]
        for label in (1, 0)
    )
    changed = np.flatnonzero(ill != healthy)
    assert len(changed) == 1 and ill[changed] > healthy[changed] + 0.08


def test_a_reticular_pattern_is_fine():
    """It varies from pixel to pixel, where an opacity of the same patient does not."""
    rough = {}
    for kind in ("reticular", "opacity"):
        film = draw(SEED, 3, spec_of(kind, size=128), label=1, severity=0.8)
        change = flat(film["image"]) - flat(film["twin"])
        fine = change - ndimage.gaussian_filter(change, 2.0)
        rough[kind] = fine.std() / change.std()
    assert rough["reticular"] > 0.6 > 2 * rough["opacity"]


def test_nodules_are_small_and_round_and_some_are_hidden():
    spec, hidden, number = spec_of("nodule"), 0, 0
    for index in range(50):
        film = draw(SEED, index, spec, label=1, severity=0.8)
        mask = film["lesion_mask"][..., 0] > 0
        labels, parts = ndimage.label(mask)
        for box, part in zip(ndimage.find_objects(labels), range(1, parts + 1), strict=True):
            height, width = (side.stop - side.start for side in box)
            number += 1
            assert max(height, width) < 14 and (labels == part).sum() > 0.55 * height * width
            hidden += not (film["lung_mask"][..., 0] > 0)[labels == part].any()
    assert 0.05 < hidden / number < 0.4


# The data set.


def test_names_of_prepared_data_stay_and_tell_the_new_fields_apart():
    name = builder_module.make_config().name
    assert name == "64px_seed0_4000_500_500_marker_0.0_0.0_0.0_0.0"
    fields = [{}, {"distractors": 0.3}, *({"finding": kind} for kind in NEW)]
    fields.append({"finding": "nodule", "distractors": 0.3})
    names = {builder_module.make_config(**each).name for each in fields}
    assert len(names) == len(fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"finding": "fracture"}, "fracture"),
        ({"finding": "nodule", "finding_half": "left"}, "finding_half"),
        ({"distractors": 1.5}, "1.5"),
    ],
)
def test_what_cannot_be_drawn_is_named(fields, said):
    with pytest.raises(ValueError, match=said):
        builder_module.make_config(**fields)


def test_every_finding_has_a_variant():
    assert set(configs.FINDINGS) == set(FINDINGS)
    for kind in FINDINGS:
        data = configs.get_config("" if kind == configs.FINDINGS[0] else kind).data
        assert data.finding == kind and data.distractors == configs.DISTRACTORS
