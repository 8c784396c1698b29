"""`metadata.csv` -> one `Film` per image: label, patient, and the split if one is given.

Columns (comma-separated, UTF-8, a header line; further columns are allowed; see `columns` for
names that are understood as well)::

    filename     path relative to the folder, such as covid/x.png, or a name that one film alone
                 has; every film once
    label        optional; must agree with the class folder (its name, or 0/1)
    patient_id   optional; empty, nan, unknown, … : the film then counts as its own patient
    group_id     optional; films of one group, too, never lie in two splits
    split        optional; train, val/valid/validation or test. Its name is `split_column`.
    source       optional; hospital or detector: deep films of one source have one scale
"""

import collections
import csv
import dataclasses
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from cxr_jax.datasets.cxr_folder.columns import (
    DEFAULT_SPLIT_COLUMN,
    is_unknown,
    missing_split_column,
    name_columns,
)
from cxr_jax.datasets.cxr_folder.folder_listing import FolderListing
from cxr_jax.datasets.cxr_folder.layouts import SPLIT_NAMES, Place
from cxr_jax.datasets.cxr_folder.splits import Film, join_groups
from cxr_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class _Row:
    """One line of the table, spaces stripped, with where it stands for error messages."""

    where: str
    values: dict[str, str]  # by our names of the columns

    def get(self, column: str) -> str:
        """The value, empty where the table has no such column."""
        return self.values.get(column, "")

    def get_known(self, column: str) -> str:
        """The value, empty where it says that nothing is known."""
        value = self.get(column)
        return "" if is_unknown(value) else value


@dataclasses.dataclass(frozen=True)
class FilmTable:
    """All films with what is known of them, and how the table was understood.

    Attributes:
      films: sorted by filename.
      columns: {what we call it: the column's own name} of the columns that were read.
      unread: the other columns.
      said_unknown: how many patients are given by a word such as "nan".
      bare_names: how many rows name their film without its folder.
    """

    films: list[Film]
    columns: dict[str, str]
    unread: tuple[str, ...]
    said_unknown: int
    bare_names: int


def read_films(listing: FolderListing, positive_class: str, split_column: str) -> FilmTable:
    """Joins the listed films with the metadata, if there is any."""
    if listing.has_metadata:
        names, all_rows = _read_table(listing.metadata_path)
        columns = name_columns(listing.metadata_path, names, split_column)
        all_rows = [_rename(row, columns) for row in all_rows]
        rows, bare_names = _match_rows(listing, all_rows)
    else:
        if split_column not in ("", DEFAULT_SPLIT_COLUMN):
            raise missing_split_column(listing.metadata_path, (), split_column)
        names, columns, bare_names = (), {}, 0
        rows = {name: _Row("", {}) for name in listing.films}
    films = [
        _make_film(name, place, rows[name], positive_class=positive_class)
        for name, place in listing.films.items()
    ]
    for film, row in zip(films, rows.values(), strict=True) if "split" in columns else ():
        _check_split_folder(listing, film, row, column=columns["split"])
    if not split_column:
        films = [dataclasses.replace(film, split=None) for film in films]
    return FilmTable(
        films=join_groups(films),
        columns=columns,
        unread=tuple(name for name in names if name and name not in columns.values()),
        said_unknown=sum(
            bool(row.get("patient_id")) and is_unknown(row.get("patient_id"))
            for row in rows.values()
        ),
        bare_names=bare_names,
    )


def _make_film(name: str, place: Place, row: _Row, *, positive_class: str) -> Film:
    label = int(place.class_name == positive_class)
    _check_label(name, place.class_name, row, label=label)
    return Film(
        filename=name,
        label=label,
        patient_id=row.get_known("patient_id") or place.patient,
        group="",
        split=_parse_split(row) if "split" in row.values else place.split,
        group_id=row.get_known("group_id"),
        folder=place.patient,
        source=row.get_known("source"),
    )


