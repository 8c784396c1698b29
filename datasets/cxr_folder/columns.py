"""Which column of a table is which: by any case and separators, and by their usual other names.

A column that is nearly named as one that is missing ends in an error: it is never passed over.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path

from cxr_jax.datasets.cxr_folder.layouts import squash
from cxr_jax.errors import InputError

DEFAULT_SPLIT_COLUMN = "split"
# What we call it: as others do, without case and separators.
OTHER_NAMES = {
    "filename": (
        *("file", "filepath", "path", "image", "imagename", "imagefile", "imagefilename"),
        *("imagepath", "imageid", "imageindex", "img", "imgname", "imgpath", "film"),
    ),
    "label": ("labels", "class", "classname"),
    "patient_id": (
        *("patient", "patientid", "patientno", "patientnumber", "patientcode", "patientname"),
        *("subject", "subjectid", "subjectno", "person", "personid", "participant"),
        *("participantid", "pid"),
    ),
    "group_id": ("group",),
    "split": ("splits", "subset", "partition", "datasplit", "datasetsplit"),
    "source": (),
}
_NEAR = 0.8  # of difflib's ratio: two letters exchanged, or one left out
UNKNOWN = {"", "nan", "none", "null", "n/a", "na", "unknown", "-", "--", "?", "<na>"}


def name_columns(path: Path, columns: Sequence[str], split_column: str) -> dict[str, str]:
    """Returns {what we call it: the column's own name} of the columns that are read.

    Args:
      path: of the table, for messages.
      columns: names as they stand there.
      split_column: the column with the split, as the user calls it; "" for none.

    Raises:
      InputError: if a column is missing that must be there, or stands there under a name nearly
        its own, or several may be meant.
    """
    wanted = {name: name for name in OTHER_NAMES}
    wanted.pop("split")
    if split_column:
        wanted["split"] = split_column
    found: dict[str, str] = {}
    for ours, name in wanted.items():
        others = OTHER_NAMES[ours] if name == ours else ()
        column = _find(path, columns, name, others)
        if column is not None:
            found[ours] = column
    for ours, name in wanted.items():
        if ours not in found:
            _refuse_near(path, [c for c in columns if c not in found.values()], ours, name)
    if "filename" not in found:
        raise InputError(
            f"{path}: has no column 'filename' (columns found: {', '.join(columns) or 'none'}); "
            "add it, and separate columns by commas"
        )
    if split_column not in ("", DEFAULT_SPLIT_COLUMN) and "split" not in found:
        raise missing_split_column(path, columns, split_column)
    return found


def missing_split_column(path: Path, columns: Sequence[str], split_column: str) -> InputError:
    """The error that says that the column asked for is not there."""
    has = f"columns: {', '.join(columns)}" if columns else "there is no such file"
    return InputError(
        f"{path}: has no column {split_column!r} ({has}); set split_column to one that exists, or "
        "to '' to split by patient"
    )


def is_unknown(value: str) -> bool:
    """Whether a cell says that nothing is known: empty, or what programs and people write then."""
    return value.casefold() in UNKNOWN


def _find(path: Path, columns: Sequence[str], name: str, others: Sequence[str]) -> str | None:
    """The one column of this name, else of this name but for case, else of another usual name."""
    ways = (
        [column for column in columns if column == name],
        [column for column in columns if squash(column) == squash(name)],
        [column for column in columns if squash(column) in others],
    )
    for candidates in ways:
        if len(candidates) > 1:
            raise InputError(
                f"{path}: columns {candidates[0]!r} and {candidates[1]!r} may both be {name!r}; "
                f"call the right one {name!r} and rename or remove the other"
            )
        if candidates:
            return candidates[0]
    return None


def _refuse_near(path: Path, columns: Sequence[str], ours: str, name: str) -> None:
    """Raises InputError if a column that is not read is nearly called as one that is missing."""
    known = [squash(name), *(OTHER_NAMES[ours] if name == ours else ())]
    for column in columns:
        if difflib.get_close_matches(squash(column), known, n=1, cutoff=_NEAR):
            raise InputError(
                f"{path}: column {column!r} is nearly {name!r}, which is missing; rename it to "
                f"{name!r} if that is meant, or to something else"
            )
