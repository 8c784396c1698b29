"""The committed pages are what their JSON renders to."""

import json
import re

import pytest

from experiments import results, tables
from experiments.results import ROOT

OUT = ROOT / results.RESULTS
NAMES = sorted(path.name for path in OUT.glob("*.json") if path.name != "claims.json")


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return tables.render(OUT)


def test_every_page_is_rendered_and_no_other_is_there(pages):
    assert {path.name for path in OUT.glob("*.md")} == pages.keys()
    assert {path.stem for path in OUT.glob("*.json")} == {name[:-3] for name in pages} - {"index"}


@pytest.mark.parametrize("name", [*(f"{name[:-5]}.md" for name in NAMES), "claims.md", "index.md"])
def test_a_committed_page_is_what_its_json_renders_to(name, pages):
    shown = (OUT / name).read_text()
    assert shown == pages[name], "run `python -m experiments tables`"


@pytest.mark.parametrize("name", NAMES)
def test_every_result_says_by_what_it_was_measured(name):
    document = json.loads((OUT / name).read_text())
    assert document.keys() == {"study", "measured", "results"}
    assert f"{document['study']}.json" == name and document["study"] in tables.ALL
    measured = document["measured"]
    assert {"commit", "config_digest", "command", "date"} <= measured.keys()
    assert re.fullmatch(r"[0-9a-f]{7,}(-dirty)?", measured["commit"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", measured["date"])
    assert measured["config_digest"] or measured["note"]


@pytest.mark.parametrize(
    ("name", "keys"),
    [("fidelity", ("default", "config")), ("inversion", ("config",)), ("lookalikes", ("config",))],
)
def test_a_result_s_digest_is_of_the_config_that_it_holds(name, keys):
    document = results.read(OUT, name)
    config = document["results"]
    for key in keys:
        config = config[key]
    assert document["measured"]["config_digest"] == results.config_digest(config)


def test_what_is_older_says_so_in_its_first_line_and_in_the_index(pages):
    older = {name for name in NAMES if not results.is_current(_measured(name))}
    assert older >= {f"{name}.json" for name in ("ablations", "audit", "intervention")}
    for name in NAMES:
        page, row = pages[f"{name[:-5]}.md"], f"[{name[:-5]}]"
        assert page.startswith(results.OLDER) == (name in older)
        (line,) = (line for line in pages["index.md"].splitlines() if row in line)
        assert line.endswith("older version |") == (name in older)


def _measured(name: str) -> dict:
    return json.loads((OUT / name).read_text())["measured"]


def test_no_result_names_a_folder_of_somebody_s_machine():
    for path in OUT.glob("*.json"):
        assert not re.search(r'"(/|~)\w', path.read_text()), path.name
