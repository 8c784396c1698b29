"""Attacks: within their bounds, uphill, and one film's is not another's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.training import attack
from cxr_jax.training.attack import Attack

SHAPE = (6, 8, 8, 1)
FAST = Attack(epsilon=0.05, step_size=0.0625, num_steps=1)
THOROUGH = Attack(epsilon=0.05, step_size=0.02, num_steps=8)


@pytest.fixture
def image(key) -> jax.Array:
    return jax.random.uniform(key, SHAPE, minval=-1)


@pytest.fixture
def keys(key) -> jax.Array:
    return jax.random.split(key, SHAPE[0])


def hill(image: jax.Array) -> jax.Array:
    """Smooth, with a maximum that is out of reach: at 2 in every pixel."""
    return -jnp.square(image - 2).mean(axis=(1, 2, 3))


@pytest.mark.parametrize("strength", [FAST, THOROUGH])
def test_an_attack_stays_within_epsilon_and_the_range(strength, image, keys):
    up = attack.ascend(hill, image, keys, attack=strength)
    down = attack.ascend(lambda image: -hill(image), image, keys, attack=strength)
    for attacked in (up, down):
        assert float(jnp.abs(attacked - image).max()) <= strength.epsilon + 1e-6
        assert float(jnp.abs(attacked).max()) <= 1.0
    # The bounds are met, not kept away from.
    assert float(up.max()) == 1.0 and float(down.min()) == -1.0


@pytest.mark.parametrize("strength", [FAST, THOROUGH])
def test_an_attack_goes_uphill(strength, image, keys):
    assert (hill(attack.ascend(hill, image, keys, attack=strength)) > hill(image)).all()


def test_enough_steps_reach_the_corner(image, keys):
    attacked = attack.ascend(hill, image, keys, attack=THOROUGH)
    np.testing.assert_allclose(attacked, (image + 0.05).clip(-1, 1), atol=1e-6)


def test_it_starts_anywhere_in_the_ball_by_the_film_s_own_key(image, keys):
    still = Attack(epsilon=0.05, step_size=0.0, num_steps=1)
    change = (attack.ascend(hill, image, keys, attack=still) - image)[jnp.abs(image) < 0.9]
    assert float(change.min()) < -0.04 and float(change.max()) > 0.04
    assert abs(float(change.mean())) < 0.01
    whole = attack.ascend(hill, image, keys, attack=FAST)
    alone = attack.ascend(hill, image[2:3], keys[2:3], attack=FAST)
    np.testing.assert_array_equal(alone[0], whole[2])
    other = attack.ascend(hill, image, keys[::-1], attack=still)
    assert float(jnp.abs(other - attack.ascend(hill, image, keys, attack=still)).max()) > 0.01


def test_against_is_the_margin_of_the_wrong_answer():
    margin, label = jnp.array([3.0, -1.0, 3.0, -1.0]), jnp.array([1, 1, 0, 0])
    np.testing.assert_array_equal(attack.against(margin, label), [-3.0, 1.0, 3.0, -1.0])
