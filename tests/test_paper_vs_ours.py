"""The comparison says which of two is better, and says it of every row."""

import json

import numpy as np
import pytest

from benchmarks import paper_vs_ours
from benchmarks.paper_vs_ours import ROWS, Row


@pytest.mark.parametrize(
    ("ours", "paper", "more_is_better", "verdict"),
    [
        (2.0, 1.0, True, True),
        (2.0, 1.0, False, False),
        (1.0, 2.0, False, True),
        (1.0, 1.0, True, False),  # as good is not better
        (None, 1.0, True, None),
    ],
)
def test_better(ours, paper, more_is_better, verdict):
    row = Row((), more_is_better)
    assert paper_vs_ours.better({"mean": ours}, {"mean": paper}, row) is verdict


def report(value: float) -> dict:
    tree: dict = {"config": {}}
    for row in ROWS.values():
        node = tree
        for key in row.keys[:-1]:
            node = node.setdefault(key, {})
        if row.keys:
            node[row.keys[-1]] = {"mean": value, "ci95": [value, value]}
    return tree


def test_every_row_is_compared_and_printed(tmp_path, monkeypatch):
    workdirs = {}
    for system, value in (("ours", 0.75), ("paper", 0.25)):
        workdirs[system] = tmp_path / system
        (workdirs[system] / "explain").mkdir(parents=True)
        (workdirs[system] / "explain" / "metrics.json").write_text(json.dumps(report(value)))
    measured = {name: {"mean": 1.0} for name, row in ROWS.items() if not row.keys}
    monkeypatch.setattr(paper_vs_ours, "measure", lambda config, workdir: measured)
    table = paper_vs_ours.compare(workdirs)
    assert list(table) == list(ROWS)
    for name, row in ROWS.items():
        assert table[name]["ours_is_better"] is (bool(row.keys) and row.more_is_better)
    lines = paper_vs_ours.to_markdown(table, "few steps").splitlines()
    assert "| twin_error | 0.750 [0.750, 0.750] | 0.250 [0.250, 0.250] | paper |" in lines
    assert "| on_target | 0.750 [0.750, 0.750] | 0.250 [0.250, 0.250] | ours |" in lines


def test_the_rate_is_the_median_interval(tmp_path):
    (tmp_path / "gan").mkdir()
    rates = [1.0, 100.0, 90.0, 110.0]  # the first interval compiles
    lines = [json.dumps({"step": i, "images_per_second": rate}) for i, rate in enumerate(rates)]
    (tmp_path / "gan" / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert paper_vs_ours.training_rate(tmp_path) == pytest.approx(np.median(rates))
