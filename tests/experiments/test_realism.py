"""How real the walks of several runs stay, on run folders that are made up."""

import dataclasses
import json

import numpy as np
import pytest
from builders import make_thresholds

from cxr_jax.configs.phantom import get_config
from cxr_jax.data.arrays import to_unit_range
from cxr_jax.evaluate import realism as evaluate
from cxr_jax.metrics import Bootstrap
from experiments import reading
from experiments.studies import realism

FILMS, FRAMES, SIDE, TEST = 6, 5, 8, 40
BOOTSTRAP = Bootstrap(resamples=60, seed=0)
THRESHOLDS = make_thresholds(positive=2.0, negative=-2.0)


def flat(image) -> np.ndarray:
    """Features: the first eight pixels."""
    return image.reshape(len(image), -1)[:, :8]


def brighten(rng, step: float) -> np.ndarray:
    """Walks [N, k, h, w, 1] uint8 along which films get brighter."""
    start = rng.integers(60, 120, size=(FILMS, 1, SIDE, SIDE, 1))
    return np.uint8(start + step * np.arange(FRAMES)[None, :, None, None, None])


@pytest.fixture
def workdir(tmp_path):
    """A finished run with two paths from a positive and one from a negative."""
    directory, rng = tmp_path / "explain", np.random.default_rng(0)
    directory.mkdir()
    falling = np.tile(np.linspace(4.0, -4.0, FRAMES), (FILMS, 1))  # it stops at frame 3
    arrays = {"rows": np.arange(FILMS)}
    for name, step, margin in (
        ("pos_to_neg/linear", 0.0, falling),
        ("pos_to_neg/ray", 30.0, falling),
        ("neg_to_pos/linear", 30.0, -falling),
    ):
        arrays[f"{name}/carried"] = brighten(rng, step)
        arrays[f"{name}/margin"] = margin
    np.savez(directory / "walks.npz", **arrays)
    covered = {"pos_to_neg": 1.0, "neg_to_pos": 0.5}
    report = {"thresholds": dataclasses.asdict(THRESHOLDS), "coverage_by_direction": covered}
    (directory / "metrics.json").write_text(json.dumps(report))
    return tmp_path


@pytest.fixture
def test_split():
    rng = np.random.default_rng(1)
    image = rng.integers(60, 120, size=(TEST, SIDE, SIDE, 1)).astype(np.uint8)
    return {"image": image, "label": np.arange(TEST) % 2}


@pytest.fixture
def networks(monkeypatch, test_split):
    """f says what the labels say; there is a feature network."""
    margin = test_split["label"] - 0.5
    monkeypatch.setattr(realism, "load_features", lambda *_: flat)
    monkeypatch.setattr(reading, "load_classifier", lambda *_: lambda pixels: margin)


def test_frames_go_from_the_film_to_where_the_walk_stops(workdir):
    found = realism.load_frames(workdir, "pos_to_neg")
    assert found.keys() == {"linear", "ray"}
    with np.load(workdir / "explain" / "walks.npz") as arrays:
        walked = to_unit_range(arrays["pos_to_neg/ray/carried"])
    assert found["ray"].shape == (FILMS, evaluate.NUM_FRAMES, SIDE, SIDE, 1)
    np.testing.assert_array_equal(found["ray"][:, 0], walked[:, 0])
    np.testing.assert_array_equal(found["ray"][:, -1], walked[:, 3])
    # Towards positive the other median is the target.
    found = realism.load_frames(workdir, "neg_to_pos")
    with np.load(workdir / "explain" / "walks.npz") as arrays:
        walked = to_unit_range(arrays["neg_to_pos/linear/carried"])
    assert found.keys() == {"linear"}
    np.testing.assert_array_equal(found["linear"][:, -1], walked[:, 3])


def test_it_is_that_of_the_frames_and_of_the_films_not_walked(workdir, test_split, networks):
    drawn = realism.draw(get_config(), workdir, test_split, bootstrap=BOOTSTRAP)
    assert {name: set(each) for name, each in drawn.items()} == {
        "pos_to_neg": {"linear", "ray"},
        "neg_to_pos": {"linear"},
    }
    others = np.arange(FILMS, TEST)
    image = to_unit_range(test_split["image"])
    real = image[others[others % 2 == 1]], image[others[others % 2 == 0]]
    frames = realism.load_frames(workdir, "pos_to_neg")["ray"]
    expected = evaluate.realism(flat, frames, real, bootstrap=BOOTSTRAP)
    found = realism.summarise(drawn["pos_to_neg"]["ray"][None])
    assert found["mean"] == pytest.approx(expected["mean"], rel=1e-4)
    assert found["ci95"] == pytest.approx(expected["ci95"], rel=1e-4)
    assert np.all(drawn["pos_to_neg"]["linear"] == 0.0)  # it stands still
    assert found["ci95"][0] > 0


def test_a_direction_without_a_covered_film_has_none(workdir, test_split, networks):
    path = workdir / "explain" / "metrics.json"
    report = json.loads(path.read_text())
    report["coverage_by_direction"]["neg_to_pos"] = 0.0  # what was walked had been rejected
    path.write_text(json.dumps(report))
    drawn = realism.draw(get_config(), workdir, test_split, bootstrap=BOOTSTRAP)
    assert drawn.keys() == {"pos_to_neg"}


def test_films_that_are_all_walked_leave_none_to_compare_with(workdir, test_split, networks):
    path = workdir / "explain" / "walks.npz"
    with np.load(path) as arrays:
        arrays = {**arrays, "rows": np.arange(TEST)}
    np.savez(path, **arrays)
    assert realism.draw(get_config(), workdir, test_split, bootstrap=BOOTSTRAP) == {}


def test_a_run_without_a_feature_network_has_none(workdir, test_split):
    assert realism.draw(get_config(), workdir, test_split, bootstrap=BOOTSTRAP) == {}


def test_runs_are_averaged_resample_by_resample():
    one = {"linear": np.array([1.0, 0.0, 2.0]), "ray": np.zeros(3)}
    other = {"linear": np.array([3.0, 4.0, 2.0])}
    joined = realism.join([one, other])
    assert joined.keys() == {"linear"}  # which both have
    entry = realism.summarise(joined["linear"])
    assert entry == {"mean": 2.0, "ci95": [2.0, 2.0], "each_seed": [1.0, 3.0]}
    assert realism.join([]) == {}
