"""What report.html shows, as plain arrays and words; nothing here knows of HTML."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class PagePath:
    """One film walked along one path, whole, also beyond the stop.

    Attributes:
      name: as people write it.
      frames: [k, h, w] as uint8; frame 0 is the film.
      margin, judge_margin: f and h on them [k], in logits.
      stop: the frame at which the walk ends.
      target: the margin at which walks of this direction end.
    """

    name: str
    frames: np.ndarray
    margin: np.ndarray
    judge_margin: np.ndarray
    stop: int
    target: float

    @property
    def change(self) -> np.ndarray:
        """The frame at the stop less the film [h, w], on the [-1, 1] scale."""
        first, last = (np.float32(self.frames[frame]) for frame in (0, self.stop))
        return (last - first) / 127.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class PageFilm:
    """One explained film.

    Attributes:
      name: of its file, or of its patient; anybody's text.
      reason: why the gate rejected it; "" where it did not.
      towards: -1 where f is walked from positive to negative, else 1.
      paths: at least one; the explanation is read from the first.
      masks: what is known to lie where, by the names of `MASKS` [h, w] bool.
      maps: what other methods show, by title [h, w], not below zero.
    """

    name: str
    reason: str
    towards: int
    paths: Sequence[PagePath]
    masks: Mapping[str, np.ndarray]
    maps: Mapping[str, np.ndarray]


# What a mask is of, as people write it.
MASKS = {
    "lesion_mask": "true lesions",
    "lookalike_mask": "harmless look-alikes",
    "marker_mask": "lead marker",
    "lung_mask": "lungs",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table.

    Attributes:
      title: as short as a column is.
      meaning: one sentence for somebody who has not read the method.
      best: the value that would be perfect, in words; "" where none is better than another.
    """

    title: str
    meaning: str
    best: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One value: `text`, or where there is none a dash and the reason."""

    text: str
    reason: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table; `note` says what is compared."""

    title: str
    note: str
    cells: Sequence[Cell]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PageTable:
    """One table, every row in it, also those that lose."""

    title: str
    about: str
    row_title: str
    columns: Sequence[Column]
    rows: Sequence[Row]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Whose explanations these are.

    Attributes:
      finding: what f is asked for.
      is_phantom: whether f was taught by synthetic films.
      image_size: pixels a side.
      provenance: by what, and when, the page was made, in words by name; no path, no person.
    """

    finding: str
    is_phantom: bool
    image_size: int
    provenance: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """The whole page.

    Attributes:
      films: those that are shown.
      num_explained: how many were explained, shown or not.
      rejected: films of the run that the gate rejected, and why.
      coverage: in one sentence; "" where there is none.
      audit: the verdict in one sentence; "" where there is none.
      map_notes: what kind of method a map is of, by title, where there is something to say.
      where: which files hold the films that are not shown.
    """

    facts: RunFacts
    films: Sequence[PageFilm]
    num_explained: int
    rejected: Sequence[tuple[str, str]]
    coverage: str
    audit: str
    tables: Sequence[PageTable]
    audit_tables: Sequence[PageTable]
    map_notes: Mapping[str, str]
    where: str
