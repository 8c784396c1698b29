"""Arrays to matplotlib figures; callers save them."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

matplotlib.use("Agg")


def save(figure: Figure, path: Path) -> None:
    """Writes a PNG; the caller's figure is not used again."""
    figure.savefig(path, dpi=110)


def _show(axes, image: np.ndarray, **kwargs) -> None:
    axes.imshow(np.squeeze(image), **({"cmap": "gray", "vmin": -1, "vmax": 1} | kwargs))
    axes.set_xticks([])
    axes.set_yticks([])


def image_grid(image: np.ndarray, titles: Sequence[str]) -> Figure:
    """A sheet of images [rows, columns, h, w] under column titles."""
    rows, columns = image.shape[:2]
    figure = Figure(figsize=(1.25 * columns, 1.25 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        for column in range(columns):
            _show(axes[row, column], image[row, column])
    for column, title in enumerate(titles):
        axes[0, column].set_title(title, fontsize=8)
    return figure
