"""The walks of some films by every path, scored film by film."""

import numpy as np

from cxr_jax.evaluate import scores
from cxr_jax.explain.explained import Group
from cxr_jax.explain.explainer import Explainer
from cxr_jax.explain.films import Thresholds
from cxr_jax.explain.paths import PATHS


def path_scores(
    group: Group, thresholds: Thresholds, reach: float
) -> dict[str, dict[str, np.ndarray]]:
    """Of every path, by metric, the scores of its walks [N]; see `scores.score_walk`.

    Args:
      reach: see `Calibration`.
    """
    twin = group.truth.get("twin") if group.towards < 0 else None
    table = {}
    for name, stopped in group.walks.items():
        table[name] = scores.score_walk(stopped, thresholds, group.towards, reach=reach, twin=twin)
        if PATHS[name].straight in group.walks:
            table[name]["length_gain"] = length_gain(group, name)
    return table


def felt_shares(explainer: Explainer, group: Group, name: str) -> np.ndarray:
    """Of a path's walks [N], which share of their change f feels: `necessity`."""
    return explainer.felt_share(group.films.image, group.walks[name].change)


def length_gain(group: Group, name: str) -> np.ndarray:
    """Of a path's walks over the straight ones between the same ends [N]."""
    walk, straight = group.walks[name], group.walks[PATHS[name].straight]
    last = np.full_like(walk.frame, walk.walk.margin.shape[1] - 1)
    end = walk.frame if PATHS[name].stops_at_end else last
    return scores.length_gain(walk.walk, end, straight.walk)
