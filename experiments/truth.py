"""A folder of films on which radiologists have marked where the finding is; see docs/data.md.

covid/zones.csv, films/, lungs/, opacity/   zone scores by two readers, outlines of opacities
nih/annotations.csv, pneumonia/             boxes
exclude_from_training.txt                   films of a training folder that show the same patients
"""

import csv
import dataclasses
import glob
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import ml_collections
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cxr_jax.api import read_films
from cxr_jax.data.arrays import Arrays
from cxr_jax.errors import InputError
from cxr_jax.evaluate.radiologists import ZONES, fill_boxes
from cxr_jax.runtime.user_path import user_path
from experiments.reading import load_own_splits
from experiments.study import Flag, Options

logger = logging.getLogger(__name__)

READERS = ("senior", "junior")
MOST = 3  # of a zone's score
BOX_SIDE = 1024  # pixels of the film in which boxes are given
EXCLUDED = "exclude_from_training.txt"
# Correlation of thumbnails THUMBNAIL pixels a side. Of the marked films one that stands twice has
# 0.997, different films have up to 0.93; black bars at the sides would raise the latter.
SAME_FILM, THUMBNAIL = 0.99, 64
NIH_NAME = re.compile(r"(\d{8})_\d{3}")  # patient and number of the film

FLAG = Flag(name="truth", default="", help="Folder of marked films, of the form of docs/data.md.")
WITHOUT = Flag(
    name="without",
    default=(),
    help="Marked patients to leave out: whom a run has learned from though no list says so.",
)

Row = Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Marked:
    """Films of one set and what is marked on them; N rows each, as large as the films are.

    Attributes:
      name: of the set.
      films: names in the table.
      paths: of their files.
      patients: of each film [N]; the film's own name where nobody knows.
      scores: of both readers [N, 2, 6], 0 to 3; NaN where a film has none.
      lungs: [N, h, w, 1] bool; empty where nobody has outlined them.
      marked: opacities or boxes [N, h, w, 1] bool.
      has_mark: whether there are any [N].
      unread: rows of the table without a film here or without truth, by why.
      twins: films that are another one of them, though the table gives them another patient.
    """

    name: str
    films: tuple[str, ...]
    paths: tuple[Path, ...]
    patients: np.ndarray
    scores: np.ndarray
    lungs: np.ndarray
    marked: np.ndarray
    has_mark: np.ndarray
    unread: Mapping[str, int]
    twins: tuple[str, ...] = ()

    @property
    def has_lungs(self) -> np.ndarray:
        """Whether somebody has outlined the lungs [N]."""
        return self.lungs.any(axis=(1, 2, 3))

    @property
    def is_scored(self) -> np.ndarray:
        """Whether both readers have scored the zones [N]."""
        return np.isfinite(self.scores).all(axis=(1, 2))

    def of_their_patients(self, picked: np.ndarray) -> np.ndarray:
        """All films [N] of the patients whom some of the films [N] show."""
        return np.isin(self.patients, self.patients[picked])

    def rows(self, picked: np.ndarray) -> "Marked":
        """Some of the films [n], as a mask or as numbers."""
        numbers = np.arange(len(self.films))[picked]
        arrays = ("patients", "scores", "lungs", "marked", "has_mark")
        return dataclasses.replace(
            self,
            films=tuple(self.films[i] for i in numbers),
            paths=tuple(self.paths[i] for i in numbers),
            twins=tuple(self.films[i] for i in numbers if self.films[i] in self.twins),
            **{name: getattr(self, name)[numbers] for name in arrays},
        )


# 1. Sets.


def truth_folder(options: Options) -> Path:
    """The folder that `FLAG` names; an `InputError` if it names none."""
    if not options.own["truth"]:
        raise InputError("--truth is missing: give the folder of marked films (docs/data.md)")
    return user_path(options.own["truth"])


