"""The healthy subspace: what a film would be if it were like those that f calls negative.

A rival of every latent walk that never asks f about the film: principal components of the films
that f calls negative, fitted to a film so that what is too bright for them counts little (in the
spirit of robust PCA, Candes et al., 2011); what is left over is called the finding.

A single pixel's residual is mostly noise, which no principal component holds. So both the weights
of the fit and the finding go by the residual blurred, and what is no larger than it mostly is
anywhere on the film counts as none.
"""

import dataclasses

import numpy as np
from scipy import ndimage
from scipy.sparse import linalg

from cxr_jax.types import Image

COMPONENTS = 60
BLUR = 1 / 32  # of the residual, in the image's side
SCALE = 2.0  # of the weights, in the film's usual residual: what is brighter by more hardly counts
FLOOR = 1.5  # usual residuals that are no finding
GAIN = 1.3  # the residual of a fit is smaller than the finding, which has bent the fit
ROUNDS = 10  # of the weighted fit
RIDGE = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class HealthySubspace:
    """Mean [h, w, 1] and principal components [c, h, w, 1] of healthy films."""

    mean: np.ndarray
    components: np.ndarray

    def change(self, image: Image) -> np.ndarray:
        """What is to be added to films [N, h, w, 1] to make them healthy; nowhere positive."""
        return np.stack([-GAIN * self._finding(film) for film in np.asarray(image)])

    def _finding(self, film: np.ndarray) -> np.ndarray:
        """By how much a film [h, w, 1] is too bright, where it is."""
        basis, target = self.components.reshape(len(self.components), -1), film - self.mean
        weight = np.ones_like(film)
        for _ in range(ROUNDS):
            weighted = basis * weight.ravel()
            matrix = weighted @ basis.T + RIDGE * np.eye(len(basis), dtype=basis.dtype)
            fit = np.linalg.solve(matrix, weighted @ target.ravel()) @ basis
            left = _blur(target - fit.reshape(film.shape))
            usual = np.median(np.abs(left)) + 1e-6
            weight = np.where(left > 0, 1 / (1 + np.square(left / (SCALE * usual))), 1.0)
        return np.maximum(left - FLOOR * usual, 0.0).astype(np.float32)


def fit_subspace(healthy: Image) -> HealthySubspace:
    """Of healthy films [N, h, w, 1], N > 1; of few of them it has fewer dimensions."""
    mean = healthy.mean(axis=0)
    pixels = (healthy - mean).reshape(len(healthy), -1)
    count = min(COMPONENTS, *(side - 1 for side in pixels.shape))
    start = np.ones(min(pixels.shape), pixels.dtype)
    _, _, directions = linalg.svds(pixels, k=count, v0=start)
    return HealthySubspace(mean=mean, components=directions.reshape(-1, *mean.shape))


def _blur(residual: np.ndarray) -> np.ndarray:
    """A residual [h, w, 1], blurred."""
    width = BLUR * len(residual)
    return ndimage.gaussian_filter(residual, (width, width, 0))
