"""Tables of films -> rows: any delimiter, a header or none, or lines that a pattern takes apart."""

import collections
import csv
import dataclasses
import gzip
import io
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cxr_jax.datasets.cxr_manifest.column_map import (
    DELIMITERS,
    FILES,
    STEM,
    TABLE_SPLIT,
    ColumnMap,
    columns_of,
    fill,
)
from cxr_jax.datasets.cxr_manifest.film_files import FileIndex
from cxr_jax.errors import InputError

_BROKEN = (OSError, EOFError, zlib.error)


@dataclasses.dataclass(frozen=True)
class Row:
    """One line: where it stands, for messages, and its cells by their columns, spaces stripped."""

    where: str
    values: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Table:
    """All tables that a map names, one after the other.

    Attributes:
      rows: of all of them.
      files: {name: file} of the tables themselves.
      unread: names of columns that are not used.
    """

    rows: list[Row]
    files: dict[str, Path]
    unread: tuple[str, ...]


def read_tables(index: FileIndex, columns: ColumnMap) -> Table:
    """Reads every row of the tables that are named.

    Raises:
      InputError: if one is missing or broken, or lacks a column that is used.
    """
    if columns.tables == (FILES,):
        lines = [(i, name) for i, name in enumerate(index.files, 1)]
        found = list(_take_apart(lines, str(index.root), columns.row_pattern, skip_others=True))
        _check_columns(str(index.root), re.compile(columns.row_pattern).groupindex, columns)
        return Table([Row(where, values) for where, values in found], {}, ())
    rows, files, names = [], {}, []
    splits = columns.table_splits or [""] * len(columns.tables)
    for table, split in zip(columns.tables, splits, strict=True):
        name, path = index.find_table(table, "tables")
        files[name] = path
        its_names, its_rows = _read_table(path, columns)
        _check_columns(str(path), its_names, columns)
        names += its_names
        made = {TABLE_SPLIT: split} if split else {}
        rows += [Row(where, values | made) for where, values in its_rows]
    if not rows:
        raise InputError(
            f"{index.root}: {', '.join(files)} has no rows; check data.manifest.tables"
        )
    used = _used_columns(columns)
    unread = tuple(dict.fromkeys(name for name in names if name and name not in used))
    return Table(rows, files, unread)


def read_list(path: Path, encoding: str) -> list[str]:
    """The lines of a list of films, without empty ones."""
    return [line.strip() for line in _read_text(path, encoding).splitlines() if line.strip()]


def shared_value(rows: Sequence[Row], template: str) -> str:
    """What all rows of a film say; an InputError where they differ."""
    first = fill(template, rows[0].values)
    for row in rows[1:]:
        value = fill(template, row.values)
        if value != first:
            raise InputError(
                f"{row.where}: {template!r} is {value!r}, but {first!r} at {rows[0].where} for the "
                "same film; correct one of them"
            )
    return first


def _read_table(
    path: Path, columns: ColumnMap
) -> tuple[Sequence[str], Iterable[tuple[str, dict[str, str]]]]:
    """Returns (names of the columns, (where, cells by column) of each row)."""
    text, has_header = _read_text(path, columns.encoding), columns.header == "yes"
    if columns.row_pattern:
        lines = list(enumerate(text.splitlines(), 1))[int(has_header) :]
        names = tuple(re.compile(columns.row_pattern).groupindex)
        return names, _take_apart(lines, str(path), columns.row_pattern)
    try:
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=DELIMITERS[columns.delimiter],
            skipinitialspace=columns.delimiter == "space",
        )
        lines = [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as a table ({error}); save it again") from error
    names = tuple(name.strip() for name in lines[0][1]) if has_header and lines else ()
    names = columns.columns or names
    lines = lines[int(has_header) :]
    return names, [
        (f"{path} line {line}", _name_cells(f"{path} line {line}", names, cells, columns=columns))
        for line, cells in lines
        if any(cell.strip() for cell in cells)
    ]


def _name_cells(
    where: str, names: Sequence[str], cells: list[str], *, columns: ColumnMap
) -> dict[str, str]:
    if any(cells[len(names) :]) and columns.extra_cells == "refuse":
        raise InputError(
            f"{where}: has {len(cells)} cells for {len(names)} columns; put quotes around cells "
            "with the delimiter, name the columns (data.manifest.columns), or set "
            "data.manifest.extra_cells to 'ignore' where all that is used stands before the surplus"
        )
    cells = cells + [""] * (len(names) - len(cells))
    return {name: cell.strip() for name, cell in zip(names, cells, strict=False) if name}


def _take_apart(
    lines: Iterable[tuple[int, str]], source: str, pattern: str, *, skip_others: bool = False
) -> Iterable[tuple[str, dict[str, str]]]:
    """Yields (where, named groups) of each line."""
    compiled = re.compile(pattern)
    for line, text in lines:
        where = f"{source} line {line}" if not skip_others else f"{source}: {text}"
        found = compiled.fullmatch(text.strip())
        if found:
            yield where, {name: (value or "").strip() for name, value in found.groupdict().items()}
        elif text.strip() and not skip_others:
            raise InputError(
                f"{where}: {text.strip()[:80]!r} is not of the form data.manifest.row_pattern; "
                "correct the line or the pattern"
            )


def _read_text(path: Path, encoding: str) -> str:
    """A whole file; a byte order mark, which spreadsheets write, is no part of it."""
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except _BROKEN as error:
        raise InputError(f"{path}: cannot be read ({error}); restore it") from error
    try:
        return data.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeError:
        raise InputError(
            f"{path}: is not {encoding} text; set data.manifest.encoding to what it is, such as "
            "latin-1, or save it as CSV in UTF-8"
        ) from None


def _used_columns(columns: ColumnMap) -> dict[str, str]:
    """{column: the field that names it}."""
    used = {}
    for field, template in columns.templates.items():
        made = {TABLE_SPLIT} if columns.table_splits else set()
        made |= {STEM} if field == "mask" else set()
        for column in columns_of(template):
            if column not in made:
                used.setdefault(column, field)
    return used


def _check_columns(where: str, names: Iterable[str], columns: ColumnMap) -> None:
    """Every column that is used must be there, once."""
    counts = collections.Counter(list(names))
    for column, field in _used_columns(columns).items():
        if counts[column] > 1:
            raise InputError(f"{where}: has two columns {column!r}; rename or remove one of them")
        if not counts[column]:
            raise InputError(
                f"{where}: has no column {column!r} (columns found: "
                f"{', '.join(filter(None, counts)) or 'none'}); correct data.manifest.{field}"
                f"{' or data.positive_class' if 'label' in field else ''}, or say "
                "how the table is written (data.manifest.delimiter, .header, .columns)"
            )
