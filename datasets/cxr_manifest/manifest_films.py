"""A root and a column map -> the films, what is known of them, and what is left out and why."""

import collections
import dataclasses
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from cxr_jax.datasets.cxr_folder.columns import is_unknown
from cxr_jax.datasets.cxr_folder.folder_listing import FilmListing
from cxr_jax.datasets.cxr_folder.layouts import Place
from cxr_jax.datasets.cxr_folder.metadata import FilmTable
from cxr_jax.datasets.cxr_folder.splits import Film, join_groups
from cxr_jax.datasets.cxr_manifest.column_map import (
    NEGATIVE,
    STEM,
    ColumnMap,
    fill,
)
from cxr_jax.datasets.cxr_manifest.film_files import FileIndex, index_files, is_film_name, stem_of
from cxr_jax.datasets.cxr_manifest.given_splits import read_split_lists, split_films
from cxr_jax.datasets.cxr_manifest.labels import label_film, read_values
from cxr_jax.datasets.cxr_manifest.table import Row, Table, read_tables, shared_value
from cxr_jax.datasets.cxr_manifest.words import matches
from cxr_jax.errors import InputError

_SHOWN = 12  # values of a column in a message


@dataclasses.dataclass(frozen=True, kw_only=True)
class ManifestFilms:
    """What a manifest names.

    Attributes:
      listing: films and masks as files.
      table: what is known of the films.
      left_out: {why: the films of the table that are not used}.
      num_rows: rows of the tables.
      unused_files: how many of the root's films no used row names.
    """

    listing: FilmListing
    table: FilmTable
    left_out: dict[str, list[str]]
    num_rows: int
    unused_files: int


def read_manifest(
    root: Path, columns: ColumnMap, finding: str, *, skip_missing: bool
) -> ManifestFilms:
    """Reads the tables and finds their films.

    Args:
      root: the user's folder.
      columns: what the tables' columns mean.
      finding: name of the positive class.
      skip_missing: leave films out that are not on the disk, instead of raising.

    Raises:
      InputError: if a table or a column is missing, rows contradict each other, or no film is left.
    """
    index = index_files(root)
    table = read_tables(index, columns)
    lists, list_files = read_split_lists(index, columns)
    named = _group_rows(table.rows, columns)
    left_out: dict[str, list[str]] = collections.defaultdict(list)
    labels = _label_films(named, columns, left_out)
    splits = split_films(labels, named, columns, lists=lists)
    if unlisted := [path for path in labels if path not in splits]:
        if not splits:
            raise InputError(
                f"{root}: none of the {len(unlisted)} films is in a list of films: the table has "
                f"{unlisted[0]}, the lists {next(iter(lists), 'nothing')}; correct "
                "data.manifest.path or the lists"
            )
        left_out["in none of the lists of films"] = unlisted
    files = _find_films(index, splits, left_out, skip_missing=skip_missing)
    films = [
        _make_film(file, named[path], columns, label=labels[path], split=splits[path])
        for path, file in files.items()
    ]
    films = join_groups(sorted(films, key=lambda film: film.filename))
    _check_both_classes(root, films, table.rows, columns=columns)
    masks = _find_masks(index, {file: named[path][0] for path, file in files.items()}, columns)
    return ManifestFilms(
        listing=FilmListing(
            folder=root,
            films={film.filename: Place(finding if film.label else NEGATIVE) for film in films},
            lung_masks=masks,
            tables=table.files | list_files,
        ),
        table=_describe(films, [named[path] for path in files], table, columns=columns),
        left_out=dict(sorted(left_out.items())),
        num_rows=len(table.rows),
        unused_files=sum(map(is_film_name, index.files)) - len(films) - len(masks),
    )


def _group_rows(rows: Iterable[Row], columns: ColumnMap) -> dict[str, list[Row]]:
    """{the film's path as the table writes it: its rows}."""
    named = collections.defaultdict(list)
    for row in rows:
        path = fill(columns.path, row.values).replace("\\", "/").removeprefix("./")
        if not path.strip("/") or not path.isprintable():
            raise InputError(
                f"{row.where}: names no film ({path!r}, by data.manifest.path); fill it in or "
                "remove the row"
            )
        named[path].append(row)
    return named


def _label_films(
    named: Mapping[str, Sequence[Row]], columns: ColumnMap, left_out: dict[str, list[str]]
) -> dict[str, int]:
    """{path: label} of the films of the views asked for that have one; the others are left out."""
    labels = {}
    for path, rows in named.items():
        reason = next(filter(None, _unwanted(rows, columns)), None)
        verdict = label_film(rows, columns) if reason is None else reason
        if isinstance(verdict, int):
            labels[path] = verdict
        else:
            left_out[verdict].append(path)
    return labels


