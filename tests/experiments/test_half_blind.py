"""Which runs the study of half-blind classifiers reads, and what it makes of them."""

import dataclasses
import json

import pytest

from cxr_jax.errors import InputError
from experiments import reading
from experiments.command import parse
from experiments.studies import half_blind


@pytest.fixture
def options(tmp_path):
    """Of two finished variants, each with a config of its own."""
    for name in ("left", "left_alone"):
        explain = tmp_path / name / "explain"
        explain.mkdir(parents=True)
        (explain / "done.json").write_text("{}")
        (tmp_path / name / "config.json").write_text(json.dumps({"visible": name}))
    return parse(half_blind.STUDY, [f"--workdir={tmp_path}", "--out="])


def test_every_finished_run_is_read_with_its_own_config(options):
    assert reading.runs_below(options) == {
        name: [options.workdir / name] for name in ("left", "left_alone")
    }
    assert reading.configs_below(options) == {
        "left": {"visible": "left"},
        "left_alone": {"visible": "left_alone"},
    }
    with pytest.raises(InputError, match="seed0"):
        reading.runs_below(dataclasses.replace(options, seeds=1))
    (options.workdir / "right").mkdir()
    with pytest.raises(InputError, match="right"):
        reading.runs_below(options)


def test_the_worst_variant_is_told_of_all(options, monkeypatch):
    upper_ends = {"left": 0.01, "left_alone": 0.03}

    def measure(runs):
        (folder,) = runs
        return {"maps": {"latent": {"ci95": [0.0, upper_ends[folder.name]]}}}

    monkeypatch.setattr(half_blind, "measure", measure)
    (found,) = half_blind.run(options)
    assert list(found) == ["left", "left_alone", "all"]
    assert found["all"]["variant"] == "left_alone"
