"""What report.html shows, as the pictures, curves and sentences that its template sets."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from cxr_jax import plots
from cxr_jax.explain.traversal import first_flip
from cxr_jax.report.page import pictures
from cxr_jax.report.page.content import MASKS, Page, PageFilm, PagePath, PageTable
from cxr_jax.report.page.curve import Curve, draw_curve
from cxr_jax.report.wording import DIRECTION_WORDS, percents

MOST_FRAMES = 48  # of a longer walk some are left out
STRIP_FRAMES, STRIP_SIDE, STRIP_GAP = 7, 72, 2
SHOWN_SIDE = 512  # pixels a side, to which a browser smoothly enlarges a frame
OPAQUE_FROM = 0.7  # of the largest change of an ordinary film
LEAST_LIMIT = 0.1  # of the colours' scale: what is fainter than all else is not made to look strong


@dataclasses.dataclass(frozen=True, kw_only=True)
class PathView:
    """One walk: its stop and its strip as pictures, its sheet for the slider, its curve, its words.

    Attributes:
      f, h: of every shown frame, in percent.
      strip: the picture; `strip_frames` and `strip_f`: which frames it shows, and f on them.
      at_stop: the place of the stop among the shown frames.
      flipped: whether f and h both change their decision up to the stop.
    """

    name: str
    still: str
    strip: str
    strip_frames: Sequence[int]
    strip_f: Sequence[str]
    sheet: str
    curve: Curve
    f: Sequence[str]
    h: Sequence[str]
    stop: int
    at_stop: int
    flipped: bool
    outcome: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilmView:
    """One film.

    Attributes:
      number: from 1.
      size: [w, h] in pixels.
      numbers: of the shown frames; `last`: of the walk's last one.
      outlines: by the mask's name: what it is of, and an SVG path.
      maps: other methods', by title.
    """

    number: int
    name: str
    reason: str
    direction: str
    f: str
    h: str
    size: tuple[int, int]
    film: str
    overlay: str
    numbers: Sequence[int]
    last: int
    paths: Sequence[PathView]
    outlines: Mapping[str, tuple[str, str]]
    maps: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """Of the overlays: what their colours mean, on the [-1, 1] scale, for all films."""

    limit: float
    added: plots.Tint
    removed: plots.Tint


def shown_frames(film: PageFilm) -> np.ndarray:
    """Numbers of the frames that the slider goes through: all, or of a long walk some and stops."""
    count = len(film.paths[0].frames)
    if count <= MOST_FRAMES:
        return np.arange(count)
    stops = [path.stop for path in film.paths]
    spread = np.linspace(0, count - 1, MOST_FRAMES - len(stops)).round().astype(int)
    return np.union1d(spread, stops)


def flips(towards: int, stop: int, *margins: np.ndarray) -> bool:
    """Whether all these answers [k] change sign together in a frame up to the stop."""
    found = first_flip([margin[None] for margin in margins], np.array([stop]), towards)
    return bool(found[0] >= 0)


def outcome(path: PagePath, towards: int) -> str:
    """What the walk did to the two classifiers' answers, as a sentence."""
    ends = [0, path.stop]
    f, h = (" to ".join(percents(each[ends])) for each in (path.margin, path.judge_margin))
    moved = f"By frame {path.stop} f goes from {f} and h from {h}"
    if flips(towards, path.stop, path.margin, path.judge_margin):
        return f"{moved}: both change their decision."
    if flips(towards, path.stop, path.margin):
        return f"{moved}: f changes its decision, h does not go with it."
    return f"{moved}: f does not change its decision."


def view_path(path: PagePath, towards: int, numbers: np.ndarray) -> PathView:
    """One walk; the slider shows the frames `numbers`."""
    picked = np.unique(np.linspace(0, path.stop, STRIP_FRAMES).round().astype(int))
    frames = path.frames[numbers]
    margin, judge_margin = path.margin[numbers], path.judge_margin[numbers]
    f, h = percents(margin), percents(judge_margin)
    return PathView(
        name=path.name,
        still=pictures.data_uri(path.frames[path.stop]),
        strip=pictures.data_uri(pictures.strip(path.frames[picked], STRIP_SIDE, gap=STRIP_GAP)),
        strip_frames=picked.tolist(),
        strip_f=percents(path.margin[picked]),
        sheet=pictures.data_uri(pictures.change_sheet(frames)),
        curve=draw_curve(margin, judge_margin, numbers, stop=path.stop, target=path.target),
        f=f,
        h=h,
        stop=path.stop,
        at_stop=int(np.searchsorted(numbers, path.stop)),
        flipped=flips(towards, path.stop, path.margin, path.judge_margin),
        outcome=outcome(path, towards),
    )