def read_truth(folder: Path, without: Sequence[str] = ()) -> dict[str, Marked]:
    """The sets that a folder holds, by name.

    Args:
      without: patients who are left out, and counted.

    Raises:
      InputError: if it holds none, or a table or a picture is not of the form that is asked for, or
        one of those patients is in no set.
    """
    tables = {"covid": "zones.csv", "nih": "annotations.csv"}
    readers = {"covid": read_covid, "nih": read_nih}
    found = {
        name: readers[name](folder / name)
        for name, table in tables.items()
        if (folder / name / table).is_file()
    }
    if not found:
        wanted = " or ".join(f"{name}/{table}" for name, table in tables.items())
        raise InputError(f"{folder}: holds neither {wanted}; give a folder of marked films")
    known = np.concatenate([truth.patients for truth in found.values()])
    if strangers := sorted({*without} - {*known.tolist()}):
        raise InputError(f"--without={strangers[0]}: no film in {folder} is of that patient")
    return {
        name: leave_out(join_twins(truth), np.isin(truth.patients, np.array(without, str)))
        for name, truth in found.items()
    }


def leave_out(truth: Marked, named: np.ndarray) -> Marked:
    """The films of all other patients than those of `named` [N], whose films are counted."""
    theirs = truth.of_their_patients(named)
    if not theirs.any():
        return truth
    unread = {**truth.unread, "of patients left out by --without": int(theirs.sum())}
    return dataclasses.replace(truth.rows(~theirs), unread=unread)


def join_twins(truth: Marked) -> Marked:
    """The same films, of which those that show one film are one patient's, whatever the table says.

    Collections hold a film under two names: as of two patients it would be independent evidence.
    """
    pixels, _ = read_films(truth.paths, THUMBNAIL)
    values = pixels.reshape(len(pixels), -1).astype(float)
    values -= values.mean(axis=1, keepdims=True)
    size = np.linalg.norm(values, axis=1)
    alike = np.triu(values @ values.T > SAME_FILM * np.outer(size, size), 1)
    is_known = truth.patients != np.array(truth.films)
    patients, twins = truth.patients.copy(), []
    for pair in np.argwhere(alike):
        first, second = sorted(pair, key=lambda film: not is_known[film])
        if patients[first] != patients[second]:
            kept, other = patients[first], patients[second]
            joined = patients == other
            patients[joined], is_known[joined] = kept, is_known[first]
            twins.append(truth.films[second])
            logger.warning(
                "%s shows the film that %s shows: counted as one of patient %s",
                *(truth.films[second], truth.films[first], kept),
            )
    return dataclasses.replace(truth, patients=patients, twins=tuple(twins))


def read_covid(folder: Path) -> Marked:
    """Zone scores and opacities: zones.csv, films/, lungs/, opacity/.

    An outline of nothing is none: where no opacity is, there is nothing that a map could miss.
    """
    columns = [f"{reader}_{zone}" for reader in READERS for zone in ZONES]
    asked = ("film", "patient_id", "has_opacity_mask", "lungs_from", *columns)
    rows = _read_table(folder / "zones.csv", asked, key="film")
    names = tuple(row["film"] for _, row in rows)
    paths = tuple(folder / "films" / name for name in names)
    side = _common_side(paths)
    lungs, marked = (
        _read_masks(folder / place, names, said, side=side)
        for place, said in (
            ("lungs", [bool(row["lungs_from"]) for _, row in rows]),
            ("opacity", [row["has_opacity_mask"] == "1" for _, row in rows]),
        )
    )
    truth = Marked(
        name="covid",
        films=names,
        paths=paths,
        patients=np.array([row["patient_id"] or row["film"] for _, row in rows]),
        scores=np.array([_zone_scores(where, row, columns) for where, row in rows]),
        lungs=lungs,
        marked=marked,
        has_mark=marked.any(axis=(1, 2, 3)),
        unread={},
    )
    known = truth.is_scored | truth.has_mark
    if not known.any():
        raise InputError(f"{folder}: no film has scores or an opacity; complete zones.csv")
    unread = {"neither scores nor an opacity": int((~known).sum())}
    return dataclasses.replace(truth.rows(known), unread=unread)


