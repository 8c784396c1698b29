"""No step computes more than it did, unless a change says so: it records the costs anew."""

import json

import pytest

from benchmarks import step_costs, steps
from experiments.command import load_config
from experiments.results import RESULTS, ROOT

# ml_collections loads a config file in a way that Python deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

RECORDED = json.loads((ROOT / RESULTS / "step_costs.json").read_text())["results"]
OURS, PAPERS = (
    [pytest.param(file, name, id=f"{name}-{file}") for name in RECORDED[file]]
    for file in step_costs.CONFIGS
)
REMEDY = "if it is meant: python -m benchmarks step_costs"


def test_every_step_of_every_config_is_recorded():
    assert tuple(RECORDED) == step_costs.CONFIGS
    for file, costs in RECORDED.items():
        assert list(costs) == steps.names(load_config(file))


@pytest.mark.parametrize("file, name", OURS)
def test_a_step_computes_what_is_recorded(file, name):
    compare(file, name)


@pytest.mark.slow
@pytest.mark.parametrize("file, name", PAPERS)
def test_so_does_one_of_the_papers_system(file, name):
    compare(file, name)


def compare(file: str, name: str) -> None:
    found, recorded = step_costs.step_cost(load_config(file), name), RECORDED[file][name]
    assert found["images"] == recorded["images"], REMEDY
    assert found["gflop"] == pytest.approx(recorded["gflop"], rel=0.02), REMEDY
    assert found["gbyte"] == pytest.approx(recorded["gbyte"], rel=0.05), REMEDY


def test_a_table_has_a_row_for_each_step():
    cost = {"images": 32, "gflop": 8.0, "gbyte": 1.234}
    text = step_costs.to_markdown({"configs/a.py": {"gan": cost}})
    assert "| configs/a.py | gan | 32 | 8.00 | 0.250 | 1.23 |" in text.splitlines()
