"""From walks and maps to the tables of metrics.json, image by image first, then with intervals."""

from collections.abc import Mapping

import numpy as np

from cxr_jax import metrics
from cxr_jax.explain.films import Thresholds
from cxr_jax.explain.traversal import StoppedWalk, Walk
from cxr_jax.metrics import Bootstrap

NO_TWIN = "no twin: nobody knows how this film would look with the other finding"
LEAST_MOVE = 0.05  # of the class gap; below it f has not moved and `transfer` means nothing
PROPORTIONS = ("flip_rate", "flip_rate_f", "reached")  # 0 or 1 a walk
SELDOM_FLIPPED = "more than half of the walks do not flip"
NO_MASK = "the data set has no mask for it"


def score_walk(
    stopped: StoppedWalk,
    thresholds: Thresholds,
    towards: int,
    *,
    reach: float,
    twin: np.ndarray | None,
) -> dict[str, np.ndarray]:
    """Per-image figures [N] of one walk of each film.

    Args:
      reach: the distance within which `flip_auc` counts flips.
      twin: the same patients without the finding [N, h, w, 1]; None where nobody knows.
    """
    walk = stopped.walk
    moved = (stopped.at_stop(walk.margin) - walk.margin[:, 0]) / thresholds.gap
    h_moved = (stopped.at_stop(walk.judge_margin) - walk.judge_margin[:, 0]) / thresholds.judge_gap
    flipped = stopped.flip >= 0
    last = np.where(flipped, stopped.flip, stopped.frame)
    flip_time = walk.distance[np.arange(len(last)), last]
    scores = {
        "flip_rate": flipped.astype(float),
        "flip_rate_f": (stopped.flip_f >= 0).astype(float),
        "flip_auc": flipped * np.clip(1 - flip_time / reach, 0, 1),
        "reached": stopped.reached.astype(float),
        "flip_time": flip_time,
        "transfer": h_moved / np.where(towards * moved > LEAST_MOVE, moved, np.nan),
        "length": stopped.at_stop(walk.distance),
        "monotonicity": np.array(
            [
                metrics.wrong_way(m[: k + 1], towards)
                for m, k in zip(walk.margin, stopped.frame, strict=True)
            ]
        ),
    }
    if twin is not None:
        scores["twin_error"] = np.array(
            [
                metrics.relative_error(x[0] + change, t, x[0])
                for x, change, t in zip(walk.carried, stopped.change, twin, strict=True)
            ]
        )
    return scores


def length_gain(walk: Walk, end: np.ndarray, straight: Walk) -> np.ndarray:
    """1 - (length of the drawn frames up to `end` [N]) / (length of the straight walk) [N].

    The straight walk is measured at as many frames, since a coarse polyline is a short one.
    """
    last = straight.drawn.shape[1] - 1
    picked = [np.linspace(0, last, frame + 1).round().astype(int) for frame in end]
    length = [_length(frames[: frame + 1]) for frames, frame in zip(walk.drawn, end, strict=True)]
    straight = [_length(frames[k]) for frames, k in zip(straight.drawn, picked, strict=True)]
    return 1 - np.array(length) / [long if long > 1e-6 else np.nan for long in straight]


def _length(frames: np.ndarray) -> float:
    """Length travelled through frames [k, h, w, 1]."""
    return float(np.sqrt(np.square(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))).sum())


def summarise_paths(
    scores: Mapping[str, np.ndarray], num_rejected: int, bootstrap: Bootstrap
) -> dict[str, dict]:
    """The entry of metrics.json for one path and direction.

    Args:
      scores: of `score_walk`, each [N].
      num_rejected: how many films did not pass the gate; in `flip_rate_all` they count as
        unflipped.
    """
    table = {}
    for name, values in scores.items():
        if name != "flip_time":
            table[name] = summarise_metric(name, values, bootstrap)
    flipped = scores["flip_rate"] > 0
    # Walks end early where f is soon satisfied; to censor them there would reward fooling f alone.
    far = np.where(flipped, scores["flip_time"], np.inf)
    table["flip_distance"] = metrics.summarise_median(far, bootstrap, SELDOM_FLIPPED)
    flips = np.concatenate([scores["flip_rate"], np.zeros(num_rejected)])
    table["flip_rate_all"] = metrics.summarise_proportion(flips)
    table.setdefault("twin_error", {"mean": None, "reason": NO_TWIN})
    return table


def count_rejected(num_explained: int, coverage: float) -> int:
    """How many films of one run and direction the gate rejected; 0 where it passed none."""
    return round(num_explained / coverage) - num_explained if coverage > 0 else 0


def summarise_metric(name: str, values: np.ndarray, bootstrap: Bootstrap) -> dict:
    """A metric of walks [N]; with an exact interval where a walk hits or does not."""
    if name in PROPORTIONS:
        return metrics.summarise_proportion(values)
    return metrics.summarise(values, bootstrap)


def harmless(truth: Mapping[str, np.ndarray]) -> np.ndarray:
    """Where look-alikes are [N, h, w, 1]; a pixel that shows a lesion over one is a lesion's."""
    return (truth["lookalike_mask"] > 0) & ~(truth["lesion_mask"] > 0)


def score_map(saliency: np.ndarray, truth: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Per-image figures [N] of maps [N, h, w, 1] against the masks that the data set knows."""
    lesion, lung = (truth[f"{name}_mask"] > 0 for name in ("lesion", "lung"))
    lookalike = harmless(truth)
    rows = range(len(saliency))
    return {
        "on_target": np.array([metrics.share_on(saliency[i], lesion[i]) for i in rows]),
        "pixel_auroc": np.array([metrics.pixel_auroc(saliency[i], lesion[i]) for i in rows]),
        "pixel_auroc_lung": np.array(
            [metrics.pixel_auroc(saliency[i], lesion[i], lung[i] | lesion[i]) for i in rows]
        ),
        "iou": np.array([metrics.iou_at_equal_area(saliency[i], lesion[i]) for i in rows]),
        "lookalike": np.array(
            [
                metrics.share_on(saliency[i], lookalike[i]) if lookalike[i].any() else np.nan
                for i in rows
            ]
        ),
    }


def summarise_maps(
    scores: Mapping[str, Mapping[str, np.ndarray]], bootstrap: Bootstrap
) -> dict[str, dict]:
    """The `maps` of metrics.json; for the others also the paired difference `latent` minus it."""
    table = {}
    for name, each in scores.items():
        table[name] = {metric: metrics.summarise(v, bootstrap) for metric, v in each.items()}
        if name != "latent":
            table[name] |= {
                f"latent_minus_this_{metric}": metrics.summarise(
                    scores["latent"][metric] - each[metric], bootstrap
                )
                for metric in ("on_target", "pixel_auroc", "pixel_auroc_lung", "lookalike")
            }
    return table


def undefined_maps(names: list[str], reason: str) -> dict[str, dict]:
    """The same table where nothing can be said, for a data set without masks, say."""
    undefined = {"mean": None, "reason": reason}
    return {
        name: dict.fromkeys(
            ("on_target", "pixel_auroc", "pixel_auroc_lung", "iou", "lookalike"), undefined
        )
        for name in names
    }