def read_nih(folder: Path) -> Marked:
    """Boxes of the films that have any: annotations.csv and the films that it names.

    RSNA's boxes, drawn for the whole film, count before NIH's, of which there is one a finding.
    """
    asked = ("filename", "patient_id", "rsna_boxes", "nih_boxes")
    rows = _read_table(folder / "annotations.csv", asked)
    seen: set[str] = set()
    for where, row in rows:
        if row["filename"] in seen:
            raise InputError(
                f"{where}: {row['filename']} stands there twice; write all boxes of a film as one "
                "list in one row"
            )
        seen |= {row["filename"]} - {""}
    here = [(where, row) for where, row in rows if row["filename"]]
    boxes = [_boxes(where, row) for where, row in here]
    picked = [row for (_, row), found in zip(here, boxes, strict=True) if found]
    names = tuple(row["filename"] for row in picked)
    paths = tuple(folder / name for name in names)
    side = _common_side(paths)
    marked = [fill_boxes(np.array(found) / BOX_SIDE, side) for found in boxes if found]
    return Marked(
        name="nih",
        films=names,
        paths=paths,
        patients=np.array([row["patient_id"] or row["filename"] for row in picked]),
        scores=np.full((len(names), len(READERS), len(ZONES)), np.nan),
        lungs=np.zeros((len(names), side, side, 1), bool),
        marked=np.array(marked),
        has_mark=np.ones(len(names), bool),
        unread={
            "no film of its own here": len(rows) - len(here),
            "no box": len(here) - len(picked),
        },
    )


def _zone_scores(where: str, row: Row, columns: Sequence[str]) -> np.ndarray:
    """Both readers' scores [2, 6]; NaN where all are empty."""
    cells = [row[column] for column in columns]
    if not any(cells):
        return np.full((len(READERS), len(ZONES)), np.nan)
    known = {str(score) for score in range(MOST + 1)}
    for column, cell in zip(columns, cells, strict=True):
        if cell not in known:
            raise InputError(
                f"{where}: {column} is {cell!r}; write 0 to {MOST} in all of a film's zones, or "
                "leave all of them empty"
            )
    return np.array(cells, float).reshape(len(READERS), len(ZONES))


def _boxes(where: str, row: Row) -> list[list[float]]:
    """x, y, width, height of each box of a film, in pixels of BOX_SIDE."""
    found = {}
    for column, skipped in (("rsna_boxes", 0), ("nih_boxes", 1)):  # the latter name the finding
        try:
            boxes = json.loads(row[column] or "[]")
            found[column] = [[float(number) for number in box[skipped:]] for box in boxes]
            if any(len(box) != 4 or min(box[2:]) <= 0 for box in found[column]):
                raise ValueError
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{where}: {column} is {row[column][:80]!r}; write a list of boxes, each x, y, "
                "width and height, or leave it empty"
            ) from error
    return found["rsna_boxes"] or found["nih_boxes"]


# 2. Which of them were learned from.


def load_learned(
    config: ml_collections.ConfigDict, workdir: Path, folder: Path
) -> tuple[dict[str, Arrays], list[str]]:
    """A run's data, and the names of the films that it has learned from or was chosen by.

    Args:
      config: of the run; its data know `filename`.
      folder: of the truth.

    Raises:
      InputError: if the data are no longer the run's, or show patients of the truth.
    """
    splits = load_own_splits(config, workdir, ("filename",))
    taught = (splits[split]["filename"] for split in ("train", "validation"))
    learned = [name.decode() for names in taught for name in names]
    check_excluded(folder, learned)
    return splits, learned


