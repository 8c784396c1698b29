"""Parameters in training beside their moving average, by hand."""

import jax.numpy as jnp
import optax
import pytest

from cxr_jax.training import ema

SGD = optax.sgd(0.5)


def start() -> ema.EmaState:
    params = {"layer": {"weight": jnp.float32(1.0), "running": jnp.float32(3.0)}}
    return ema.init_state(params, SGD)


GRADIENT = {"layer": {"weight": jnp.float32(2.0), "running": jnp.float32(0.0)}}


def test_a_step_goes_down_the_gradient_and_the_average_follows():
    state = start()
    assert state.ema == state.params and int(state.step) == 0
    for number, (weight, average) in enumerate([(0.0, 0.8), (-1.0, 0.44)], start=1):
        state = ema.update(state, GRADIENT, SGD, decay=0.8)
        assert int(state.step) == number
        assert float(state.params["layer"]["weight"]) == weight
        assert float(state.ema["layer"]["weight"]) == pytest.approx(average)
    assert float(state.ema["layer"]["running"]) == 3.0


def test_what_is_measured_is_not_learned():
    measured = {"layer": {"running": jnp.float32(5.0)}}
    state = ema.update(start(), GRADIENT, SGD, decay=0.5, statistics=measured)
    assert float(state.params["layer"]["running"]) == 5.0
    assert float(state.ema["layer"]["running"]) == 4.0
    assert float(state.params["layer"]["weight"]) == 0.0


def test_replacing_leaves_keeps_all_others():
    params = {"a": {"x": 1, "y": 2}, "b": {"z": 3}}
    assert ema.replace(params, {"a": {"y": 7}}) == {"a": {"x": 1, "y": 7}, "b": {"z": 3}}
    assert ema.replace(params, {}) == params
