"""The healthy subspace: what a film would be if it were like those that f calls negative.

A rival of every latent walk that never asks f about the film: principal components of the films
that f calls negative, fitted to a film so that what is too bright for them counts little (in the
spirit of robust PCA, Candes et al., 2011); what is left over is called the finding.
"""

import dataclasses

import numpy as np

from cxr_jax.types import Image

COMPONENTS = 60
GAIN = 1.3  # the residual of a fit is smaller than the finding, which has bent the fit
ROUNDS = 15  # of the weighted fit
RIDGE = 1e-3
SCALE = 3.0  # of the weights, in the film's median residual: what is brighter by more hardly counts


@dataclasses.dataclass(frozen=True, kw_only=True)
class HealthySubspace:
    """Mean [p] and principal components [c, p] of healthy films of p pixels."""

    mean: np.ndarray
    components: np.ndarray

    def change(self, image: Image) -> np.ndarray:
        """What is to be added to films [N, h, w, 1] to make them healthy; nowhere positive."""
        fitted = np.stack([self._fit(film.ravel()) for film in np.asarray(image)])
        return GAIN * np.minimum(fitted.reshape(image.shape) - image, 0.0).astype(np.float32)

    def _fit(self, pixels: np.ndarray) -> np.ndarray:
        """The nearest film [p] of the subspace, pixels that are too bright for it apart."""
        target, weight = pixels - self.mean, np.ones_like(pixels)
        for _ in range(ROUNDS):
            weighted = self.components * weight
            matrix = weighted @ self.components.T + RIDGE * np.eye(len(self.components))
            fit = np.linalg.solve(matrix, weighted @ target) @ self.components
            left = target - fit
            scale = SCALE * np.median(np.abs(left)) + 1e-6
            weight = np.where(left > 0, 1 / (1 + np.square(left / scale)), 1.0)
        return fit + self.mean


def fit_subspace(healthy: Image) -> HealthySubspace:
    """Of healthy films [N, h, w, 1]; of fewer films than COMPONENTS it has fewer dimensions."""
    pixels = np.asarray(healthy).reshape(len(healthy), -1)
    mean = pixels.mean(axis=0)
    _, _, directions = np.linalg.svd(pixels - mean, full_matrices=False)
    return HealthySubspace(mean=mean, components=directions[:COMPONENTS])
