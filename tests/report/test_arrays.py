"""Scores, walks and maps as they are kept film by film, and the films listed as rejected."""

import numpy as np
import pytest
from builders import fade, make_perfect_films, make_walk, stop_at

from cxr_jax.explain.explained import Group
from cxr_jax.report.arrays import (
    list_rejected,
    names_of,
    save_maps,
    save_scores,
    save_walks,
    to_pixels,
    walk_arrays,
)


def test_every_score_is_kept_under_its_name(tmp_path):
    scores = {
        "pos_to_neg": {"linear": {"flip_rate": np.array([1.0, 0.0])}},
        "neg_to_pos": {
            "linear": {"flip_rate": np.ones(3), "structure": np.array([0.9, np.nan, 1.0])},
        },
        "maps": {"latent": {"on_target": np.array([0.5])}},
    }
    path = tmp_path / "scores.npz"
    save_scores(path, scores)
    with np.load(path) as arrays:
        assert set(arrays) == {
            "pos_to_neg/linear/flip_rate",
            "neg_to_pos/linear/flip_rate",
            "neg_to_pos/linear/structure",
            "maps/latent/on_target",
        }
        for key in arrays:
            group, name, metric = key.split("/")
            np.testing.assert_array_equal(arrays[key], scores[group][name][metric])


def test_a_data_set_without_masks_keeps_its_walks_scores(tmp_path):
    save_scores(tmp_path / "scores.npz", {"pos_to_neg": {}, "maps": {}})
    with np.load(tmp_path / "scores.npz") as arrays:
        assert list(arrays) == []


def test_rejected_films_are_listed_by_file_name_or_patient():
    patients = np.array([b"p0", b"p1", b"p2", b"p3"])
    files = np.array([b"a.png", b"b.png", b"c.png", b"d.png"])
    rows, reasons = np.array([1, 3, 0]), ["", "too dark", "f differs"]
    found = list_rejected({"patient_id": patients}, rows, reasons)
    assert found == [{"id": "p3", "reason": "too dark"}, {"id": "p0", "reason": "f differs"}]
    both = {"patient_id": patients, "filename": files}
    assert [film["id"] for film in list_rejected(both, rows, reasons)] == ["d.png", "a.png"]


def test_films_are_called_by_their_file_or_their_patient():
    patients, files = np.array([b"p0", b"p1"]), np.array([b"a.png", "b\u00e4.png".encode()])
    assert names_of({"patient_id": patients}) == ["p0", "p1"]
    assert names_of({"patient_id": patients, "filename": files}) == ["a.png", "b\u00e4.png"]


def test_pixels_are_rounded():
    np.testing.assert_array_equal(
        to_pixels(np.array([-1.0, 1.0, 0.0, -1 + 0.6 / 127.5, -1 + 0.4 / 127.5])),
        [0, 255, 128, 1, 0],
    )


def test_maps_are_kept_by_their_size(tmp_path):
    signed = np.array([-0.5, 0.25]).reshape(2, 1, 1, 1)
    save_maps(tmp_path / "maps.npz", {"latent": signed}, np.array([7, 3]))
    with np.load(tmp_path / "maps.npz") as arrays:
        assert set(arrays) == {"row", "latent"} and arrays["latent"].dtype == np.float16
        np.testing.assert_array_equal(arrays["row"], [7, 3])
        np.testing.assert_array_equal(arrays["latent"], np.abs(signed))


@pytest.fixture
def group() -> Group:
    """Two films that grow brighter by two paths."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 128, (2, 4, 4, 1)) / 127.5 - 1
    films = make_perfect_films(image, [1.0, 2.0], z_structure=rng.normal(size=(2, 3)))
    points = rng.normal(size=(2, 3, 2))
    walk = make_walk(fade(image, image + 0.5, 2), [1.0, 0.0, -1.0], points=points)
    other = make_walk(fade(image, image + 1, 2), [1.0, 2.0, 3.0], points=points[:, :, :0])
    return Group(
        towards=-1,
        films=films,
        truth={
            "row": np.array([5, 1]),
            "patient_id": np.array([b"p5", b"p1"]),
            "lesion_mask": np.uint8(image > -0.5),
            "severity": np.ones(2),
        },
        walks={
            "linear": stop_at(walk, [1, 2]),
            "pixel": stop_at(other, [2, 0]),
        },
    )


def test_walks_are_kept_by_direction_and_path(group, tmp_path):
    made = walk_arrays(
        {"pos_to_neg": group},
        rows=np.array([1, 2, 5]),
        covered=np.array([True, False, True]),
        reach=0.5,
    )
    save_walks(tmp_path / "walks.npz", made)
    with np.load(tmp_path / "walks.npz") as arrays:
        kept = {name.removeprefix("pos_to_neg/"): array for name, array in arrays.items()}
    walked = ("z_class", "margin", "judge_margin", "frame", "carried")
    assert kept.keys() == {
        *("rows", "covered", "reach", "row", "name", "image", "z_structure", "lesion_mask"),
        *(f"{path}/{name}" for path in ("linear", "pixel") for name in walked),
    }
    assert kept["reach"] == 0.5
    np.testing.assert_array_equal(kept["rows"], [1, 2, 5])
    np.testing.assert_array_equal(kept["covered"], [True, False, True])
    np.testing.assert_array_equal(kept["row"], [5, 1])
    assert kept["name"].tolist() == ["p5", "p1"]
    np.testing.assert_array_equal(kept["image"], group.films.image)
    np.testing.assert_array_equal(kept["z_structure"], group.films.z_structure)
    np.testing.assert_array_equal(kept["lesion_mask"], group.truth["lesion_mask"])
    points = group.walks["linear"].walk.points
    np.testing.assert_array_equal(kept["linear/z_class"], points)
    np.testing.assert_array_equal(kept["linear/margin"], [[1, 0, -1]] * 2)
    np.testing.assert_array_equal(kept["linear/judge_margin"], [[0.5, 0, -0.5]] * 2)
    np.testing.assert_array_equal(kept["linear/frame"], [1, 2])
    assert kept["pixel/z_class"].shape == (2, 3, 0)
    carried = kept["linear/carried"]
    assert carried.dtype == np.uint8
    np.testing.assert_array_equal(carried[:, 0], np.round((group.films.image + 1) * 127.5))
    np.testing.assert_allclose(carried[:, 2] / 127.5 - 1, group.films.image + 0.5, atol=1 / 127.5)
