"""`metadata.csv` -> one `Film` per image: label, patient, and the split if one is given.

Columns (comma-separated, UTF-8, a header line; further columns are allowed):
    filename     path relative to the folder, such as covid/x.png; every film once
    label        optional; must agree with the class folder (its name, or 0/1)
    patient_id   optional; empty means unknown, and the film then counts as its own patient
    group_id     optional; replaces patient_id as what must not be spread over splits
    split        optional; train, val/valid/validation or test. Its name is `split_column`.
"""

import csv
import dataclasses
from pathlib import Path

from cxr_jax.datasets.cxr_folder.folder_listing import FolderListing
from cxr_jax.errors import InputError

DEFAULT_SPLIT_COLUMN = "split"
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


@dataclasses.dataclass(frozen=True)
class Film:
    """One radiograph and what is known of it before its pixels are read."""

    filename: str  # relative to the folder, forward slashes
    label: int  # 0 negative, 1 positive
    patient_id: str  # empty if unknown
    group: str  # films of one group never lie in two splits
    split: str | None  # None: to be assigned


@dataclasses.dataclass(frozen=True)
class _Row:
    """One line of the table, spaces stripped, with where it stands for error messages."""

    where: str
    values: dict[str, str]

    def get(self, column: str) -> str:
        """The value, empty where the table has no such column."""
        return self.values.get(column, "")


def read_films(listing: FolderListing, positive_class: str, split_column: str) -> list[Film]:
    """Joins the listed films with the metadata, if there is any; sorted by filename."""
    if not listing.has_metadata:
        _check_split_column(listing, (), split_column)
        rows = {name: _Row("", {}) for name in listing.films}
    else:
        columns, all_rows = _read_table(listing.metadata_path)
        _check_split_column(listing, columns, split_column)
        rows = _match_rows(listing, all_rows)
        split_column = split_column if split_column in columns else ""
    has_split = listing.has_metadata and bool(split_column)
    return [
        _make_film(name, rows[name], positive_class, split_column if has_split else None)
        for name in listing.films
    ]


def _make_film(name: str, row: _Row, positive_class: str, split_column: str | None) -> Film:
    label = int(_class_of(name) == positive_class)
    _check_label(name, row, label)
    patient_id, group_id = row.get("patient_id"), row.get("group_id")
    group = f"file:{name}"
    if patient_id:
        group = f"patient:{patient_id}"
    if group_id:
        group = f"group:{group_id}"
    split = None if split_column is None else _parse_split(row, split_column)
    return Film(name, label, patient_id, group, split)


def _class_of(name: str) -> str:
    return name.split("/", 1)[0]


def _read_table(path: Path) -> tuple[tuple[str, ...], list[_Row]]:
    """Returns (columns, rows); lines whose cells are all empty are left out."""
    try:
        # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            columns = tuple(name.strip() for name in reader.fieldnames or ())
            raw_rows = [(reader.line_num, dict(raw)) for raw in reader]
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text; save it as CSV in UTF-8") from None
    except (csv.Error, OSError) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error}); save it again") from error
    if "filename" not in columns:
        raise InputError(
            f"{path}: has no column 'filename' (columns found: {', '.join(columns) or 'none'}); "
            "add it, and separate columns by commas"
        )
    rows = []
    for line, raw in raw_rows:
        where = f"{path} line {line}"
        if any(raw.pop(None, None) or ()):  # cells beyond the last column
            raise InputError(
                f"{where}: has more cells than the header; put quotes around cells with commas"
            )
        values = {column.strip(): value.strip() for column, value in raw.items()}
        if any(values.values()):
            rows.append(_Row(where, values))
    return columns, rows


def _check_split_column(
    listing: FolderListing, columns: tuple[str, ...], split_column: str
) -> None:
    """Only the default column may be absent: any other was asked for by name."""
    if split_column in ("", DEFAULT_SPLIT_COLUMN) or split_column in columns:
        return
    has = f"columns: {', '.join(columns)}" if columns else "there is no such file"
    raise InputError(
        f"{listing.metadata_path}: has no column {split_column!r} ({has}); set split_column to "
        "one that exists, or to '' to split by patient"
    )


def _match_rows(listing: FolderListing, all_rows: list[_Row]) -> dict[str, _Row]:
    """Returns the row of every film; each film must have exactly one, each row a film."""
    films = set(listing.films)
    rows: dict[str, _Row] = {}
    for row in all_rows:
        name = row.get("filename").replace("\\", "/").removeprefix("./")
        if not name:
            raise InputError(f"{row.where}: the filename is empty; fill it in or remove the row")
        if name not in films:
            raise InputError(
                f"{row.where}: {name} is not among the folder's images; write the path relative "
                f"to the folder, such as {min(films)}, or remove the row"
            )
        if name in rows:
            raise InputError(f"{row.where}: {name} is listed twice; remove one of the rows")
        rows[name] = row
    unlisted = sorted(films - set(rows))
    if unlisted:
        raise InputError(
            f"{listing.metadata_path}: has no row for {unlisted[0]} ({len(unlisted)} such films); "
            "add the rows, or remove those films, or remove the metadata"
        )
    return rows


def _check_label(name: str, row: _Row, label: int) -> None:
    written = row.get("label")
    if written.casefold() not in ("", _class_of(name).casefold(), str(label)):
        raise InputError(
            f"{row.where}: the label of {name} is {written!r} but its folder is "
            f"{_class_of(name)!r}; correct the row or move the file"
        )


def _parse_split(row: _Row, split_column: str) -> str:
    written = row.get(split_column)
    split = _SPLIT_NAMES.get(written.casefold())
    if split is None:
        raise InputError(
            f"{row.where}: the {split_column} of {row.get('filename')} is {written!r}; use train, "
            "validation (val) or test"
        )
    return split
