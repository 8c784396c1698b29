"""The choice of a config on validation films: what is compared, and the figures by hand."""

import numpy as np
import pytest
from builders import make_guide, make_perfect_films, make_stopped, make_thresholds, make_walk
from ml_collections import ConfigDict

from cxr_jax.configs import phantom
from cxr_jax.explain.explained import Calibration, Group
from cxr_jax.explain.traversal import StoppedWalk
from cxr_jax.runtime.workdir import write_json
from experiments.studies import validation

SIDE, BRIGHT = 8, 0.5
THRESHOLDS = make_thresholds(gap=4.0, judge_gap=4.0, positive=2.0, negative=-2.0)
CALIBRATION = Calibration(thresholds=THRESHOLDS, guide=make_guide(), reach=1.0, path="linear")


def walk_to(
    start: np.ndarray, end: np.ndarray, first: float, *, last: np.ndarray, towards: int
) -> StoppedWalk:
    """Two frames of each film [N, h, w, 1]; f and h both say `first`, then `last` [N]."""
    frames = np.stack([start, end], axis=1)
    margin = np.stack([np.full(len(last), first), last], axis=1)
    walk = make_walk(frames, margin, judge_margin=margin)
    return make_stopped(walk, towards, THRESHOLDS)


def make_positives() -> Group:
    """Two films with a lesion of eight pixels and a look-alike of four; a film is 64 pixels."""
    lesion, lookalike, lung = (np.zeros((2, SIDE, SIDE, 1), np.uint8) for _ in range(3))
    lesion[:, :2, :4], lookalike[:, 4:6, 4:6], lung[:, :6] = 255, 255, 255
    twin = np.zeros(lesion.shape)
    film = twin + BRIGHT * (lesion > 0)
    end = film.copy()
    end[0] = twin[0]  # all of the lesion, nothing else
    end[1, :2, :3] = 0.0  # six of its eight pixels, and two of the look-alike
    end[1, 4, 4:6] = BRIGHT
    truth = dict(twin=twin, lesion_mask=lesion, lookalike_mask=lookalike, lung_mask=lung)
    walk = walk_to(film, end, 2.0, last=np.array([-2.0, 1.0]), towards=-1)
    films = make_perfect_films(film, np.full(2, 2.0))
    return Group(towards=-1, films=films, truth=truth, walks={"linear": walk})


def test_the_figures_by_hand():
    black = np.zeros((3, SIDE, SIDE, 1))
    back = walk_to(black, black + 0.1, -2.0, last=np.array([2.0, 2.0, -1.0]), towards=1)
    films = make_perfect_films(black, np.full(3, -2.0))
    negatives = Group(towards=1, films=films, truth={}, walks={"linear": back})
    found = validation.summarise(make_positives(), negatives, CALIBRATION)
    means = {name: entry["mean"] for name, entry in found.items()}
    assert means == pytest.approx(
        {
            "flip_rate": 0.5,
            "flip_rate_to_positive": 2 / 3,
            # Of eight pixels' squares two are left and two are new; done with the root.
            "twin_error": np.sqrt(4 / 8) / 2,
            "on_target": (1 + 6 / 8) / 2,
            # Of 8 x 40 pairs 6 x 38 are in order, and 6 x 2 + 2 x 38 are ties.
            "pixel_auroc_lung": (1 + (228 + 88 / 2) / 320) / 2,
            "lookalike": (0 + 2 / 8) / 2,
            "less_area": (0 + 2 / 8) / 2 - 4 / 64,
        }
    )


def test_a_run_is_explained_as_it_was_trained(tmp_path):
    config = phantom.get_config("full")
    config.gan.weights.transplant = 7.0
    write_json(tmp_path / "config.json", config.to_dict())
    found = validation.along(validation.read_config(tmp_path), images=20)
    assert tuple(found.explain.paths) == ("linear",) and found.explain.num_images == 20
    assert found.explain.inversion == config.explain.inversion
    assert found.gan.weights.transplant == 7.0


def test_of_rejected_films_nothing_is_told(monkeypatch):
    class Rejected:
        coverage = {"pos_to_neg": 0.5, "neg_to_pos": 0.0}

    for name in ("load_explainer", "calibrate"):
        monkeypatch.setattr(validation, name, lambda *args, **fields: None)
    monkeypatch.setattr(validation, "load_splits", lambda *args: ({"validation": None}, None))
    monkeypatch.setattr(validation, "explain_test", lambda *args, **fields: Rejected)
    found = validation.measure(phantom.get_config(), None)
    assert found.keys() == set(validation.COLUMNS)
    assert all(entry["mean"] is None and entry["reason"] for entry in found.values())


def test_a_row_says_what_its_config_has_otherwise():
    first = ConfigDict(dict(gan=dict(seed=0, weights=dict(a=1.0, b=2.0))))
    other = first.copy_and_resolve_references()
    other.gan.seed, other.gan.weights.b = 1, 3.0
    table = {
        name: {"config": config.to_dict(), "figures": {"on_target": {"mean": mean}}}
        for name, config, mean in (("one", first, 0.25), ("two", other, 0.5))
    }
    lines = validation.to_markdown(table).splitlines()
    assert lines[-2].startswith("| `one` |") and "0.250" in lines[-2]
    assert lines[-1].startswith("| `two: gan.weights.b 3.0` |") and "0.500" in lines[-1]
