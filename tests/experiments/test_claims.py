"""Targets and what was measured of them: no figure that its result file does not hold."""

import json

import pytest

from experiments import claims, results
from experiments.results import ROOT

OUT = ROOT / results.RESULTS
ROWS = claims.load(OUT)
FIELDS = {"study", "name", "value", "ci95", "command", "commit", "source"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_a_claim_is_what_its_source_says(row):
    further = {*claims.BOUNDS, "by_interval", "target", "of_present_method"}
    assert FIELDS <= row.keys() <= FIELDS | further
    assert len(row.keys() & set(claims.BOUNDS)) <= 1
    assert claims.refresh(row, OUT) == row, "run `python -m experiments claims`"
    if row["source"] is None:
        assert row["value"] is row["ci95"] is row["commit"] is None
        return
    file, *keys = row["source"]
    entry = json.loads((OUT / file).read_text())
    for key in keys:
        entry = entry[key]
    assert row["value"] == (entry["mean"] if isinstance(entry, dict) else entry)


def test_a_claim_is_made_once():
    assert len({row["name"] for row in ROWS}) == len(ROWS)


@pytest.fixture
def folder(tmp_path):
    """A result with a carried entry, and three claims of it."""
    found = {
        "new": {
            "ours": {"mean": 0.5, "ci95": [0.4, 0.6]},
            "one": {"mean": 0.7},
            "two": {"mean": 0.9},
        },
        "old": {"share": 0.25},
    }
    before = {"commit": "bbbbbbb", "of_present_method": False}
    measured = {"commit": "aaaaaaa", "carried_over": {"old": before}}
    document = {"study": "made_up", "measured": measured, "results": found}
    (tmp_path / "made_up.json").write_text(json.dumps(document))
    plain = dict(study="made_up", value=None, ci95=None, commit=None, command="measure it")
    source = ["made_up.json", "results"]
    rows = [
        plain | dict(name="ours", at_least=0.4, source=[*source, "new", "ours"]),
        plain
        | dict(
            name="ours_of_best",
            at_least=0.0,
            source=[*source, "new", "ours"],
            target=dict(
                times=0.5,
                greatest_of=[[*source, "new", "one"], [*source, "new", "two"]],
            ),
        ),
        plain | dict(name="share", at_most=0.2, source=[*source, "old", "share"]),
        plain | dict(name="to_come", at_most=0.2, source=None),
        plain | dict(name="undecided", source=None),
    ]
    (tmp_path / claims.FILE).write_text(json.dumps(rows))
    return tmp_path


def test_values_and_measured_targets_are_read_anew(folder, capsys):
    claims.run(folder)
    ours, best, share, to_come, _ = claims.load(folder)
    assert (ours["value"], ours["ci95"], ours["commit"]) == (0.5, [0.4, 0.6], "aaaaaaa")
    assert best["at_least"] == 0.5 * 0.9
    assert (share["value"], share["ci95"], share["commit"]) == (0.25, None, "bbbbbbb")
    assert share["of_present_method"] is False and to_come["value"] is None
    printed = capsys.readouterr().out
    assert printed.startswith((folder / "claims.md").read_text())
    assert "4 targets: 2 met, 0 met by an older version of the method alone, 1 missed" in printed
    (line,) = (line for line in printed.splitlines() if "| share |" in line)
    assert "≤ 0.2 | 0.250 | **falls short**, of an older version" in line


@pytest.mark.parametrize(
    ("bound", "said"),
    [
        (dict(at_least=0.5), "met"),
        (dict(at_least=0.6), "**falls short**"),
        (dict(at_most=0.5), "met"),
        (dict(at_most=0.4), "**falls short**"),
        ({}, "no target"),
    ],
)
def test_a_value_is_held_against_its_target(bound, said):
    assert claims.verdict({"value": 0.5, **bound}) == said
    assert claims.verdict({"value": None, **bound}) == ("not measured" if bound else said)


@pytest.mark.parametrize(
    ("bound", "said"),
    [
        (dict(at_least=0.35), "met"),
        (dict(at_least=0.45), "**falls short**"),
        (dict(at_most=0.65), "met"),
        (dict(at_most=0.55), "**falls short**"),
    ],
)
def test_a_whole_interval_may_have_to_meet_the_target(bound, said):
    assert claims.verdict({"value": 0.5, "ci95": [0.4, 0.6], "by_interval": True, **bound}) == said
