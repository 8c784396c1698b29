"""growth.png: how many images a second each step does, against what `growth` varies."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from benchmarks.growth import GROUPS
from cxr_jax import plots
from cxr_jax.errors import InputError
from experiments import results

FILE = "growth.png"
TITLES = dict(
    zip(
        GROUPS,
        (
            "GAN: side of the image, pixels",
            "GAN: films a step",
            "GAN: devices on the processor",
            "inversion: films at once",
        ),
        strict=True,
    )
)


def draw_group(axes: Axes, rows: dict[str, dict], title: str) -> None:
    """Median, least and most images a second, both axes doubling; dotted, as many at every value.

    Against the side of an image the dotted line is that of as many pixels a second.
    """
    values = np.array(list(rows), float)
    rates = np.array([list(row["images_per_second"].values()) for row in rows.values()])
    median, least, most = rates.T
    axes.errorbar(values, median, [median - least, most - median], color="black", fmt="o-")
    same = (values[0] / values) ** (2 if "pixels" in title else 0)
    axes.plot(values, median[0] * same, color="grey", linestyle=":")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_title(title, fontsize="medium")


def draw_figure(found: dict[str, dict]) -> Figure:
    """A panel for each group that was measured."""
    groups = [name for name in GROUPS if name in found]
    if not groups:
        raise InputError(f"growth.json has none of {', '.join(GROUPS)}, which are drawn")
    figure = Figure(figsize=(3.2 * len(groups), 3.0), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for axes, name in zip(panels, groups, strict=True):
        draw_group(axes, found[name], TITLES[name])
    panels[0].set_ylabel("images a second")
    return figure


def run(out: Path) -> None:
    """Draws growth.png from growth.json."""
    document = results.read(out, "growth")
    if not document:
        raise InputError(f"{out} has no growth.json; python -m benchmarks growth measures it")
    plots.save(draw_figure(document["results"]), out / FILE)
    print(out / FILE)
