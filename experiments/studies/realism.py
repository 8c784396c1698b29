"""Part of study fidelity: `realism` of several runs together, and of one path less another.

A squared kernel distance is of all films and has no value of one, so what is paired are resamples:
the same walks are drawn for every path.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import ml_collections
import numpy as np

from cxr_jax import metrics
from cxr_jax.data.arrays import Arrays, to_unit_range
from cxr_jax.evaluate.realism import frames_of, realism_draws
from cxr_jax.explain.explainer import bind_evaluators
from cxr_jax.explain.films import Thresholds
from cxr_jax.explain.paths import DIRECTIONS
from cxr_jax.explain.traversal import first_reached
from cxr_jax.metrics import Bootstrap
from cxr_jax.networks import restore
from cxr_jax.pipeline.select import other_films
from cxr_jax.runtime import precision
from experiments import reading

Draws = Mapping[str, Mapping[str, np.ndarray]]  # by direction and path, see `realism_draws`


def load_features(config: ml_collections.ConfigDict, workdir: Path) -> Callable | None:
    """Images to the regressor's features; None where it was not trained."""
    if restore.missing_reason(workdir, "regressor"):
        return None
    regressor = restore.load_regressor(precision.in_float32(config), workdir)
    return bind_evaluators(None, regressor, config.explain.batch_size)["features"]


def load_frames(workdir: Path, direction: str) -> dict[str, np.ndarray]:
    """By path the frames of a finished run's walks that are looked at [N, k, h, w, 1]."""
    thresholds = Thresholds(**reading.read_report(workdir)["thresholds"])
    towards, frames = DIRECTIONS[direction], {}
    with np.load(workdir / "explain" / "walks.npz") as arrays:
        for path in reading.walked_paths(arrays, direction):
            margin = arrays[f"{direction}/{path}/margin"]
            last, _ = first_reached(margin, thresholds.target(towards), towards)
            frames[path] = frames_of(to_unit_range(arrays[f"{direction}/{path}/carried"]), last)
    return frames


@precision.exactly
def draw(
    config: ml_collections.ConfigDict, workdir: Path, test: Arrays, *, bootstrap: Bootstrap
) -> Draws:
    """`realism_draws` of a finished run's walks; without directions that have no `realism`.

    Frames were stored as uint8: the value differs from that in metrics.json by less than 1%.
    """
    features = load_features(config, workdir)
    if features is None:
        return {}
    margin = reading.load_classifier(config, workdir / "classifier")(test["image"])
    with np.load(workdir / "explain" / "walks.npz") as arrays:
        real = other_films(test, margin, arrays["rows"])
    coverage = reading.read_report(workdir)["coverage_by_direction"]
    drawn = {}
    for direction in DIRECTIONS:
        frames = load_frames(workdir, direction)
        walks = min(len(each) for each in frames.values())
        if coverage[direction] > 0 and min(walks, *map(len, real)) > 1:
            drawn[direction] = {
                path: realism_draws(features, each, real, bootstrap=bootstrap)
                for path, each in frames.items()
            }
    return drawn


def join(runs_draws: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """By path the draws of all runs [runs, 1 + resamples], where every run has them."""
    paths = set.intersection(*map(set, runs_draws)) if runs_draws else set()
    return {path: np.stack([draws[path] for draws in runs_draws]) for path in sorted(paths)}


def summarise(draws: np.ndarray) -> dict:
    """An entry: the mean over runs, with the interval of its resamples, and each run's own."""
    value, *resampled = draws.mean(axis=0)
    return {
        "mean": float(value),
        "ci95": metrics.interval(np.array(resampled)),
        "each_seed": draws[:, 0].tolist(),
    }
