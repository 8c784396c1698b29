"""What the evaluators say of walks and of the latents.

`structure`: the segmenter's lungs hold still. `realism`: the frames stay among real films in the
regressor's features. Disentanglement: which latent governs f's answer, and which the lungs.
"""

from collections.abc import Callable, Sequence

import numpy as np

from cxr_jax import metrics
from cxr_jax.metrics import Bootstrap
from cxr_jax.types import Image

NUM_FRAMES = 5  # of a walk that are looked at, from its start to its stop


def frames_of(carried: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Evenly spaced frames of walks [N, k, h, w, 1], from the first to `last` [N].

    Returns:
      [N, NUM_FRAMES, h, w, 1].
    """
    frame = np.linspace(0, last, NUM_FRAMES).round().astype(int)  # [frames, N]
    return carried[np.arange(len(last)), frame].swapaxes(0, 1)


def _each(function: Callable[[Image], np.ndarray], frames: np.ndarray) -> np.ndarray:
    """Applies a function of images to [N, k, h, w, 1]."""
    seen = function(frames.reshape(-1, *frames.shape[2:]))
    return seen.reshape(*frames.shape[:2], *seen.shape[1:])


def structure(lungs: Callable[[Image], np.ndarray], frames: np.ndarray) -> np.ndarray:
    """Dice of the lungs in frame 0 with those in the frame where they differ most [N].

    NaN where frame 0 has none.
    """
    masks = _each(lungs, frames)
    least = [min(metrics.dice(mask[0], other) for other in mask[1:]) for mask in masks]
    return np.where(masks[:, 0].any(axis=(1, 2, 3)), least, np.nan)


def precision_recall(
    real: np.ndarray, drawn: np.ndarray, neighbours: int = 3
) -> tuple[float, float]:
    """How much of what is drawn is like films, and how many films are like what is drawn.

    By manifolds of nearest neighbours (Kynkaanniemi et al., 2019): an image lies within a set where
    it is as near to one of the set as that is to its own k-th nearest.

    Args:
      real, drawn: features [N, d], [M, d].

    Returns:
      Shares in [0, 1].
    """
    between = metrics.squared_distances(real, drawn)
    reach, reach_of_drawn = (
        np.partition(metrics.squared_distances(each, each), neighbours, axis=1)[:, neighbours]
        for each in (real, drawn)
    )
    precision = (between <= reach[:, None]).any(axis=0).mean()
    return float(precision), float((between <= reach_of_drawn).any(axis=1).mean())


def realism_draws(
    features: Callable[[Image], np.ndarray],
    frames: np.ndarray,
    real: Sequence[np.ndarray],
    *,
    bootstrap: Bootstrap,
) -> np.ndarray:
    """How much further from real films a walk's least real frames are than the films themselves.

    The squared kernel distance of each step's frames to the nearest of the sets `real`; its largest
    value minus its value at the start.

    Args:
      real: films that f calls positive, and films that it calls negative; none of those walked. One
        mixed set would find a half-removed finding more real than a whole one.

    Returns:
      That of all walks, then of resampled ones [1 + resamples]: the same for other paths of as many
      films, so that differences are paired.
    """
    rows, steps = frames.shape[:2]
    seen, references = _each(features, frames), [features(films) for films in real]
    scale = np.sqrt(np.mean([np.square(r).mean() for r in references]))  # the kernel wants order 1
    seen = np.float64(seen / scale)
    references = [np.float64(r / scale) for r in references]
    spread = [metrics.mean_of_pairs(metrics.polynomial_kernel(r, r)) for r in references]
    within = [metrics.polynomial_kernel(seen[:, k], seen[:, k]) for k in range(steps)]
    between = [
        [metrics.polynomial_kernel(seen[:, k], r).mean(axis=1) for r in references]
        for k in range(steps)
    ]

    def worst(count: np.ndarray) -> float:
        to_nearest = [
            metrics.mean_of_pairs(within[k], count)
            + min(s - 2 * count @ b / rows for s, b in zip(spread, between[k], strict=True))
            for k in range(steps)
        ]
        return max(to_nearest[1:]) - to_nearest[0]

    picks = bootstrap.rows(rows)
    counts = [np.ones(rows), *(np.bincount(pick, minlength=rows) for pick in picks)]
    return np.array([worst(count) for count in counts])


def realism(
    features: Callable[[Image], np.ndarray],
    frames: np.ndarray,
    real: Sequence[np.ndarray],
    *,
    bootstrap: Bootstrap,
) -> dict:
    """`realism_draws` as an entry of metrics.json; its interval resamples the walks."""
    rows = len(frames)
    if rows < 2 or min(len(films) for films in real) < 2:
        return {"mean": None, "reason": "needs two walks, and two other films of each decision"}
    value, *resampled = realism_draws(features, frames, real, bootstrap=bootstrap)
    return {
        "mean": float(value),
        "ci95": metrics.interval(np.array(resampled)),
        "images": rows,
    }
