"""How throughput is timed and told."""

import jax.numpy as jnp
import pytest

from benchmarks import throughput
from experiments.command import main, parse
from experiments.study import Options

# ml_collections loads a config file in a way that Python deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def test_the_median_call_counts_and_the_first_does_not(monkeypatch):
    clock = iter([0.0, 1.0, 10.0, 12.0, 20.0, 29.0])  # calls of 1, 2 and 9 seconds
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(clock))
    calls = []

    def call(state):
        calls.append(float(state))
        return state + 1

    assert throughput.seconds(call, jnp.float32(0), calls=3) == 2.0
    assert calls == [0.0, 1.0, 2.0, 3.0]


def measured(monkeypatch, known=None) -> dict:
    """What a run yields whose steps are not timed."""
    monkeypatch.setattr(
        throughput, "MEASURES", {"gan": lambda config, calls: 10.06 * calls, "encoder": None}
    )
    monkeypatch.setattr(throughput.steps, "names", lambda config: ["gan"])
    options = parse(throughput.STUDY, ["--config=configs/phantom.py:tiny", "--calls=2", "--out="])
    fields = {**vars(options), "earlier": {"results": known or {}}}
    (found,) = throughput.run(Options(**fields))
    return found


def test_a_config_s_rates_stand_beside_those_of_others(monkeypatch):
    found = measured(monkeypatch)
    ((name, result),) = found.items()
    assert name.startswith("phantom.py:tiny, ") and "(cpu)" in name
    assert result["images_per_second"] == {"gan": 20.1}  # and of steps that it does not take, none
    both = measured(monkeypatch, {"other": result})
    assert both == {"other": result, name: both[name]}
    line = throughput.to_markdown(both).splitlines()[2]
    assert line.startswith("| other | 20 | – | ")


def test_the_benchmarks_take_no_work_directory(capsys):
    argv = ["throughput", "--workdir=runs/phantom"]
    assert main("benchmarks", {"throughput": throughput.STUDY}, argv) == 2
    assert "takes no --workdir" in capsys.readouterr().err
