"""What is decided before the test films are looked at, and the test films with their walks."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from cxr_jax.films import Films, Thresholds
from cxr_jax.paths import Guide
from cxr_jax.walk import Walk


class Group(NamedTuple):
    """Explainable films of one decision of f, with their truths and their walks by path."""

    films: Films
    truth: Mapping[str, np.ndarray]
    walks: Mapping[str, list[Walk]]  # several only for `linear` from a negative


class Calibration(NamedTuple):
    """What validation and training films decide before a test film is looked at.

    Attributes:
      thresholds: of the gate and of the walks.
      guide: of the walks.
      reach: median length of linear walks from positive to negative; `flip_auc` looks that far.
      path: the path that map `latent` is read from.
    """

    thresholds: Thresholds
    guide: Guide
    reach: float
    path: str


class Explained(NamedTuple):
    """The test films, explained.

    Attributes:
      rows: of the test split.
      reasons: why each is not explainable; "" where it is.
      groups: explainable films and their walks, by direction.
      shares: which part of each direction's films passed the gate.
      rmse: of each film's reconstruction, covered or not.
      margin: f on every film of the split, explained or not.
    """

    rows: np.ndarray
    reasons: list[str]
    groups: dict[str, Group]
    shares: dict[str, float]
    rmse: np.ndarray
    margin: np.ndarray
