"""Arrays to matplotlib figures; callers save them."""

import dataclasses
import functools
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cxr_jax.errors import InputError

LONGEST = 24  # characters of a film's name that fit beside it
FORMATS = ("png", "pdf")
# Maps that remain readable with any colour vision (ColorBrewer's mark; matplotlib's own uniform
# ones), and what people call the two ends of those of a change: brighter, darker.
CHANGE_MAPS = {
    "RdBu_r": ("red", "blue"),
    "PuOr_r": ("orange", "purple"),
    "BrBG_r": ("brown", "teal"),
    "PRGn_r": ("purple", "green"),
}
HEAT_MAPS = ("magma", "inferno", "viridis", "cividis", "gray")
POSITIVE, NEGATIVE = "#b2182b", "#2166ac"  # of f's answers; apart with any colour vision


# 1. How figures look.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Style:
    """How figures look, and as what they are saved.

    Attributes:
      font: a family that is installed; "DejaVu Sans" always is.
      size: of a panel's title, in points; small print follows it.
      change: of `CHANGE_MAPS`; `heat`: of `HEAT_MAPS`.
      formats: of `FORMATS`.
    """

    font: str = "DejaVu Sans"
    size: float = 9.0
    change: str = "RdBu_r"
    heat: str = "magma"
    formats: tuple[str, ...] = ("png",)

    def rc(self) -> dict[str, Any]:
        """For `matplotlib.rc_context`; letters of a PDF are letters, not drawings of them."""
        return {"font.family": [self.font], "font.size": self.size, "pdf.fonttype": 42}


PLAIN = Style()


def check_font(name: str) -> None:
    """Raises `InputError` where matplotlib would quietly take another font."""
    try:
        font_manager.findfont(name, fallback_to_default=False)
    except ValueError as error:
        raise InputError(
            f"font {name!r} is not installed; install it, or take 'DejaVu Sans', which always is"
        ) from error


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Gives a figure the keyword argument `style`, and its fonts."""

    @functools.wraps(draw)
    def drawn(*arguments: object, style: Style = PLAIN, **named: object) -> Figure:
        with matplotlib.rc_context(style.rc()):
            return draw(*arguments, style=style, **named)

    return drawn


def save(figure: Figure, path: Path, style: Style = PLAIN) -> None:
    """Writes the figure in every format of `style`; the caller's figure is not used again.

    Args:
      path: with any ending, in whose place the formats' own come.
    """
    with matplotlib.rc_context(style.rc()):  # letters at an axis's ticks are made only now
        for form in style.formats:
            dated = {"CreationDate": None} if form == "pdf" else {}
            figure.savefig(path.with_suffix(f".{form}"), dpi=110, metadata=dated)


def to_rgb(figure: Figure) -> np.ndarray:
    """A figure as pixels [height, width, 3] uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tint:
    """A colour, by its name and as RGB of 0 to 255."""

    name: str
    rgb: tuple[int, int, int]

    @property
    def css(self) -> str:
        """As a style sheet writes it."""
        return "#{:02x}{:02x}{:02x}".format(*self.rgb)


def change_tints(name: str) -> tuple[Tint, Tint]:
    """What is added and what is taken away, in colours of a map that show on black and on white."""
    colours = matplotlib.colormaps[name]((0.78, 0.2))[:, :3]
    added, removed = (tuple(int(v) for v in np.round(255 * rgb)) for rgb in colours)
    names = CHANGE_MAPS[name]
    return Tint(name=names[0], rgb=added), Tint(name=names[1], rgb=removed)


def colour(values: np.ndarray, name: str) -> np.ndarray:
    """Values [h, w] of 0 to 1 in a colour map, as RGB [h, w, 3] uint8."""
    return matplotlib.colormaps[name](values, bytes=True)[..., :3]


# 2. Figures.


def _show(axes, image: np.ndarray, **kwargs) -> None:
    axes.imshow(np.squeeze(image), **({"cmap": "gray", "vmin": -1, "vmax": 1} | kwargs))
    axes.set_xticks([])
    axes.set_yticks([])


