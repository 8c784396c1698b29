"""The loop of every training, with a state that only counts: real ones are in test_steps.py."""

import itertools
import json
import os
import signal
import time

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.errors import InputError
from cxr_jax.runtime import parallel
from cxr_jax.runtime.checkpoint import Checkpoints
from cxr_jax.runtime.interrupts import Interrupted
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


def stop_at(number: int):
    """Steps as of `add`, during the one of this number comes a signal."""

    def step(at, state, batch):
        if at == number:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)  # until it is heard
        return add(at, state, batch)

    return step


def test_a_training_that_is_asked_to_end_is_saved_first(tmp_path):
    with pytest.raises(Interrupted, match="was stopped after step 4 of 5 and is saved") as stopped:
        run(tmp_path, step=stop_at(4))
    assert stopped.value.status == 143
    numbers = []

    def noted(number, *arguments):
        numbers.append(number)
        return add(number, *arguments)

    assert float(run(tmp_path, step=noted).total) == 15
    assert numbers == [5]
    assert [line["step"] for line in lines_of(tmp_path)] == [2, 4, 5]


def test_what_was_averaged_until_the_signal_is_recorded(tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path, step=stop_at(3))
    assert lines_of(tmp_path)[-1] == {"step": 3, "added": 3.0, "seen": 6.0}


def test_a_signal_in_the_last_step_ends_the_run_too(tmp_path):
    """What comes after the training could take minutes."""
    with pytest.raises(Interrupted, match="step 5 of 5 and is saved"):
        run(tmp_path, step=stop_at(5))
    assert float(run(tmp_path, step=lambda *_: pytest.fail("nothing is left to do")).total) == 15


def test_networks_that_are_not_finite_are_not_saved(tmp_path):
    def diverge(number, state, batch):
        state, new = add(number, state, batch)
        return (state.replace(total=jnp.float32(np.inf)) if number == 3 else state), new

    with pytest.raises(InputError, match=r"diverged: .*total is not finite"):
        run(tmp_path, log_every=5, step=diverge)  # it is saved before it is next logged
    assert not list((tmp_path / "checkpoints").glob("*"))


def test_a_folder_that_goes_is_not_written_anew(tmp_path):
    directory = tmp_path / "gan"

    def lose(number, state, batch):
        if number == 2:
            directory.rename(tmp_path / "moved")
        return add(number, state, batch)

    with pytest.raises(InputError, match="has been moved or deleted while gan was trained"):
        run(directory, log_every=5, step=lose)
    assert not directory.exists()
