"""time_to_quality.png: what GAN and encoder are worth after so many seconds of training."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.pictures import draw_result
from experiments.studies.time_to_quality import PATHS

PANELS = {
    "flip_rate": "flips of f and h, from positive",
    "twin_error": "twin_error: 0 is best",
    "partial": "faithfulness of the change",
}
COLOURS = dict(zip(PATHS, ("grey", "black"), strict=True))


def draw_panel(axes: Axes, found: Mapping[str, Mapping], figure: str) -> None:
    """A figure of merit by path, with its interval, against seconds of training."""
    for path, colour in COLOURS.items():
        # One that is undefined, of too few films, has no interval.
        known = [one for one in found.values() if one["figures"][path][figure].get("ci95")]
        ordered = sorted(known, key=seconds)
        entries = [one["figures"][path][figure] for one in ordered]
        means = [entry["mean"] for entry in entries]
        below = [entry["mean"] - entry["ci95"][0] for entry in entries]
        above = [entry["ci95"][1] - entry["mean"] for entry in entries]
        axes.errorbar(
            [seconds(entry) for entry in ordered],
            means,
            [below, above],
            color=colour,
            fmt="o-",
            label=path,
        )
    axes.set_title(PANELS[figure], fontsize="medium")
    axes.set_xlim(left=0)


def seconds(entry: Mapping) -> float:
    """Of both trainings."""
    return sum(entry["seconds"].values())


def draw_figure(found: Mapping[str, Mapping]) -> Figure:
    """A panel for each figure of merit."""
    figure = Figure(figsize=(3.2 * len(PANELS), 3.0), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        draw_panel(axes, found, name)
    figure.axes[0].legend(fontsize="small")
    figure.supxlabel("seconds of training GAN and encoder", fontsize="medium")
    return figure


def run(out: Path) -> None:
    """Draws time_to_quality.png from time_to_quality.json."""
    draw_result(out, "time_to_quality", draw_figure)
