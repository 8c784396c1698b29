"""Arrays to matplotlib figures; callers save them."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

matplotlib.use("Agg")

LONGEST = 24  # characters of a film's name that fit beside it


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


def _show_change(axes, change: np.ndarray, limit: float | np.floating) -> None:
    """A signed difference: red is brighter, blue is darker."""
    _show(axes, change, cmap="RdBu_r", vmin=-limit, vmax=limit)


def probability(margin: float | np.floating) -> float:
    """The finding's, from f's margin: a half at the classifier's own threshold."""
    return float(1 / (1 + np.exp(-margin)))


def _name(axes, name: str) -> None:
    """Says beside the first panel of a row which film it is; of a long name the end."""
    axes.set_ylabel(name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}", fontsize=6.5)


def traversal(stopped, names: Sequence[str], columns: int) -> Figure:
    """Strips: each row a film walked to its stop, margin and probability under each frame.

    The first column is the film itself, the last the change that the walk made to it.

    Args:
      stopped: the walks.
      names: of the films that are shown, the first ones.
      columns: frames of each.
    """
    rows, walk, end = len(names), stopped.walk, stopped.frame
    figure = Figure(figsize=(1.35 * (columns + 1), 1.62 * rows), layout="constrained")
    axes = figure.subplots(rows, columns + 1, squeeze=False)
    for row in range(rows):
        _name(axes[row, 0], names[row])
        frames = np.round(np.linspace(0, end[row], columns)).astype(int)
        for column, frame in enumerate(frames):
            _show(axes[row, column], walk.carried[row, frame])
            margin = walk.margin[row, frame]
            text = f"{margin:+.1f}   p = {probability(margin):.2f}"
            colour = "firebrick" if margin > 0 else "darkgreen"
            axes[row, column].set_xlabel(text, fontsize=7.5, color=colour)
        change = stopped.change[row]
        _show_change(axes[row, columns], change, limit=max(0.25, np.abs(change).max()))
        axes[row, columns].set_xlabel("red: brighter, blue: darker", fontsize=6.5)
    return figure


def interpolation(frames: np.ndarray, margin: np.ndarray, names: Sequence[str]) -> Figure:
    """Images drawn from no class latent to the whole one, probabilities above; the difference last.

    The figure of Dravid & Katsaggelos (2022).

    Args:
      frames: [n, k, h, w, 1], from share 0 of z_class to share 1.
      margin: f on them [n, k].
      names: of the films that they were drawn from [n].
    """
    rows, columns = frames.shape[:2]
    figure = Figure(figsize=(1.2 * (columns + 1), 1.42 * rows + 0.2), layout="constrained")
    axes = figure.subplots(rows, columns + 1, squeeze=False)
    for row in range(rows):
        _name(axes[row, 0], names[row])
        for column in range(columns):
            _show(axes[row, column], frames[row, column])
            text = f"p = {probability(margin[row, column]):.2f}"
            if row == 0:
                text = f"α = {column / (columns - 1):.1f}\n{text}"
            axes[row, column].set_title(text, fontsize=8)
        change = frames[row, -1] - frames[row, 0]
        _show_change(axes[row, columns], change, max(float(np.abs(change).max()), 1e-6))
    axes[0, columns].set_title("positive − negative", fontsize=8)
    return figure


