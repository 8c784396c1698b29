"""What is timed at which values, and what a row's cost is."""

import pytest
from timings import make_timed

from benchmarks import growth
from benchmarks.make_run import Side
from cxr_jax.errors import InputError
from cxr_jax.runtime.workdir import mark_done
from experiments.command import main, parse

# ml_collections loads a config file in a way that Python deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def test_a_row_costs_what_an_image_takes_beside_the_first_row_in_the_same_round():
    first, second = make_timed(1.0, 2.0, 4.0, images=32), make_timed(4.0, 8.0, 8.0, images=64)
    assert growth.cost(first, first) == 1.0
    assert growth.cost(second, first) == 2.0  # of 2, 2 and 1


def test_each_group_changes_one_field(monkeypatch):
    seen = {}

    def race(entrants, rounds):
        seen.update(entrants)
        return {name: make_timed(1.0, images=8) for name in entrants}

    monkeypatch.setattr(growth, "race", race)
    for group, values in (
        ("gan_size", growth.SIZES),
        ("gan_batch", growth.BATCHES),
        ("gan_devices", growth.DEVICES),
        ("inversion_batch", growth.BATCHES),
    ):
        seen.clear()
        rows = growth.measure(group, rounds=1)
        assert list(rows) == [str(value) for value in values]
        told = {" ".join(each.command) + str(each.environment) for each in seen.values()}
        assert len(told) == len(values)
    one_device = growth.measure("gan_devices", rounds=1) and seen["1"].environment
    assert one_device["JAX_NUM_CPU_DEVICES"] == "1"


def test_films_are_explained_by_the_finished_run_and_the_first_call_compiles(tmp_path, monkeypatch):
    taken = []

    def take(side, task, config, overrides):
        assert (side.workdir / "gan" / "done.json").exists()
        assert side.programs == side.workdir.parent / "programs"  # of all, so the first compiles
        taken.append((side.workdir.name, overrides[-1]))
        return {"seconds": 64.0, "cpu_seconds": 1.0, "peak_gib": 1.0}

    for task in growth.TRAINED:
        (tmp_path / "source" / task).mkdir(parents=True)
        mark_done(tmp_path / "source" / task)
    monkeypatch.setattr(Side, "take", take)
    argv = [f"--workdir={tmp_path / 'runs'}", f"--source={tmp_path / 'source'}", "--out="]
    *_, found = growth.run(parse(growth.STUDY, [*argv, "--only=films"]))
    assert taken == [
        ("films16_first", "--config.explain.num_images=16"),
        ("films16", "--config.explain.num_images=16"),
        ("films64", "--config.explain.num_images=64"),
        ("films256", "--config.explain.num_images=256"),
    ]
    assert [row["seconds_a_film"] for row in found["films"].values()] == [4.0, 1.0, 0.25]
    assert "| 64 | 64 | 1 | 1 | 1 |" in growth.to_markdown(found).splitlines()
    with pytest.raises(InputError, match="films16_first is there already"):
        list(growth.run(parse(growth.STUDY, [*argv, "--only=films"])))


def test_an_unknown_group_is_named_with_those_that_there_are(capsys):
    assert main("benchmarks", {"growth": growth.STUDY}, ["growth", "--only=nope", "--out="]) == 2
    assert "gan_size" in capsys.readouterr().err
