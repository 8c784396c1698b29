"""Checkpoints: what comes back is what was saved, or one clear error."""

import gc

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cxr_jax.runtime import parallel
from cxr_jax.runtime.checkpoint import Checkpoints
from cxr_jax.errors import InputError

# When a checkpoint does not fit, Orbax drops what it was about to read.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def leave_nothing_behind():
    yield
    gc.collect()


@flax.struct.dataclass
class State:
    step: jax.Array
    params: dict
    optimizer: optax.OptState


def make_state(value: float, width: int = 4) -> State:
    params = {"dense": {"kernel": jnp.full((3, width), value), "half": jnp.bfloat16(value)}}
    return parallel.replicate(State(jnp.int32(value), params, optax.adam(1e-3).init(params)))


def save(directory, *scores: float) -> None:
    """Saves steps 1, 2, ... with these scores; each state holds its step."""
    checkpoints = Checkpoints(directory)
    for step, score in enumerate(scores, start=1):
        state = make_state(step)
        checkpoints.save(step, state, state.params, score)
    checkpoints.close()


def assert_same(one, other) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype and a.sharding == b.sharding
        np.testing.assert_array_equal(a, b)


def test_a_state_comes_back_as_it_was(tmp_path):
    save(tmp_path, 0.5)
    restored = Checkpoints(tmp_path).newest(make_state(0))
    assert_same(restored, make_state(1))
    assert parallel.is_synced(restored)


def test_a_new_run_starts_from_its_own_state(tmp_path):
    state = make_state(0)
    assert Checkpoints(tmp_path).newest(state) is state


def test_the_newest_state_and_the_best_networks(tmp_path):
    save(tmp_path, 0.5, 0.9, 0.7)
    checkpoints = Checkpoints(tmp_path)
    assert_same(checkpoints.newest(make_state(0)), make_state(3))
    assert_same(checkpoints.best(make_state(0).params), make_state(2).params)


def test_of_equally_good_networks_the_newest(tmp_path):
    save(tmp_path, 0.9, 0.9, 0.9, 0.1)
    best = Checkpoints(tmp_path).best(make_state(0).params)
    assert int(best["dense"]["half"]) in (1, 2, 3)  # all equally good
    save(tmp_path / "other", 0.1, 0.9, 0.9)
    assert_same(Checkpoints(tmp_path / "other").best(make_state(0).params), make_state(3).params)


def test_old_checkpoints_are_cleared_away(tmp_path):
    save(tmp_path, *np.linspace(0.9, 0.1, 6))
    steps = [p for p in (tmp_path / "checkpoints").iterdir() if p.is_dir()]
    assert len(steps) == 2  # the newest and the best


def test_a_step_may_be_saved_again(tmp_path):
    save(tmp_path, 0.5, 0.6)
    save(tmp_path, 0.5, 0.6, 0.7)
    assert_same(Checkpoints(tmp_path).newest(make_state(0)), make_state(3))


def test_no_checkpoint_is_an_error_that_names_the_folder(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoint") as raised:
        Checkpoints(tmp_path).best(make_state(0).params)
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize("part", ["newest", "best"])
def test_other_shapes_are_an_error_that_names_the_folder(tmp_path, part):
    save(tmp_path, 0.5)
    wider = make_state(0, width=5)
    with pytest.raises(InputError, match="does not fit this config") as raised:
        getattr(Checkpoints(tmp_path), part)(wider if part == "newest" else wider.params)
    assert str(tmp_path) in str(raised.value) and "\n" not in str(raised.value)


def test_other_names_are_an_error(tmp_path):
    save(tmp_path, 0.5)
    with pytest.raises(InputError, match="does not fit this config"):
        Checkpoints(tmp_path).best({"conv": {"kernel": jnp.zeros((3, 4))}})
