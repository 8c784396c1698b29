"""growth.png: how many images a second each step does, against what `growth` varies."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from benchmarks.growth import GROUPS
from cxr_jax.errors import InputError
from experiments.pictures import draw_result

TITLES = {
    "gan_size": "GAN: side of the image, pixels",
    "gan_batch": "GAN: films a step",
    "gan_devices": "GAN: devices on the processor",
    "inversion_batch": "inversion: films at once",
}


def draw_group(axes: Axes, rows: dict[str, dict], name: str) -> None:
    """Median, least and most images a second; dotted, as many as at the first value.

    Against the side of an image both axes double, and the dotted line is that of as many pixels.
    """
    values = np.array(list(rows), float)
    rates = np.array([list(row["images_per_second"].values()) for row in rows.values()])
    median, least, most = rates.T
    axes.errorbar(values, median, [median - least, most - median], color="black", fmt="o-")
    same = np.full(len(values), median[0])
    if name == "gan_size":
        same *= (values[0] / values) ** 2
        axes.set_yscale("log", base=2)
    else:
        axes.set_ylim(bottom=0)
    axes.plot(values, same, color="grey", linestyle=":")
    axes.set_xscale("log", base=2)
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_title(TITLES[name], fontsize="medium")


def draw_figure(found: dict[str, dict]) -> Figure:
    """A panel for each group that was measured."""
    groups = [name for name in GROUPS if name in found]
    if not groups:
        raise InputError(f"growth.json has none of {', '.join(GROUPS)}, which are drawn")
    figure = Figure(figsize=(3.2 * len(groups), 3.0), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for axes, name in zip(panels, groups, strict=True):
        draw_group(axes, found[name], name)
    panels[0].set_ylabel("images a second")
    return figure


def run(out: Path) -> None:
    """Draws growth.png from growth.json."""
    draw_result(out, "growth", draw_figure)
