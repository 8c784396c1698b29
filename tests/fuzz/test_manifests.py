"""Tables of films and what is said of their columns, as they come."""

import tempfile
from pathlib import Path

from film_folders import picture, save
from fuzzing import both_suites, damaged, explore
from hypothesis import strategies as st

from cxr_jax.datasets.cxr_manifest import PRESETS, choose_map
from cxr_jax.datasets.cxr_manifest.manifest_films import read_manifest

NAMES = tuple(f"{kind}{i}" for kind in "ab" for i in range(4))
COLUMNS = ("film", "person", "answer", "other")
OWN = dict(tables=("films.csv",), path="film", label="answer", patient="person", negative=("b",))

CELLS = st.one_of(
    st.sampled_from(["", "a", "b", "0", "1.0", "-1", "nan", "['a']", "a|b", '"', "x/y"]),
    st.text(max_size=6),
)
COLUMN = st.sampled_from([*COLUMNS, "{film}", "{film}/{other}", "{stem}", "{", "none", "-"])
WORDS = st.lists(CELLS | st.sampled_from(["*", ">=1", "<0", "{finding}"]), max_size=3).map(tuple)
PATTERNS = st.sampled_from(
    [
        "",
        "(a)",
        "(",
        r"(?P<film>\w+),(?P<person>\w+),(?P<answer>\w+)",
        r"^(\d)",
        "((((a))))",
        "(.*)",
    ]
)
FIELDS = {
    **dict.fromkeys(("path", "mask", "patient", "source", "label", "negative_label"), COLUMN),
    **dict.fromkeys(("reader", "view", "keep", "split"), COLUMN),
    **dict.fromkeys(("positive", "negative", "uncertain", "views", "keep_values"), WORDS),
    **dict.fromkeys(("split_train", "split_validation", "split_test"), WORDS),
    **dict.fromkeys(("row_pattern", "patient_pattern", "label_pattern"), PATTERNS),
    **dict.fromkeys(
        ("train_list", "test_list"), st.sampled_from(["films.csv", "list.txt", "/", ".", "no"])
    ),
    "tables": st.sampled_from([("films.csv",), ("{files}",), (".",), ("films.csv", "list.txt")]),
    "table_splits": st.sampled_from([("train",), ("test", "val"), ("x",)]),
    "delimiter": st.sampled_from([",", ";", "|", "tab", "space"]),
    "encoding": st.sampled_from(["utf-8", "latin-1", "utf-16"]),
    "header": st.sampled_from(["yes", "no"]),
    "columns": st.lists(st.sampled_from(COLUMNS), max_size=5).map(tuple),
    "extra_cells": st.sampled_from(["refuse", "ignore"]),
    "label_kind": st.sampled_from(["value", "list", "python list"]),
    "label_separator": st.sampled_from(["|", "-", ","]),
    "label_width": st.integers(0, 9),
    "uncertain_as": st.sampled_from(["leave out", "positive", "negative"]),
    "rows": st.sampled_from(["agree", "any"]),
    "min_readers": st.integers(0, 3),
}


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """A good table, with cells exchanged and lines added."""
    rows = [[name, f"p{name}", name[0], draw(CELLS)] for name in NAMES]
    for _ in range(draw(st.integers(0, 3))):
        rows.append([draw(st.sampled_from(NAMES) | CELLS), *draw(st.lists(CELLS, max_size=5))])
    for _ in range(draw(st.integers(0, 3))):
        row = draw(st.sampled_from(rows))
        row[draw(st.integers(0, len(row) - 1))] = draw(CELLS)
    text = "\n".join(",".join(cells) for cells in [COLUMNS, *rows])
    return text.encode("utf-8", "replace")


@st.composite
def fields(draw: st.DrawFn) -> dict[str, object]:
    """Up to four, of any map."""
    chosen = draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=4))
    return {name: draw(FIELDS[name]) for name in chosen}


def check(table: bytes, listed: bytes, given: dict, preset: str, skip: bool) -> None:
    """Each film has a label, is left out for a reason, or the table is refused."""
    own = given if preset else OWN | given
    columns = choose_map(own, preset, "a")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "films.csv").write_bytes(table)
        (root / "list.txt").write_bytes(listed)
        for i, name in enumerate(NAMES):
            save(root / "pictures" / f"{name}.png", picture(i))
        found = read_manifest(root, columns, "a", skip_missing=skip)
    films = found.table.films
    assert {film.label for film in films} == {0, 1}
    assert len({film.filename for film in films}) == len(films) == len(found.listing.films)
    assert all(found.left_out.values()) and ("not on the disk" not in found.left_out or skip)


@both_suites(quick=150, thorough=1500)
def test_manifests(num_examples):
    explore(
        check,
        num_examples,
        damaged(tables()),
        damaged(st.sampled_from([b"a0\nb0\n", b"a1\nb1\na2\nb2\n", b""])),
        fields(),
        st.sampled_from(["", "", "", *PRESETS]),
        st.booleans(),
    )
