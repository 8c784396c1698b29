"""The per-film scores as they are kept, and the films that are listed as rejected."""

import numpy as np

from cxr_jax.report import figures


def test_every_score_is_kept_under_its_name(tmp_path):
    scores = {
        "pos_to_neg": {"linear": {"flip_rate": np.array([[1.0], [0.0]])}},
        "neg_to_pos": {
            "linear": {"flip_rate": np.ones((3, 8)), "structure": np.array([0.9, np.nan, 1.0])},
            "linear_best": {"flip_rate": np.ones(3)},
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
            "neg_to_pos/linear_best/flip_rate",
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