def responses(walks: Mapping[str, Any], target: float) -> Figure:
    """The margin of f and of the judge h against distance walked, one panel a path.

    Args:
      walks: by title.
      target: the margin at which they stop.
    """
    columns = min(len(walks), 4)
    rows = -(-len(walks) // columns)
    figure = Figure(figsize=(3.8 * columns, 3.1 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for panel, (name, walk) in zip(axes.flat, walks.items(), strict=False):
        for margin, colour, label in (
            (walk.margin, "tab:blue", "f, explained"),
            (walk.judge_margin, "tab:orange", "h, judge"),
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
        panel.set_title(name)
    for panel in axes.flat[len(walks) :]:
        panel.set_axis_off()
    figure.supxlabel("distance from the film (RMS of pixels)", fontsize=10)
    figure.supylabel("f: logit margin of the finding", fontsize=10)
    axes.flat[len(walks) - 1].legend(fontsize=7.5)
    return figure


def changes(
    films,
    stopped,
    names: Sequence[str],
    *,
    lesion_mask: np.ndarray | None,
    others: Mapping[str, np.ndarray],
) -> Figure:
    """Film, reconstruction, counterfactual and change; the truth; and what other methods show.

    Args:
      names: of the films that are shown, the first ones.
      others: what other methods show, by title.
    """
    rows = len(names)
    titles = ["film", "reconstruction", "counterfactual", "change"]
    titles += ["true lesions"] * (lesion_mask is not None) + list(others)
    figure = Figure(figsize=(1.5 * len(titles), 1.5 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, len(titles), squeeze=False)
    for row in range(rows):
        panels = iter(axes[row])
        _name(axes[row, 0], names[row])
        _show(next(panels), films.image[row])
        _show(next(panels), films.drawn[row])
        _show(next(panels), stopped.walk.carried[row, stopped.frame[row]])
        change = stopped.change[row]
        _show_change(next(panels), change, limit=max(0.25, np.abs(change).max()))
        if lesion_mask is not None:
            _show(next(panels), lesion_mask[row], vmin=0, vmax=255)
        for saliency in others.values():
            _show(next(panels), saliency[row], cmap="magma", vmin=0, vmax=None)
    for panel, text in zip(axes[0], titles, strict=True):
        panel.set_title(text, fontsize=9)
    return figure


def audit(
    image: np.ndarray,
    other: np.ndarray,
    names: Sequence[str],
    *,
    regions: Mapping[str, np.ndarray],
    each: Mapping[str, Mapping[str, np.ndarray]],
    table: Mapping,
    region_names: Mapping[str, str],
) -> Figure:
    """What the classifier's answer rests on: films with their evidence, the bars, and the verdict.

    Args:
      image, other: films and counterfactuals [N, h, w, 1].
      region_names: what people call the regions.
      names: of the films that are shown, the first ones.
      regions: masks by name [N, h, w, 1]; `each`: per-film evidence, and truth where it is known.
      table: the `audit` of metrics.json.
    """
    rows = len(names)
    figure = Figure(figsize=(2.1 * rows + 5.2, 4.9), layout="constrained")
    films, bars = figure.subfigures(1, 2, width_ratios=[2.1 * rows, 5.2])
    axes = films.subplots(2, rows, squeeze=False)
    strength = {name: values["evidence"] for name, values in each.items()}
    limit = max(np.abs(values).max() for values in strength.values())
    for row in range(rows):
        _show(axes[0, row], image[row])
        _show(axes[1, row], other[row])
        tint = sum(mask[row] * strength[name][row] for name, mask in regions.items())
        shade = 0.55 * np.squeeze(np.abs(tint)) / limit
        _show(axes[0, row], tint, cmap="PuOr_r", vmin=-limit, vmax=limit, alpha=shade)
        strongest = max(strength, key=lambda name: strength[name][row])
        text = f"most of it:\n{region_names[strongest]} ({strength[strongest][row]:+.1f})"
        axes[0, row].set_xlabel(text, fontsize=8.5)
        axes[1, row].set_xlabel(names[row], fontsize=6.5)
    axes[0, 0].set_ylabel("coloured: what makes the\nclassifier say positive", fontsize=9)
    axes[1, 0].set_ylabel("the same film,\nwalked to negative", fontsize=9)
    _bars(bars.subplots(), table, list(regions), names=region_names)
    figure.suptitle(table["verdict"], fontsize=11.5, wrap=True)
    return figure


def _bars(axes, table: Mapping, regions: Sequence[str], *, names: Mapping[str, str]) -> None:
    """Mean evidence of each region with its interval; the truth, where it is known, as a line."""
    means = [table["evidence"][region]["mean"] for region in regions]
    intervals = [table["evidence"][region]["ci95"] for region in regions]
    sizes = [[mean - low, high - mean] for mean, (low, high) in zip(means, intervals, strict=True)]
    rows = [textwrap.fill(names[region], 14) for region in regions]
    axes.barh(rows, means, xerr=np.transpose(sizes), color="tab:orange", ecolor="dimgray")
    if "truth" in table:
        truth = [table["truth"][region]["mean"] for region in regions]
        axes.plot(truth, rows, "k|", markersize=26, markeredgewidth=2, label="truth, by re-drawing")
        axes.legend(fontsize=8, loc="lower right", markerscale=0.5)
    left, right = axes.get_xlim()
    axes.set_xlim(left - 0.03 * (right - left), right)  # a truth of zero shows
    axes.axvline(0, color="black", linewidth=0.7)
    axes.invert_yaxis()
    axes.set_xlabel("evidence for the finding (logits, mean)")