def image_grid(
    image: np.ndarray, titles: Sequence[str], margin: np.ndarray | None = None
) -> Figure:
    """A sheet of images [rows, columns, h, w] under column titles.

    Args:
      margin: f on them [rows, columns], to be told under each.
    """
    rows, columns = image.shape[:2]
    height = 1.25 if margin is None else 1.45
    figure = Figure(figsize=(1.25 * columns, height * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        for column in range(columns):
            _show(axes[row, column], image[row, column])
            if margin is not None:
                answer = f"p = {probability(margin[row, column]):.2f}"
                axes[row, column].set_xlabel(answer, fontsize=8)
    for column, title in enumerate(titles):
        axes[0, column].set_title(title, fontsize=8)
    return figure


def _show_change(
    axes, change: np.ndarray, limit: float | np.floating, *, style: Style = PLAIN
) -> None:
    """A signed difference: the first colour of `CHANGE_MAPS` is brighter, the second darker."""
    _show(axes, change, cmap=style.change, vmin=-limit, vmax=limit)


def probability(margin: float | np.floating) -> float:
    """The finding's, from f's margin: a half at the classifier's own threshold."""
    return float(1 / (1 + np.exp(-margin)))


def _name(axes, name: str) -> None:
    """Says beside the first panel of a row which film it is; of a long name the end."""
    axes.set_ylabel(name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}", fontsize="x-small")


@styled
def traversal(stopped, names: Sequence[str], columns: int, *, style: Style) -> Figure:
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
            answer = POSITIVE if margin > 0 else NEGATIVE
            axes[row, column].set_xlabel(text, fontsize="small", color=answer)
        change, (brighter, darker) = stopped.change[row], CHANGE_MAPS[style.change]
        limit = max(0.25, np.abs(change).max())
        _show_change(axes[row, columns], change, limit, style=style)
        axes[row, columns].set_xlabel(f"{brighter}: brighter, {darker}: darker", fontsize="x-small")
    return figure


@styled
def interpolation(
    frames: np.ndarray, margin: np.ndarray, names: Sequence[str], *, style: Style
) -> Figure:
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
            axes[row, column].set_title(text, fontsize="small")
        change = frames[row, -1] - frames[row, 0]
        limit = max(float(np.abs(change).max()), 1e-6)
        _show_change(axes[row, columns], change, limit, style=style)
    axes[0, columns].set_title("positive − negative", fontsize="small")
    return figure


@styled
def responses(walks: Mapping[str, Any], target: float, *, style: Style) -> Figure:
    """The margin of f and of the judge h against distance walked, one panel a path.

    Args:
      walks: by title.
      target: the margin at which they stop.
    """
    del style  # fonts alone
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
    figure.supxlabel("distance from the film (RMS of pixels)", fontsize="medium")
    figure.supylabel("f: logit margin of the finding", fontsize="medium")
    axes.flat[len(walks) - 1].legend(fontsize="small")
    return figure


@styled
def changes(
    films,
    stopped,
    names: Sequence[str],
    *,
    lesion_mask: np.ndarray | None,
    others: Mapping[str, np.ndarray],
    style: Style,
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
        _show_change(next(panels), change, max(0.25, np.abs(change).max()), style=style)
        if lesion_mask is not None:
            _show(next(panels), lesion_mask[row], vmin=0, vmax=255)
        for saliency in others.values():
            _show(next(panels), saliency[row], cmap=style.heat, vmin=0, vmax=None)
    for panel, text in zip(axes[0], titles, strict=True):
        panel.set_title(text, fontsize="medium")
    return figure


@styled
def audit(
    image: np.ndarray,
    other: np.ndarray,
    names: Sequence[str],
    *,
    regions: Mapping[str, np.ndarray],
    each: Mapping[str, Mapping[str, np.ndarray]],
    table: Mapping,
    region_names: Mapping[str, str],
    style: Style,
) -> Figure:
    """What the classifier's answer rests on: films with their evidence, the bars, and the verdict.

    Args:
      image, other: films and counterfactuals [N, h, w, 1].
      region_names: what people call the regions.
      names: of the films that are shown, the first ones.
      regions: masks by name [N, h, w, 1]; `each`: per-film evidence, and truth where it is known.
      table: the `audit` of metrics.json.
    """
    del style  # fonts alone: evidence has its own colours, which are no change's
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
        axes[0, row].set_xlabel(text, fontsize="small")
        axes[1, row].set_xlabel(names[row], fontsize="x-small")
    axes[0, 0].set_ylabel("coloured: what makes the\nclassifier say positive", fontsize="medium")
    axes[1, 0].set_ylabel("the same film,\nwalked to negative", fontsize="medium")
    _bars(bars.subplots(), table, list(regions), names=region_names)
    figure.suptitle(table["verdict"], fontsize="large", wrap=True)
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
        axes.legend(fontsize="small", loc="lower right", markerscale=0.5)
    left, right = axes.get_xlim()
    axes.set_xlim(left - 0.03 * (right - left), right)  # a truth of zero shows
    axes.axvline(0, color="black", linewidth=0.7)
    axes.invert_yaxis()
    axes.set_xlabel("evidence for the finding (logits, mean)")
