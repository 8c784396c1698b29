"""All figures that this project states as targets, with what was measured of them.

docs/results/claims.json is a list of rows:

  study, name        what is measured
  at_least, at_most  the target, one of the two; neither where none is set yet
  by_interval        true where the whole interval must meet it, not the value alone
  value, ci95        what was measured; null until it is
  commit             by which it was
  command            that measures it
  source             [file, "results", key, ...]: the entry of a result file that the value is read
                     from; null until there is one
  target             where the target is itself measured: {"times", "greatest_of": [source, ...]}
  of_present_method  false where the value is of an older version of the method

What can be read is read again by `python -m experiments claims`; targets are set by hand.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments import results
from experiments.markdown import table
from experiments.reading import entry_of

FILE = "claims.json"
BOUNDS = ("at_least", "at_most")


def load(out: Path) -> list[dict]:
    """The rows."""
    return json.loads((out / FILE).read_text())


def read_source(out: Path, source: Sequence[str]) -> tuple[dict, dict]:
    """The entry that [file, key, ...] names, and how its file was measured."""
    file, *keys = source
    document = json.loads((out / file).read_text())
    measured = document["measured"]
    return entry_of(document, keys), measured.get("carried_over", {}).get(keys[1], measured)


def refresh(row: Mapping, out: Path) -> dict:
    """A row with what its sources say now; one without a source as it is."""
    if row["source"] is None:
        return dict(row)
    entry, measured = read_source(out, row["source"])
    row = {**row, "value": entry["mean"], "ci95": entry.get("ci95"), "commit": measured["commit"]}
    row.pop("of_present_method", None)
    if not results.is_current(measured):
        row["of_present_method"] = False
    if "target" in row:
        rivals = [read_source(out, each)[0]["mean"] for each in row["target"]["greatest_of"]]
        (bound,) = (bound for bound in BOUNDS if bound in row)
        row[bound] = row["target"]["times"] * max(rivals)
    return row


def verdict(row: Mapping) -> str:
    """Whether the value meets its target."""
    if not set(BOUNDS) & row.keys():
        return "no target"
    if row["value"] is None:
        return "not measured"
    if row.get("by_interval") and not row["ci95"]:
        return "no interval"
    low, high = row["ci95"] if row.get("by_interval") else (row["value"], row["value"])
    met = low >= row["at_least"] if "at_least" in row else high <= row["at_most"]
    older = "" if results.is_current(row) else ", of an older version of the method"
    return ("met" if met else "**falls short**") + older


def cells(row: Mapping) -> list[str]:
    """A line of the table."""
    signs = {"at_least": "≥", "at_most": "≤"}
    target = [f"{sign} {row[bound]:.3g}" for bound, sign in signs.items() if bound in row]
    value = "–" if row["value"] is None else f"{row['value']:.3f}"
    if row["ci95"]:
        value += " [{:.3f}, {:.3f}]".format(*row["ci95"])
    commit = f"`{row['commit']}`" if row["commit"] else ""
    bound, command = "".join(target), f"`{row['command']}`"
    return [row["study"], row["name"], bound, value, verdict(row), commit, command]


def to_markdown(rows: Sequence[Mapping]) -> str:
    """The table for people."""
    said = [verdict(row) for row in rows]
    met, missed = said.count("met"), sum(each.startswith("**") for each in said)
    older = sum(each.startswith("met,") for each in said)
    unknown = said.count("not measured")
    undecided = sum(not set(BOUNDS) & row.keys() for row in rows)
    head = ["study", "figure", "target", "measured", "", "commit", "command"]
    lines = [
        "## Targets, and what was measured of them",
        "",
        f"{len(rows) - undecided} targets: {met} met, {older} met by an older version of the "
        f"method alone, {missed} missed, {unknown} not measured.",
        "",
        *table(head, map(cells, rows)),
    ]
    return "\n".join(lines) + "\n"


def run(out: Path) -> None:
    """Reads every target's value anew from the results, and says which fall short."""
    rows = [refresh(row, out) for row in load(out)]
    (out / FILE).write_text(json.dumps(rows, indent=1) + "\n")
    text = to_markdown(rows)
    (out / "claims.md").write_text(text)
    print(text)
