"""What is decided before the test films are looked at, and the test films with their walks."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from cxr_jax.explain.films import Films, Thresholds
from cxr_jax.explain.paths import Guide
from cxr_jax.explain.traversal import StoppedWalk


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Films of one decision of f, with their truths and their walks by path.

    Attributes:
      towards: the direction of the walks, see `paths.DIRECTIONS`.
      walks: one of each film.
    """

    towards: int
    films: Films
    truth: Mapping[str, np.ndarray]
    walks: Mapping[str, StoppedWalk]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """What validation and training films decide before a test film is looked at.

    Attributes:
      thresholds: of the gate and of the walks.
      guide: of the walks.
      reach: median distance between the ends of linear walks from positive to negative, as drawn;
        `flip_auc` looks that far.
      path: the path that map `latent` is read from.
    """

    thresholds: Thresholds
    guide: Guide
    reach: float
    path: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explained:
    """The test films, explained.

    Attributes:
      rows: of the test split.
      reasons: why each is not explainable; "" where it is.
      looked_at: the share of each that the gate looked at: the lungs that it found, 1 for all.
      groups: explainable films and their walks, by direction.
      coverage: which part of each direction's films passed the gate.
      rmse, lung_rmse: of each film's reconstruction, covered or not; over the whole film, and where
        the gate looked.
      margin: f on every film of the split, explained or not.
    """

    rows: np.ndarray
    reasons: list[str]
    looked_at: np.ndarray
    groups: Mapping[str, Group]
    coverage: Mapping[str, float]
    rmse: np.ndarray
    lung_rmse: np.ndarray
    margin: np.ndarray
