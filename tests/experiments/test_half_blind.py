"""Which runs the study of half-blind classifiers reads, and what it makes of them."""

import dataclasses
import json

import numpy as np
import pytest

from cxr_jax.errors import InputError
from cxr_jax.explain.paths import DIRECTIONS
from cxr_jax.report.arrays import save_scores
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


def write_run(workdir, path: str, *, row: int, straight: float, along: float):
    """A finished run of two films, whose chosen path flips so many of them."""
    (workdir / "explain").mkdir(parents=True)
    (workdir / "data.json").write_text(json.dumps({"contents": "the same films"}))
    walks = {
        direction: {"flip_rate_f": {"mean": along}, "flip_rate": {"mean": along}}
        for direction in DIRECTIONS
    }
    report = {
        "latent_path": path,
        "classifier": {"auroc": 0.9},
        "blind": {"used": "left", "maps": {}},
        "paths": {path: walks},
    }
    (workdir / "explain" / "metrics.json").write_text(json.dumps(report))
    np.savez(workdir / "explain" / "walks.npz", rows=np.array([row, row + 1]))
    flips = lambda rate: {name: np.full(2, rate) for name in ("flip_rate_f", "flip_rate")}
    each = {direction: {"linear": flips(straight), path: flips(along)} for direction in DIRECTIONS}
    blind = {f"blind_{group}": {} for group in ("maps", *DIRECTIONS)}
    save_scores(workdir / "explain" / "scores.npz", each | blind)
    return workdir


def test_each_gan_is_told_along_its_own_path(tmp_path):
    runs = [
        write_run(tmp_path / "0", "necessary", row=0, straight=0.5, along=1.0),
        write_run(tmp_path / "1", "aligned", row=2, straight=0.5, along=0.5),
    ]
    found = half_blind.measure(runs)
    assert found["latent_path"] == "necessary, aligned"
    assert found["flips"]["pos_to_neg"]["flip_rate"] == [1.0, 0.5]
    assert found["kept"]["neg_to_pos"]["flip_rate"]["mean"] == pytest.approx(1.5)
    assert found["kept"]["neg_to_pos"]["flip_rate"]["images"] == 4


def test_the_same_films_do_not_count_twice(tmp_path):
    runs = [write_run(tmp_path / str(n), "ray", row=n, straight=1, along=1) for n in range(2)]
    with pytest.raises(InputError, match="num_skipped"):
        half_blind.measure(runs)
    half_blind.measure(runs[:1])
