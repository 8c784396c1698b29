"""Entries as tables for people."""

import pytest

from experiments import markdown

NULL = {"mean": None, "reason": "not judged"}


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (None, "–"),
        (NULL, "–"),
        ({"mean": 0.12345, "ci95": [0.1, 0.2]}, "0.123 [0.100, 0.200]"),
        ({"mean": -0.5, "ci95": None}, "-0.500"),
        ({"mean": 0.0}, "0.000"),
    ],
)
def test_cell(entry, text):
    assert markdown.cell(entry) == text


def test_entry_table():
    rows = {"linear": {"length": {"mean": 1.0}}, "pixel": {"length": NULL, "other": {"mean": 2}}}
    text = markdown.entry_table(rows, ("length", "structure"), "path")
    assert text.splitlines() == [
        "| path | length | structure |",
        "|---|---|---|",
        "| `linear` | 1.000 | – |",
        "| `pixel` | – | – |",
    ]


def test_a_cell_of_fewer_films_says_of_how_many():
    row = {
        "flips": {"mean": 0.5, "images": 8},
        "transfer": {"mean": 2.0, "images": 3},
        "none": NULL,
    }
    text = markdown.entry_table({"ray": row}, tuple(row), "path", films=8)
    assert text.splitlines()[-1] == "| `ray` | 0.500 | 2.000 (3) | – |"


def test_a_bar_in_a_cell_is_none_between_cells():
    text = markdown.entry_table({"a|b": {"f | h": {"mean": 1.0}}}, ["f | h"], "run")
    assert text.splitlines()[::2] == [r"| run | f \| h |", r"| `a\|b` | 1.000 |"]
