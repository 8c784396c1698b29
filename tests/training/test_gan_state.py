"""The state of a GAN in training: its learning rate, and the memory of its average."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cxr_jax.training import gan_state


def rates(tiny_config, num_steps: int) -> np.ndarray:
    """The learning rate of every step: what Adam moves a parameter with a constant gradient."""
    tiny_config.gan.num_steps = num_steps
    optimizer = gan_state.make_optimizer(tiny_config.gan, 1.0)
    params = jnp.zeros(())
    state, moves = optimizer.init(params), []
    update = jax.jit(optimizer.update)
    for _ in range(num_steps):
        move, state = update(jnp.ones(()), state)
        moves.append(-float(move))
    return np.array(moves)


@pytest.mark.parametrize("num_steps", [3, 20, 60])
def test_the_learning_rate_rises_stays_and_falls(tiny_config, num_steps):
    rate = rates(tiny_config, num_steps)
    warm, fall = max(num_steps // 50, 1), num_steps * 4 // 5
    assert (np.diff(rate[: warm + 1]) > 0).all()
    np.testing.assert_allclose(rate[warm : fall + 1], 1.0, rtol=1e-3)
    assert (np.diff(rate[fall:]) < 0).all() and rate[-1] >= 0.1


SGD = gan_state.Optimizers(generator=optax.sgd(0.5), discriminator=optax.sgd(0.25))


def start() -> gan_state.GanState:
    params = lambda value: {"layer": {"weight": jnp.float32(value), "running": jnp.float32(value)}}
    return gan_state.init_state({"generator": params(1.0)}, {"image": params(2.0)}, SGD)


def test_the_players_move_by_their_own_optimisers():
    state, up = start(), jnp.float32(1.0)
    gradient = {"layer": {"weight": up, "running": up}}
    moved = gan_state.update_generator(
        state, {"generator": gradient}, SGD.generator, ema_half_life=50.0
    )
    assert float(moved.generator["generator"]["layer"]["weight"]) == 0.5
    assert moved.discriminator == state.discriminator and moved.step == 0
    moved = gan_state.update_discriminator(state, {"image": gradient}, SGD.discriminator)
    assert float(moved.discriminator["image"]["layer"]["weight"]) == 1.75
    assert moved.generator == state.generator and moved.ema == state.ema


@pytest.mark.parametrize(
    ("step", "half_life", "share"),
    [
        (0, 50.0, 1.0),  # the first average is all of the new
        (10, 50.0, 0.5),  # a half-life of a tenth of the run so far: one step
        (1000, 50.0, 1 - 0.5 ** (1 / 50)),
    ],
)
def test_the_average_remembers_more_of_a_longer_run(step, half_life, share):
    state = dataclasses.replace(start(), step=jnp.int32(step))
    gradient = {"generator": {"layer": {"weight": jnp.float32(2.0), "running": jnp.float32(0.0)}}}
    moved = gan_state.update_generator(state, gradient, SGD.generator, ema_half_life=half_life)
    assert float(moved.generator["generator"]["layer"]["weight"]) == 0.0
    found = float(moved.ema["generator"]["layer"]["weight"])
    assert found == pytest.approx(1 - share, abs=1e-5)


def test_statistics_are_put_in_their_place():
    gradient = {"generator": {"layer": {"weight": jnp.float32(2.0), "running": jnp.float32(0.0)}}}
    measured = {"generator": {"layer": {"running": jnp.float32(7.0)}}}
    moved = gan_state.update_generator(
        start(), gradient, SGD.generator, ema_half_life=50.0, statistics=measured
    )
    for params in (moved.generator, moved.ema):
        assert float(params["generator"]["layer"]["running"]) == 7.0