def check_excluded(folder: Path, learned: Sequence[str]) -> None:
    """Raises `InputError` if a run has learned from films that show patients of the truth.

    Args:
      learned: names of the films of its training and validation.
    """
    path = folder / EXCLUDED
    if not path.exists():
        raise InputError(
            f"{path} is missing: it lists the training films that show the same patients; write "
            "an empty one if there are none"
        )
    listed = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    for name in listed:
        if any(_is_same_film(film, name) for film in learned):
            raise InputError(
                f"the run has learned from {name}, whose patient is among those explained "
                f"({path}); train without the films that are listed there (docs/data.md)"
            )


def _is_same_film(film: str, listed: str) -> bool:
    """Whether one name is the other, or the other below some folder; in any case of letters.

    A film's name without its class is too little to be found below a listed folder.
    """
    own, asked = (PurePosixPath(name.casefold()).parts for name in (film, listed))
    ends = own[-len(asked) :] == asked
    return ends or (len(own) > 1 and asked[-len(own) :] == own)


def find_taught(truth: Marked, learned: Sequence[str]) -> np.ndarray:
    """Of which films [N] the patient was learned from, as far as films of the NIH tell it."""
    if truth.name != "nih":
        return np.zeros(len(truth.films), bool)
    taught = {match[1] for name in learned if (match := NIH_NAME.search(name))}
    names = (NIH_NAME.search(film) for film in truth.films)
    own = np.array([match is not None and match[1] in taught for match in names], bool)
    return truth.of_their_patients(own)


# 3. Files.


def _read_table(path: Path, columns: Sequence[str], key: str = "") -> list[tuple[str, Row]]:
    """Rows and where each stands.

    Args:
      columns: that must be there.
      key: one that is filled in and unique.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            lines = [(f"{path} line {reader.line_num}", row) for row in reader]
    except (OSError, UnicodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a table ({error}); save it again") from error
    if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise InputError(f"{path}: has no column {missing[0]!r}; add it")
    if not lines:
        raise InputError(f"{path}: has no rows")
    seen = set()
    for where, row in lines:
        if None in row:
            raise InputError(f"{where}: has more cells than the header; put quotes around commas")
        if key and (not row[key] or row[key] in seen):
            raise InputError(f"{where}: {key} is {row[key]!r}; name each film, and once")
        seen.add(row[key] if key else "")
    return lines


def _common_side(paths: Sequence[Path]) -> int:
    """The side in pixels of the films, which must be squares of one size."""
    if not paths:
        raise InputError("the table names no film with truth; complete it")
    sizes = {path: _open(path).size for path in paths}
    first = sizes[paths[0]]
    for path, (width, height) in sizes.items():
        if width != height or (width, height) != first:
            raise InputError(
                f"{path}: is {width}x{height} pixels; all films of a set must be squares of one "
                f"size, as {paths[0].name} of {first[0]}x{first[1]}"
            )
    return first[0]


def _read_masks(
    folder: Path, names: Sequence[str], said: Sequence[bool], *, side: int
) -> np.ndarray:
    """Masks [N, h, w, 1] bool of the films that are said to have one; empty for the others."""
    masks = np.zeros((len(names), side, side, 1), bool)
    for mask, name, is_said in zip(masks, names, said, strict=True):
        if not is_said:
            continue
        image = _open(_mask_file(folder / name))
        if image.size != (side, side):
            raise InputError(
                f"{folder / name}: is {image.width}x{image.height} pixels, but its film is "
                f"{side}x{side}; save the mask in the film's size"
            )
        mask[..., 0] = np.asarray(image.convert("L")) > 127
    return masks


def _mask_file(path: Path) -> Path:
    """The mask of a film, whose ending may be another."""
    if path.is_file():
        return path
    others = sorted(path.parent.glob(f"{glob.escape(path.stem)}.*"))
    return others[0] if len(others) == 1 else path


def _open(path: Path) -> Image.Image:
    """A picture whose file is there and is one."""
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image)  # as films are read
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"{path}: cannot be read as a picture ({error}); restore it") from error