def view_film(film: PageFilm, number: int, scale: Scale, *, heat: str) -> FilmView:
    """One film; `heat` is the colour map of other methods' maps."""
    first, numbers = film.paths[0], shown_frames(film)
    height, width = first.frames.shape[1:]
    tinted = pictures.tint(
        first.change, scale.limit, added=scale.added.rgb, removed=scale.removed.rgb
    )
    return FilmView(
        number=number,
        name=film.name,
        reason=film.reason,
        direction=DIRECTION_WORDS["pos_to_neg" if film.towards < 0 else "neg_to_pos"],
        f=percents(first.margin[:1])[0],
        h=percents(first.judge_margin[:1])[0],
        size=(width, height),
        film=pictures.data_uri(first.frames[0]),
        overlay=pictures.data_uri(tinted),
        numbers=numbers.tolist(),
        last=len(first.frames) - 1,
        paths=[view_path(path, film.towards, numbers) for path in film.paths],
        outlines={name: (MASKS[name], pictures.outline(mask)) for name, mask in film.masks.items()},
        maps={name: pictures.heat(each, heat) for name, each in film.maps.items()},
    )


def scale_of(films: Sequence[PageFilm], style: plots.Style) -> Scale:
    """One for all films."""
    largest = [float(np.abs(film.paths[0].change).max()) for film in films]
    added, removed = plots.change_tints(style.change)
    limit = max(LEAST_LIMIT, OPAQUE_FROM * float(np.median(largest)) if largest else 0.0)
    return Scale(limit=limit, added=added, removed=removed)


def for_script(films: Sequence[FilmView]) -> dict:
    """What the script knows of the films, as JSON holds it."""
    return {
        "films": [
            {
                "number": film.number,
                "numbers": film.numbers,
                "last": film.last,
                "width": film.size[0],
                "height": film.size[1],
                "columns": pictures.sheet_columns(len(film.numbers)),
                "scale": max(1, -(-SHOWN_SIDE // max(film.size))),
                "paths": [
                    {
                        "name": path.name,
                        "sheet": path.sheet,
                        "f": path.f,
                        "h": path.h,
                        "stop": path.stop,
                        "x": path.curve.x,
                        "yf": path.curve.f,
                        "yh": path.curve.h,
                    }
                    for path in film.paths
                ],
            }
            for film in films
        ]
    }


def view_films(page: Page, style: plots.Style) -> tuple[Sequence[FilmView], Scale]:
    """Every film that the page shows."""
    scale = scale_of(page.films, style)
    films = [
        view_film(film, number, scale, heat=style.heat)
        for number, film in enumerate(page.films, start=1)
    ]
    return films, scale


@dataclasses.dataclass(frozen=True, kw_only=True)
class MarkedCell:
    """A cell, and the number of the note that says why it is empty."""

    text: str
    mark: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class MarkedRow:
    """A row of marked cells."""

    title: str
    note: str
    cells: Sequence[MarkedCell]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableView:
    """A table whose empty cells carry numbers, and the reasons by number."""

    table: PageTable
    rows: Sequence[MarkedRow]
    notes: Sequence[tuple[str, str]]


def view_table(table: PageTable) -> TableView:
    """Reasons are told once, below the table."""
    reasons = dict.fromkeys(c.reason for row in table.rows for c in row.cells if c.reason)
    marks = {"": ""} | {reason: str(number) for number, reason in enumerate(reasons, start=1)}
    rows = [
        MarkedRow(
            title=row.title,
            note=row.note,
            cells=[MarkedCell(text=cell.text, mark=marks[cell.reason]) for cell in row.cells],
        )
        for row in table.rows
    ]
    return TableView(
        table=table, rows=rows, notes=[(mark, reason) for reason, mark in marks.items() if reason]
    )
