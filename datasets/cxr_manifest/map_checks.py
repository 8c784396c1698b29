"""A user's fields over a preset's, and what they must not say."""

import dataclasses
import re
from collections.abc import Mapping

from cxr_jax.datasets.cxr_folder.layouts import SPLIT_NAMES
from cxr_jax.datasets.cxr_manifest.column_map import (
    FILES,
    FINDING,
    NEGATIVE,
    ColumnMap,
    is_template,
)
from cxr_jax.datasets.cxr_manifest.presets import PRESETS
from cxr_jax.errors import InputError

UNUSED = "-"  # in a field that a preset would fill: nothing is used here
_SIGNS = ("delimiter", "label_separator")  # where that sign may be meant


def choose_map(given: Mapping[str, object], preset: str, finding: str) -> ColumnMap:
    """The map of a user's fields over a preset's.

    Args:
      given: fields of `ColumnMap`; those that are empty are the preset's, or else as by default.
      preset: name of a preset, or "".
      finding: the positive class.

    Raises:
      InputError: if there is no such preset, or nothing can be read by these fields.
    """
    if preset and preset not in PRESETS:
        raise InputError(
            f"data.manifest.preset is {preset!r}; choose one of {', '.join(PRESETS)}, or ''"
        )
    if finding == NEGATIVE:
        raise InputError(f"data.positive_class is {finding!r}, as all other films are called")
    default = dataclasses.asdict(ColumnMap())
    for name in given.keys() - default.keys():
        raise InputError(f"data.manifest has no field {name!r}; choose of {', '.join(default)}")
    chosen = {name: _frozen(value) for name, value in given.items() if value}
    fields = default | (dict(PRESETS[preset].fields) if preset else {}) | chosen
    for name, value in fields.items():
        if name not in _SIGNS and value in (UNUSED, (UNUSED,)):
            fields[name] = type(value)()
    for name in ("label", "negative_label"):
        fields[name] = fields[name].replace(FINDING, finding)
    for name in ("positive", "negative", "uncertain"):
        fields[name] = tuple(word.replace(FINDING, finding) for word in fields[name])
    columns = ColumnMap(**fields)
    check(columns)
    return columns


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def check(columns: ColumnMap) -> None:
    """Raises InputError if the fields do not say how a table is read, or contradict each other."""
    for fault, remedy in (
        *_faults_of_tables(columns),
        *_faults_of_labels(columns),
        *_faults_of_films(columns),
    ):
        if fault:
            raise InputError(f"data.manifest.{remedy}")
    for name in ("row_pattern", "patient_pattern", "label_pattern"):
        _check_pattern(name, getattr(columns, name))


def _faults_of_tables(columns: ColumnMap) -> list[tuple[bool, str]]:
    return [
        (
            not columns.tables,
            f"tables is empty: name the table with a row for each film, or {FILES!r} for the names "
            "of the files themselves",
        ),
        (
            bool(columns.table_splits) and len(columns.table_splits) != len(columns.tables),
            f"table_splits has {len(columns.table_splits)} splits for {len(columns.tables)} tables",
        ),
        (
            any(name.casefold() not in SPLIT_NAMES for name in columns.table_splits),
            f"table_splits is {columns.table_splits}; each must be train, validation or test",
        ),
        (
            FILES in columns.tables and not columns.row_pattern,
            "row_pattern is empty: say what the files' names mean, such as "
            r"'(?P<class>[^/]+)/(?P<file>[^/]+)'",
        ),
        (
            FILES in columns.tables and len(columns.tables) > 1,
            f"tables has {FILES!r} beside others; keep it alone, or without it",
        ),
        (
            columns.header == "no" and not columns.columns and not columns.row_pattern,
            "header is 'no': name the columns (manifest.columns)",
        ),
    ]


def _faults_of_labels(columns: ColumnMap) -> list[tuple[bool, str]]:
    column = columns.label
    return [
        (not column, "label is empty: name the column with the label"),
        (
            not columns.positive,
            f"positive is empty: say which values of {column!r} are positive, such as ('>=7',)",
        ),
        (
            not columns.negative,
            f"negative is empty: say which values of {columns.negative_label or column!r} are "
            "negative, such as ('No Finding',), or ('*',) for all others",
        ),
        (
            columns.label_kind == "list" and not columns.label_separator,
            "label_separator is empty: say what joins a list's values, such as '|'",
        ),
        (
            columns.min_readers > 1 and not columns.reader,
            f"min_readers is {columns.min_readers}: name the column with the reader "
            "(manifest.reader)",
        ),
    ]


def _faults_of_films(columns: ColumnMap) -> list[tuple[bool, str]]:
    ways = [columns.split, columns.table_splits, columns.split_lists]
    return [
        (not columns.path, "path is empty: name the column with the film's file"),
        (
            bool(columns.patient_pattern) and not columns.patient,
            "patient_pattern needs manifest.patient, the column out of which it cuts the patient",
        ),
        *(
            (
                bool(getattr(columns, one)) != bool(getattr(columns, other)),
                f"{one} is {getattr(columns, one)!r} and {other} {getattr(columns, other)!r}: "
                "give both or none",
            )
            for one, other in (("view", "views"), ("keep", "keep_values"))
        ),
        (
            sum(map(bool, ways)) > 1,
            "split, table_splits and the lists of films all give the split: keep one of them and "
            "set the others to '-', or ('-',)",
        ),
        *(
            (
                not is_template(template),
                f"{name} is {template!r}: write each column's name between one pair of braces",
            )
            for name, template in columns.templates.items()
        ),
    ]


def _check_pattern(name: str, pattern: str) -> None:
    """A regular expression must be one, with the groups that are asked for."""
    if not pattern:
        return
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"data.manifest.{name} is {pattern!r}, which is no regular expression ({error})"
        ) from error
    if name == "row_pattern" and not compiled.groupindex:
        raise InputError(
            f"data.manifest.{name} is {pattern!r}; name its groups, as in (?P<file>.+)"
        )
    if name != "row_pattern" and compiled.groups != 1:
        raise InputError(
            f"data.manifest.{name} is {pattern!r}; put the part that counts into one pair of round "
            "brackets"
        )
