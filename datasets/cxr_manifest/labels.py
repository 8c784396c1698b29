"""The rows of a film -> its label, or why it has none.

A row says 1 or 0 of a film, or a reason why it says neither. Several rows are a film's boxes, or
what several readers found: each reader's rows are taken together first, then the readers.
"""

import ast
import collections
import re
from collections.abc import Sequence

from cxr_jax.datasets.cxr_manifest.column_map import ColumnMap, fill
from cxr_jax.datasets.cxr_manifest.table import Row
from cxr_jax.datasets.cxr_manifest.words import matches
from cxr_jax.errors import InputError

Verdict = int | str  # 1 or 0; or the reason why a film is neither


def label_film(rows: Sequence[Row], columns: ColumnMap) -> Verdict:
    """The label of one film.

    Args:
      rows: all that name it.
      columns: what their cells mean.

    Raises:
      InputError: if rows contradict each other that must agree.
    """
    of_readers = collections.defaultdict(list)
    for row in rows:
        of_readers[fill(columns.reader, row.values) if columns.reader else ""].append(row)
    votes = [_join(its_rows, columns) for its_rows in of_readers.values()]
    if votes.count(1) >= columns.min_readers:
        return 1
    if votes.count(1):
        return f"fewer than {columns.min_readers} readers find it"
    return next((vote for vote in votes if vote != 0), 0)


def label_row(row: Row, columns: ColumnMap) -> Verdict:
    """What one row says."""
    column = columns.label
    values = read_values(row, columns)
    if values is None:
        return f"{column!r} has another form"
    is_positive = any(matches(value, columns.positive) for value in values)
    is_uncertain = any(matches(value, columns.uncertain) for value in values)
    others = columns.negative
    if columns.negative_label:
        values = [fill(columns.negative_label, row.values)]
    named = [word for word in others if word != "*"]
    if is_positive and any(matches(value, named) for value in values):
        return f"{column!r} is both positive and negative"
    if is_positive or is_uncertain and columns.uncertain_as == "positive":
        return 1
    if is_uncertain and columns.uncertain_as == "leave out":
        return f"{column!r} is uncertain"
    if is_uncertain or any(matches(value, others) for value in values):
        return 0
    return f"{column!r} is {'neither positive nor negative' if any(values) else 'empty'}"


def read_values(row: Row, columns: ColumnMap) -> list[str] | None:
    """The values of a row's label: one, or a list's; None if it has another form."""
    cell = fill(columns.label, row.values)
    cell = cell.zfill(columns.label_width) if columns.label_width else cell
    values = [cell]
    if columns.label_kind == "list":
        values = [value.strip() for value in cell.split(columns.label_separator)]
    elif columns.label_kind == "python list" and cell:
        values = _read_python_list(cell)
    if values is None or not columns.label_pattern:
        return values
    found = [re.search(columns.label_pattern, value) for value in values]
    return [match[1].strip() for match in found if match] or None


def _join(rows: Sequence[Row], columns: ColumnMap) -> Verdict:
    """What one reader says of a film, in all of his rows."""
    verdicts = [label_row(row, columns) for row in rows]
    if columns.rows == "agree" and len(set(verdicts)) > 1:
        other = next(i for i, verdict in enumerate(verdicts) if verdict != verdicts[0])
        raise InputError(
            f"{rows[other].where}: gives the film another label than {rows[0].where}; correct one "
            "of them, or set data.manifest.rows to 'any', where one positive row is enough"
        )
    if 1 in verdicts:
        return 1
    return next((verdict for verdict in verdicts if verdict != 0), 0)


def _read_python_list(cell: str) -> list[str] | None:
    """The texts of `['one', 'two ']`, spaces stripped."""
    try:
        values = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        return None
    return [value.strip() for value in values] or [""]
