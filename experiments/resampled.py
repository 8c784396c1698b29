"""Figures of many films at once, with the bootstrap's interval over films."""

from collections.abc import Callable

import numpy as np

from cxr_jax import metrics
from experiments.reading import BOOTSTRAP

Figure = Callable[[np.ndarray], float]  # of numbers of rows


def over_rows(figure: Figure, count: int) -> dict:
    """A figure of `count` rows; NaN where it is undefined of those that are drawn."""
    each = np.array([figure(pick) for pick in BOOTSTRAP.rows(count)])
    return {"mean": figure(np.arange(count)), "ci95": metrics.interval(each), "images": count}


def over_films(figure: Figure, label: np.ndarray) -> dict:
    """A figure of films of both classes; a draw of one class alone counts as undefined."""
    both = lambda pick: figure(pick) if np.ptp(label[pick]) else float("nan")
    return over_rows(both, len(label))
