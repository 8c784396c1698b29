"""What is true of a phantom film, in numbers: the targets of the feature network.

Sizes and places of lungs and findings are measured on the masks; bones, heart and exposure, which
no mask shows, are the numbers that the patient was drawn from. A network that can tell all of
these has features in which an unreal chest stands out.
"""

from collections.abc import Mapping

import numpy as np

from cxr_jax.datasets.cxr_phantom.patient import PARAMETER_NAMES

SOURCES = ("severity", "lesion_mask", "lookalike_mask", "lung_mask", "parameters")
LUNGS = (
    "lung_area",
    "lung_row",
    "lung_column",
    "right_lung_width",
    "right_lung_height",
    "left_lung_width",
    "left_lung_height",
)
NAMES = ("severity", "lesion_area", "lookalike_area", *LUNGS, *PARAMETER_NAMES)


def film_parameters(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The numbers `NAMES` of every film, float32 [N, p].

    Areas are shares of the film; rows, columns, widths and heights are shares of its side, counted
    from the upper left corner. The patient's right lung is on the film's left.

    Args:
      arrays: `SOURCES`, with one row a film; masks [N, h, w, 1] are 0 where there is nothing.
    """
    measured = [
        arrays["severity"],
        _area(arrays["lesion_mask"]),
        _area(arrays["lookalike_mask"]),
        lung_geometry(arrays["lung_mask"] > 0),
    ]
    return np.column_stack([*measured, arrays["parameters"]]).astype(np.float32)


def lung_geometry(lungs: np.ndarray) -> np.ndarray:
    """The numbers `LUNGS` of masks [N, h, w, 1] bool, [N, 7]."""
    area, lungs = _area(lungs), lungs[..., 0]
    row, column = _centroid(lungs)
    is_left = (np.arange(lungs.shape[2]) + 0.5) / lungs.shape[2] > column[:, None]
    right, left = lungs & ~is_left[:, None, :], lungs & is_left[:, None, :]
    return np.column_stack([area, row, column, *_extent(right), *_extent(left)])


def _area(mask: np.ndarray) -> np.ndarray:
    return (mask > 0).mean(axis=(1, 2, 3))


def _centroid(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean row and column of each mask [N, h, w] as shares; the film's centre for an empty one."""
    _, h, w = mask.shape
    pixels = mask.sum(axis=(1, 2))
    row = mask.sum(axis=2) @ ((np.arange(h) + 0.5) / h)
    column = mask.sum(axis=1) @ ((np.arange(w) + 0.5) / w)
    found = np.maximum(pixels, 1)
    return np.where(pixels, row / found, 0.5), np.where(pixels, column / found, 0.5)


def _extent(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Width and height of each mask [N, h, w]: the shares of columns and of rows that it meets."""
    return mask.any(axis=1).mean(axis=1), mask.any(axis=2).mean(axis=1)
