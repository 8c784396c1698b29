"""The loop of every training, with a state that only counts: real ones are in test_steps.py."""

import itertools
import json

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.errors import InputError
from cxr_jax.runtime import parallel
from cxr_jax.runtime.checkpoint import Checkpoints
from cxr_jax.training import loop
from cxr_jax.training.loop import Plan, Snapshot

ROWS = 4


@flax.struct.dataclass
class Sum:
    step: jax.Array
    total: jax.Array


Mean = loop.make_averages("added")


def ramp(start: int):
    """Batches of the numbers 1, 2, 3 ... of the steps."""
    return ({"x": np.full(ROWS, n + 1, np.float32)} for n in itertools.count(start))


def add(number: int, state: Sum, batch: dict) -> tuple[Sum, Mean]:
    """Adds the batch's number up, and checks that it is the step's."""
    value = float(np.asarray(batch["x"]).mean())
    assert number == int(state.step) + 1
    new = Sum(state.step + 1, state.total + value)
    return new, Mean.single_from_model_output(added=jnp.float32(value))


def snapshot(state: Sum) -> Snapshot:
    """The highest score is that of the state at 6."""
    return Snapshot(
        variables={"total": state.total},
        score=-abs(float(state.total) - 6),
        figures={"seen": float(state.total)},
    )


def run(directory, num_steps=5, log_every=2, save_every=3, step=add) -> Sum:
    plan = Plan(num_steps=num_steps, batch_size=ROWS, log_every=log_every, save_every=save_every)
    fresh = Sum(jnp.int32(0), jnp.float32(0))
    return loop.train(directory, plan, fresh, step=step, batches=ramp, snapshot=snapshot)


def lines_of(directory) -> list[dict]:
    lines = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in lines]


def best_of(directory) -> float:
    found = Checkpoints(directory).best(parallel.replicate({"total": jnp.float32(0)}))
    return float(found["total"])


def test_steps_are_averaged_over_their_interval_and_the_last_is_logged_too(tmp_path):
    assert float(run(tmp_path).total) == 15
    assert lines_of(tmp_path) == [
        {"step": 2, "added": 1.5},
        {"step": 4, "added": 3.5},
        {"step": 5, "added": 5.0, "seen": 15.0},
    ]


def test_the_best_networks_are_those_with_the_highest_score(tmp_path):
    run(tmp_path)  # saved after step 3, with a total of 6, and after step 5
    assert best_of(tmp_path) == 6


def test_of_no_steps_the_beginning_is_saved(tmp_path):
    assert float(run(tmp_path, num_steps=0).total) == 0
    assert best_of(tmp_path) == 0
    assert lines_of(tmp_path) == []


def test_a_longer_plan_goes_on_from_the_newest_state(tmp_path):
    run(tmp_path, num_steps=3)
    numbers = []

    def noted(number, *arguments):
        numbers.append(number)
        return add(number, *arguments)

    assert float(run(tmp_path, num_steps=5, step=noted).total) == 15
    assert numbers == [4, 5]


def test_what_is_not_finite_is_not_saved(tmp_path):
    def diverge(number, state, batch):
        state, new = add(number, state, batch)
        spoilt = Mean.single_from_model_output(added=jnp.float32(np.nan))
        return state, spoilt if number == 5 else new

    with pytest.raises(InputError, match="diverged: added is nan at step 5"):
        run(tmp_path, step=diverge)
    assert float(run(tmp_path, num_steps=3).total) == 6  # the state of step 3 is the newest


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(tmp_path):
    run(tmp_path)  # saved after steps 3 and 5
    newest = tmp_path / "checkpoints" / "5" / "training"
    for file in newest.rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    numbers = []

    def noted(number, *arguments):
        numbers.append(number)
        return add(number, *arguments)

    assert float(run(tmp_path, step=noted).total) == 15
    assert numbers == [4, 5]
    assert [line["step"] for line in lines_of(tmp_path)] == [2, 4, 5]
    assert (tmp_path / "damaged" / "5").exists()