def _read_table(path: Path) -> tuple[tuple[str, ...], list[_Row]]:
    """Returns (columns, rows); lines whose cells are all empty are left out."""
    try:
        # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            columns = tuple(name.strip() for name in next(reader, ()))
            lines = [(reader.line_num, cells) for cells in reader]
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text; save it as CSV in UTF-8") from None
    except (csv.Error, OSError) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error}); save it again") from error
    repeated = [name for name, count in collections.Counter(columns).items() if name and count > 1]
    if repeated:
        raise InputError(f"{path}: has two columns {repeated[0]!r}; rename or remove one of them")
    rows = []
    for line, cells in lines:
        where = f"{path} line {line}"
        if any(cells[len(columns) :]):
            raise InputError(
                f"{where}: has more cells than the header; put quotes around cells with commas"
            )
        cells += [""] * (len(columns) - len(cells))
        values = {column: cell.strip() for column, cell in zip(columns, cells, strict=False)}
        if any(cell.strip() for cell in cells):
            rows.append(_Row(where, values))
    return columns, rows


def _rename(row: _Row, columns: Mapping[str, str]) -> _Row:
    """The cells that are read, under our names."""
    values = {ours: row.values[column] for ours, column in columns.items()}
    for ours, value in values.items():
        if not value.isprintable():
            raise InputError(
                f"{row.where}: the {ours} {value!r} has unreadable characters; write it anew"
            )
    return _Row(row.where, values)


def _match_rows(listing: FolderListing, all_rows: list[_Row]) -> tuple[dict[str, _Row], int]:
    """Returns the row of every film in the films' order, and how many rows lack the folder.

    Each film must have exactly one row, each row a film.
    """
    by_name = collections.defaultdict(list)
    for film in listing.films:
        for name in {PurePosixPath(film).name, PurePosixPath(film).stem}:  # one without an ending
            by_name[name].append(film)
    rows: dict[str, _Row] = {}
    bare_names = 0
    for row in all_rows:
        name = row.get("filename").replace("\\", "/").removeprefix("./")
        if not name:
            raise InputError(f"{row.where}: the filename is empty; fill it in or remove the row")
        if name not in listing.films and len(by_name[name]) == 1:
            name, bare_names = by_name[name][0], bare_names + 1
        if name not in listing.films:
            raise InputError(
                f"{row.where}: {name} is not among the folder's images; write the path relative "
                f"to the folder, such as {min(listing.films)}, or remove the row"
            )
        if name in rows:
            raise InputError(f"{row.where}: {name} is listed twice; remove one of the rows")
        rows[name] = row
    unlisted = sorted(listing.films.keys() - rows.keys())
    if unlisted:
        raise InputError(
            f"{listing.metadata_path}: has no row for {unlisted[0]} ({len(unlisted)} such films); "
            "add the rows, or remove those films, or remove the metadata"
        )
    return {name: rows[name] for name in listing.films}, bare_names


def _check_label(name: str, class_name: str, row: _Row, *, label: int) -> None:
    written = row.get("label")
    if written.casefold() not in ("", class_name.casefold(), str(label)):
        raise InputError(
            f"{row.where}: the label of {name} is {written!r} but its folder is "
            f"{class_name!r}; correct the row or move the file"
        )


def _check_split_folder(listing: FolderListing, film: Film, row: _Row, *, column: str) -> None:
    """The default column and the folders train/, val/, test/ must agree."""
    folder = listing.films[film.filename].split
    if column == DEFAULT_SPLIT_COLUMN and folder is not None and folder != film.split:
        raise InputError(
            f"{row.where}: the split of {film.filename} is {film.split!r} but its folder says "
            f"{folder!r}; correct the row or move the file"
        )


def _parse_split(row: _Row) -> str:
    written = row.get("split")
    split = SPLIT_NAMES.get(written.casefold())
    if split is None:
        raise InputError(
            f"{row.where}: the split of {row.get('filename')} is {written!r}; use train, "
            "validation (val) or test, or name another column (data.split_column; '' splits by "
            "patient)"
        )
    return split
