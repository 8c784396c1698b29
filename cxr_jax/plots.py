"""Arrays to matplotlib figures; callers save them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

matplotlib.use("Agg")

PUBLISHED = {
    "grad_cam": "Grad-CAM",
    "smoothgrad": "SmoothGrad",
    "integrated_gradients": "Integrated Gradients",
    "geodesic_pixel": "geodesic (pixels)",
    "geodesic": "geodesic (robust features)",
}


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


def _show_change(axes, change: np.ndarray, limit: float) -> None:
    """A signed difference: red is brighter, blue is darker."""
    _show(axes, change, cmap="RdBu_r", vmin=-limit, vmax=limit)


def probability(margin: float) -> float:
    """Of COVID-19, from the logit margin."""
    return 1 / (1 + np.exp(-margin))


def traversal(walk, end: np.ndarray, rows: int, columns: int) -> Figure:
    """Strips: each row a film walked to its stop, margin and probability under each frame.

    The first column is the film itself, the last the change that the walk made to it.
    """
    figure = Figure(figsize=(1.35 * (columns + 1), 1.62 * rows), layout="constrained")
    axes = figure.subplots(rows, columns + 1, squeeze=False)
    for row in range(rows):
        frames = np.round(np.linspace(0, end[row], columns)).astype(int)
        for column, frame in enumerate(frames):
            _show(axes[row, column], walk.carried[row, frame])
            margin = walk.margin[row, frame]
            text = f"{margin:+.1f}   p = {probability(margin):.2f}"
            colour = "firebrick" if margin > 0 else "darkgreen"
            axes[row, column].set_xlabel(text, fontsize=7.5, color=colour)
        change = walk.carried[row, end[row]] - walk.carried[row, 0]
        _show_change(axes[row, columns], change, limit=max(0.25, np.abs(change).max()))
        axes[row, columns].set_xlabel("last − first", fontsize=7.5)
    return figure


def responses(walks, thresholds, towards: int) -> Figure:
    """The margin of f and of the judge h against distance walked, one panel a path."""
    columns = min(len(walks), 4)
    rows = -(-len(walks) // columns)
    figure = Figure(figsize=(3.8 * columns, 3.1 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    target = thresholds.target(towards)
    for panel, (name, walk) in zip(axes.flat, walks.items(), strict=False):
        for margin, colour, label in (
            (walk.margin, "tab:blue", "f, explained"),
            (walk.judged, "tab:orange", "h, judge"),
        ):
            panel.plot(walk.distance.T, margin.T, color=colour, alpha=0.18, linewidth=0.8)
            panel.plot(
                np.median(walk.distance, axis=0),
                np.median(margin, axis=0),
                color=colour,
                linewidth=2.2,
                label=f"{label} (median)",
            )
        panel.axhline(0, color="black", linewidth=0.7)
        panel.axhline(target, color="gray", linestyle="--", linewidth=0.9, label="walks stop here")
        panel.set_title(title(name))
    for panel in axes.flat[len(walks) :]:
        panel.set_axis_off()
    figure.supxlabel("distance from the film (RMS of pixels)", fontsize=10)
    figure.supylabel("logit margin of COVID-19", fontsize=10)
    axes.flat[len(walks) - 1].legend(fontsize=7.5)
    return figure


def title(name: str) -> str:
    """A path's or a map's name as people write it."""
    return PUBLISHED.get(name, name.replace("_", " "))


def changes(
    films, walk, ended, lesion_mask: np.ndarray | None, others: Mapping[str, np.ndarray], rows: int
) -> Figure:
    """Film, reconstruction, counterfactual and change; the truth; and what other methods show."""
    titles = ["film", "reconstruction", "counterfactual", "change"]
    titles += ["true lesions"] * (lesion_mask is not None) + [title(name) for name in others]
    figure = Figure(figsize=(1.5 * len(titles), 1.5 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, len(titles), squeeze=False)
    for row in range(rows):
        panels = iter(axes[row])
        _show(next(panels), films.image[row])
        _show(next(panels), films.drawn[row])
        _show(next(panels), walk.carried[row, ended.frame[row]])
        change = ended.change[row]
        _show_change(next(panels), change, limit=max(0.25, np.abs(change).max()))
        if lesion_mask is not None:
            _show(next(panels), lesion_mask[row], vmin=0, vmax=255)
        for saliency in others.values():
            _show(next(panels), saliency[row], cmap="magma", vmin=0, vmax=None)
    for panel, text in zip(axes[0], titles, strict=True):
        panel.set_title(text, fontsize=9)
    return figure
