"""The split that a set gives its films: by a column, by the table they stand in, or by lists."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cxr_jax.datasets.cxr_folder.layouts import SPLIT_NAMES
from cxr_jax.datasets.cxr_manifest.column_map import TABLE_SPLIT, ColumnMap
from cxr_jax.datasets.cxr_manifest.film_files import FileIndex
from cxr_jax.datasets.cxr_manifest.table import Row, read_list, shared_value
from cxr_jax.datasets.cxr_manifest.words import matches
from cxr_jax.errors import InputError


def read_split_lists(
    index: FileIndex, columns: ColumnMap
) -> tuple[dict[str, str], dict[str, Path]]:
    """Returns ({name in a list: its split}, {list: its file}).

    Raises:
      InputError: if a list is missing, or a film is in two.
    """
    split_of: dict[str, str] = {}
    files = {}
    for split, name in columns.split_lists.items():
        name, path = index.find_table(name, f"{split}_list")
        files[name] = path
        for film in read_list(path, columns.encoding):
            if split_of.setdefault(film, split) != split:
                raise InputError(
                    f"{path}: lists {film}, which is in the list of {split_of[film]} too; keep it "
                    "in one"
                )
    return split_of, files


def split_films(
    labels: Iterable[str],
    named: Mapping[str, Sequence[Row]],
    columns: ColumnMap,
    *,
    lists: Mapping[str, str],
) -> dict[str, str | None]:
    """{path: the split that is given}, but for films that should be in a list and are in none.

    Raises:
      InputError: if a split's word is not known.
    """
    splits = {path: _split_of(path, named[path], columns, lists=lists) for path in labels}
    return {path: split for path, split in splits.items() if split != ""}


def _split_of(
    path: str, rows: Sequence[Row], columns: ColumnMap, *, lists: Mapping[str, str]
) -> str | None:
    """The split that is given; "" if no list has the film, None to split by patient."""
    if columns.table_splits:
        return SPLIT_NAMES[shared_value(rows, f"{{{TABLE_SPLIT}}}").casefold()]
    if columns.split_lists:
        return lists.get(path) or lists.get(path.rpartition("/")[2]) or ""
    if not columns.split:
        return None
    value = shared_value(rows, columns.split)
    for split, words in columns.split_words.items():
        if matches(value, words):
            return split
    raise InputError(
        f"{rows[0].where}: {columns.split!r} is {value!r}, which is no split; say which values "
        "mean which (data.manifest.split_train, .split_validation, .split_test), or set "
        "data.manifest.split to '-' to split by patient"
    )
