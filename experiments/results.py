"""Result files: what was measured by which commit, config and command; and their pages."""

import datetime
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections

from cxr_jax.runtime.provenance import commit as commit_of
from cxr_jax.runtime.provenance import config_digest as digest_of_config
from experiments.study import Study

ROOT = Path(__file__).resolve().parents[1]
RESULTS = "docs/results"
# What stands on one line in a result file: a list of numbers, and an entry with its interval.
ON_ONE_LINE = (re.compile(r'\[\n[^]["{}]*\]'), re.compile(r'\{\n"mean": [^{}]*\}'))
DIGITS = 5  # significant ones, of a number in a result file
OLDER = "**Of an older version of the method, not measured again since.**"


# 1. By what it was measured.


def plain(tree: object) -> object:
    """A config, or several in a dictionary, as plain dictionaries."""
    if isinstance(tree, ml_collections.ConfigDict):
        return tree.to_dict()
    if isinstance(tree, Mapping):
        return {name: plain(value) for name, value in tree.items()}
    return tree


def config_digest(config: object) -> str | None:
    """SHA-256 of the canonical JSON of a resolved config, or of several; None of none."""
    if config is None:
        return None
    return digest_of_config(plain(config))


def commit() -> str | None:
    """The checkout's commit, with "-dirty" if tracked code differs from it; None without git.

    Result files do not count: studies are run one after the other, and committed together.
    """
    return commit_of(ROOT, but=(RESULTS,)) or None


def measured_now(command: str, config: object) -> dict:
    """The field `measured` of a result that is measured today by this checkout."""
    return {
        "commit": commit(),
        "config_digest": config_digest(config),
        "command": command,
        "date": datetime.date.today().isoformat(),
    }


def carry_over(results: object, earlier: Mapping, measured: Mapping) -> dict:
    """`measured`, and under `carried_over` by what those entries were that are not new.

    Args:
      results: new ones, beside which a study may hold entries of the earlier results.
      earlier: the result file that these were read from; {} if there was none.
    """
    if not isinstance(results, Mapping) or not earlier:
        return dict(measured)
    known, before = earlier["results"], dict(earlier["measured"])
    still_older = before.pop("carried_over", {})
    entries = {name: entry for name, entry in results.items() if isinstance(entry, Mapping)}
    # Whose figures an entry has: its own, or those of the one that it names.
    owners = {name: entry.get("variant", name) for name, entry in entries.items()}
    carried = {
        name: still_older.get(owner, before)
        for name, owner in owners.items()
        if owner in known and results.get(owner) is known[owner]
    }
    return dict(measured) | ({"carried_over": carried} if carried else {})


# 2. Files.


def read(out: Path | None, name: str) -> dict:
    """The result file of a study; {} if there is none."""
    path = out / f"{name}.json" if out else None
    return json.loads(path.read_text()) if path and path.exists() else {}


def rounded(tree: object) -> object:
    """A result whose numbers have DIGITS significant digits."""
    if isinstance(tree, Mapping):
        return {name: rounded(value) for name, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [rounded(value) for value in tree]
    return float(f"{tree:.{DIGITS}g}") if isinstance(tree, float) else tree


def _joined(lines: str) -> str:
    """Lines of JSON as one line; no string in them holds a line's end."""
    return re.sub(r"(?<=[\[{])\n|\n(?=[\]}])", "", lines).replace("\n", " ")


def write(out: Path | None, study: Study, results: object, measured: Mapping) -> str:
    """Writes NAME.json and, for people, NAME.md; returns the latter."""
    document = {"study": study.name, "measured": measured, "results": rounded(results)}
    text = json.dumps(document, indent=0, allow_nan=False) + "\n"
    for pattern in ON_ONE_LINE:
        text = pattern.sub(lambda found: _joined(found[0]), text)
    shown = page(json.loads(text), study)  # of what a reader of the file will find in it
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{study.name}.json").write_text(text)
        (out / f"{study.name}.md").write_text(shown)
    return shown


# 3. Pages.


def is_current(measured: Mapping) -> bool:
    """Whether a result is of the method as it is."""
    return measured.get("of_present_method", True)


def provenance(measured: Mapping) -> str:
    """By what a result was measured, in one sentence."""
    commit = f"commit `{measured['commit']}`" if measured["commit"] else "an unknown commit"
    digest = measured["config_digest"]
    config = f", config `{digest[:12]}`" if digest else ""
    text = f"Measured {measured['date']} at {commit}{config}: `{measured['command']}`."
    return text + (f" {measured['note']}" if measured.get("note") else "")


def page(document: Mapping[str, Any], study: Study) -> str:
    """A result file for people."""
    measured = document["measured"]
    lines = [] if is_current(measured) else [OLDER, ""]
    lines += [provenance(measured), ""]
    for name, before in measured.get("carried_over", {}).items():
        older = "" if is_current(before) else f"{OLDER} "
        lines += [f"`{name}`: {older}{provenance(before)}", ""]
    return "\n".join(lines) + "\n" + study.to_markdown(document["results"])
