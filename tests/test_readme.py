"""The README's tables say what the results of the benchmarks say."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
RESULTS = ROOT / "benchmarks" / "results"

PATHS = json.loads((RESULTS / "fidelity.json").read_text())["phantom"]["paths"]
MAPS = json.loads((RESULTS / "fidelity.json").read_text())["phantom"]["maps"]
ABLATIONS = json.loads((RESULTS / "ablations.json").read_text())["rows"]


def cell(entry: Mapping, digits: int = 2) -> str:
    if entry["mean"] is None:
        return "–"
    low, high = entry["ci95"]
    return f"{entry['mean']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


@pytest.mark.parametrize("path", PATHS)
def test_paths(path):
    down, up = PATHS[path]["pos_to_neg"], PATHS[path]["neg_to_pos"]
    names = ("flip_rate", "flip_auc", "twin_error", "structure")
    cells = [cell(down[name]) for name in names]
    cells += [cell(up[name]) for name in ("flip_rate", "flip_auc")]
    assert f"| `{path}` | " + " | ".join(cells) + " |\n" in README


@pytest.mark.parametrize("kind", MAPS)
def test_maps(kind):
    entry = MAPS[kind]
    cells = [cell(entry["on_target"]), cell(entry["pixel_auroc_lung"]), cell(entry["lookalike"], 3)]
    assert f"| `{kind}` | " + " | ".join(cells) + " |\n" in README


@pytest.mark.parametrize("row", ABLATIONS)
def test_ablations(row):
    entry = ABLATIONS[row]
    names = ("flips pos→neg", "twin_error", "on_target", "pixel_auroc_lung")
    cells = [f"{entry['coverage']['mean']:.0%}", *(cell(entry[name]) for name in names)]
    assert f"| {row} | " + " | ".join(cells) + " |\n" in README