def _unwanted(rows: Sequence[Row], columns: ColumnMap) -> Iterable[str]:
    """Why a film is not of the views or kinds asked for; "" where it is."""
    wanted = ((columns.keep, columns.keep_values), (columns.view, columns.views))
    for column, words in wanted:
        if column:
            value = shared_value(rows, column)
            yield "" if matches(value, words) else f"{column!r} is {value!r}"


def _find_films(
    index: FileIndex,
    paths: Collection[str],
    left_out: dict[str, list[str]],
    *,
    skip_missing: bool,
) -> dict[str, str]:
    """{path: the film's file, relative to the root} of those that are on the disk."""
    files, taken, missing = {}, {}, []
    for path in paths:
        file = index.find(path)
        if file is None:
            missing.append(path)
        elif file in taken:
            raise InputError(
                f"{index.root}: {taken[file]} and {path} of the table are both {file}; write more "
                "of the path (data.manifest.path), or put the films where the table has them"
            )
        else:
            files[path] = file
            taken[file] = path
    if missing and not (skip_missing and files):
        raise InputError(
            f"{index.root}: holds no file for {len(missing)} of the {len(paths)} films that the "
            f"table names, such as {missing[0]}; complete the folder, correct data.manifest.path, "
            "or set data.skip_unreadable to leave them out"
        )
    if missing:
        left_out["not on the disk"] = missing
    return files


def _find_masks(
    index: FileIndex, first_rows: Mapping[str, Row], columns: ColumnMap
) -> dict[str, str]:
    """{film: its mask's file} of those that have one."""
    if not columns.mask:
        return {}
    wanted = {
        film: fill(columns.mask, {**row.values, STEM: stem_of(film)})
        for film, row in first_rows.items()
    }
    found = {film: index.find(path) for film, path in wanted.items()}
    masks = {film: mask for film, mask in found.items() if mask is not None and mask != film}
    if not masks:
        example = next(iter(wanted.values()))
        raise InputError(
            f"{index.root}: holds no lung mask, such as {example}; correct data.manifest.mask, or "
            "set it to '-' to do without masks"
        )
    return masks


def _make_film(
    file: str, rows: Sequence[Row], columns: ColumnMap, *, label: int, split: str | None
) -> Film:
    if not file.isprintable():
        raise InputError(f"{file!r}: has unreadable characters in its name; rename the file")
    patient = _patient(rows, columns)
    return Film(
        filename=file,
        label=label,
        patient_id="" if is_unknown(patient) else patient,
        group="",
        split=split,
        source=shared_value(rows, columns.source) if columns.source else "",
    )


def _patient(rows: Sequence[Row], columns: ColumnMap) -> str:
    """The patient as the table writes it, "" without a column."""
    if not columns.patient:
        return ""
    value = shared_value(rows, columns.patient)
    if not columns.patient_pattern:
        return value
    found = re.search(columns.patient_pattern, value)
    if not found:
        raise InputError(
            f"{rows[0].where}: data.manifest.patient_pattern finds no patient in {value!r}; "
            "correct the pattern"
        )
    return found[1]


def _check_both_classes(
    root: Path, films: Sequence[Film], rows: Sequence[Row], *, columns: ColumnMap
) -> None:
    """Refuses a manifest without positives or negatives, with what the label's column holds."""
    for label, field in ((1, "positive"), (0, "negative")):
        if any(film.label == label for film in films):
            continue
        counts = collections.Counter(
            value for row in rows for value in read_values(row, columns) or ["(another form)"]
        )
        values = ", ".join(f"{value!r} {n}" for value, n in counts.most_common(_SHOWN))
        raise InputError(
            f"{root}: of the films that are left none is {field}, which is "
            f"{' or '.join(map(repr, getattr(columns, field)))} (values of {columns.label!r} with "
            f"their rows: {values}); correct data.positive_class or data.manifest.{field}"
        )


def _describe(
    films: list[Film],
    named: Iterable[Sequence[Row]],
    table: Table,
    *,
    columns: ColumnMap,
) -> FilmTable:
    said: Callable[[Sequence[Row]], str] = lambda rows: (
        fill(columns.patient, rows[0].values) if columns.patient else ""
    )
    return FilmTable(
        films=films,
        columns=columns.templates,
        unread=table.unread,
        said_unknown=sum(bool(said(rows)) and is_unknown(said(rows)) for rows in named),
        bare_names=0,
    )
