"""Lungs taken apart by scale: their shading, and the detail that is finer than it."""

import numpy as np
from scipy import ndimage

# Standard deviations of the Gaussian that parts the two, as shares of an image's side. Of a film
# that is 35 cm wide the first is half a centimetre.
SCALES = {"1/64": 1 / 64, "1/32": 1 / 32, "1/16": 1 / 16}


def shading(image: np.ndarray, lungs: np.ndarray, scale: float) -> np.ndarray:
    """The weighted mean of the lungs' own pixels around each of them [N, h, w, 1]; 0 elsewhere.

    Args:
      image: [N, h, w, 1].
      lungs: masks of the same shape, or of True to take whole images apart.
      scale: see `SCALES`.
    """
    width = scale * image.shape[1]
    spread = lambda values: ndimage.gaussian_filter(values, (0, width, width, 0))
    weight = spread(lungs.astype(np.float32))
    total = spread(np.where(lungs, image, 0).astype(np.float32))
    return np.divide(total, weight, out=np.zeros_like(total), where=lungs)


def lung_mean(image: np.ndarray, lungs: np.ndarray) -> np.ndarray:
    """Mean of the lungs [N, 1, 1, 1]; NaN where there are none."""
    area = lungs.sum(axis=(1, 2, 3), keepdims=True)
    total = np.where(lungs, image, 0).sum(axis=(1, 2, 3), keepdims=True)
    return np.divide(total, area, out=np.full(area.shape, np.nan), where=area > 0)


def amount(image: np.ndarray, lungs: np.ndarray, scale: float) -> np.ndarray:
    """How much detail finer than `scale` lungs have: its root mean square [N]; NaN without any."""
    return root_mean_square(image - shading(image, lungs, scale), lungs)


def root_mean_square(part: np.ndarray, lungs: np.ndarray) -> np.ndarray:
    """Of a part of images [N, h, w, 1] in the lungs -> [N]; NaN where there are none."""
    return np.sqrt(lung_mean(np.square(part), lungs))[:, 0, 0, 0]
