"""The terms of the GAN's objective: each by hand, and that one registry is all there is to them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.configs import base
from cxr_jax.errors import InputError
from cxr_jax.networks.grading import Scale
from cxr_jax.pipeline import field_ranges
from cxr_jax.pipeline.ranges import check_fields
from cxr_jax.runtime import parallel
from cxr_jax.training import gan, loss_terms
from cxr_jax.training.loss_terms import TERMS, Grafts, StepAnswers, StepImages
from tests.training import tasks
from tests.training.tasks import AUGMENTATION, OPTIMIZERS, batch_of

SCALE = Scale(negative=jnp.float32(-2.0), strong=jnp.float32(6.0))
SIDE = 4


def flat(*values: float) -> jax.Array:
    """Images of one brightness each."""
    return jnp.array(values).reshape(-1, 1, 1, 1) * jnp.ones((1, SIDE, SIDE, 1))


@pytest.fixture
def answers() -> StepAnswers:
    """Of a negative film and a positive one, with evenly bright images."""
    moments = jnp.array([[1.0, 0.0], [0.0, 2.0]]), jnp.zeros((2, 2))
    images = StepImages(
        reconstruction=flat(0.1, 0.6),
        swap=flat(0.3, 0.5),
        felt=flat(0.25, 1.0),
        sample=flat(0.0),
        swap_target=jnp.array([2.0, -2.0]),
        sample_target=jnp.array([6.0]),
        grafts=Grafts(
            removal=flat(0.2),
            twin=flat(0.0),
            has_twin=jnp.array([1.0]),
            change=flat(0.5),
            carried=flat(0.2),
            has_change=jnp.array([1.0]),
        ),
        null_change=flat(-0.25),
        is_negative=jnp.array([1.0]),
        z_structure=jnp.zeros((2, 2)),
        structure_moments=moments,
        class_moments=moments,
        is_positive=jnp.array([0.0, 1.0]),
    )
    return StepAnswers(
        film=flat(0.0, 0.5),
        features={"stage_1": jnp.ones((2, 1, 1, 2))},
        images=images,
        scale=SCALE,
        # Of the reconstructions, the swaps and the sample.
        margin=jnp.array([-1.0, 4.0, 4.0, -9.0, 2.0]),
        target=jnp.array([-3.0, 4.0, 2.0, -2.0, 6.0]),
        drawn_features={"stage_1": jnp.full((2, 1, 1, 2), 1.5)},
        realness=jnp.array([0.0, 1.0, -1.0]),
        leak=jnp.array([0.0, 2.0]),
    )


def softplus(x: float) -> float:
    return float(np.log1p(np.exp(x)))


BY_HAND = {
    "pixel": 0.1**2,
    "feature": 0.25,
    # In spans of 8; a swap that is to be negative may be more so.
    "margin": (0.25**2 + 0 + 0.25**2 + 0 + 0.5**2) / 5,
    "locality": (0.2 + 0.1) / 2,
    "smoothness": 0.0,
    "necessity": (0.75 * 0.2 + 0.0) / 2,
    "removal": 0.2**2,
    "transplant": 0.3,
    "null_change": 0.25,
    "kl_z_structure": (0.5 + 2.0) / 2 / SIDE**2,
    "kl_z_class": 2.0 / 2 / SIDE**2,  # of the positive alone
    "confusion": (2 * softplus(0) + softplus(2) + softplus(-2)) / 4,
    "adversarial": (softplus(0) + softplus(-1) + softplus(1)) / 3,
}


def test_every_term_is_computed_by_hand():
    assert BY_HAND.keys() == TERMS.keys()


@pytest.mark.parametrize("name", BY_HAND)
def test_a_term_by_hand(name, answers):
    value = TERMS[name](answers)
    assert value.shape == () and float(value) == pytest.approx(BY_HAND[name], rel=1e-4, abs=1e-9)


def test_terms_of_pairs_are_silent_where_there_is_none(answers):
    none = jnp.zeros(1)
    grafts = answers.images.grafts.replace(has_twin=none, has_change=none)
    images = answers.images.replace(grafts=grafts, is_negative=none)
    alone = answers.replace(images=images)
    for name in ("removal", "transplant", "null_change"):
        assert float(TERMS[name](alone)) == 0


def test_margin_error_by_hand():
    target = jnp.array([2.0, 2.0, -2.0, -2.0])
    margin = jnp.array([6.0, -2.0, 2.0, -9.0])
    # In spans of 8; a negative may be more so than the median one.
    found = loss_terms.margin_error(margin, target, SCALE)
    np.testing.assert_allclose(found, [0.25, 0.25, 0.25, 0.0])


# The registry.


def check_weights(weights) -> None:
    check_fields(weights, field_ranges.get_gan()["weights"], "config.gan.weights")


def test_terms_and_weights_have_the_same_names():
    assert set(base.get_gan().weights.keys()) == TERMS.keys()
    assert all(name == term.__name__ for name, term in TERMS.items())
    check_weights(base.get_gan().weights)


def test_a_weight_without_a_term_and_a_term_without_a_weight_are_refused(monkeypatch):
    weights = base.get_gan().weights
    with weights.unlocked():
        weights.novelty = 1.0
    with pytest.raises(InputError, match="weights has 'novelty'; choose of pixel, "):
        check_weights(weights)
    monkeypatch.setitem(TERMS, "novelty", TERMS["pixel"])
    check_weights(weights)
    with weights.unlocked():
        del weights.novelty
    with pytest.raises(InputError, match="weights lacks 'novelty'"):
        check_weights(weights)


def brightness(step: StepAnswers) -> jax.Array:
    """A term that nobody has thought of: a generator should draw dark reconstructions."""
    return step.images.reconstruction.mean()


def test_a_new_term_is_one_function_and_one_weight(tiny_config, random_like, monkeypatch):
    """The step records it; that all terms enter the loss by their weights, its own tests say."""
    monkeypatch.setitem(TERMS, "brightness", brightness)
    with tiny_config.gan.weights.unlocked():
        tiny_config.gan.weights.brightness = 3.0
    check_weights(tiny_config.gan.weights)
    networks = tasks.make_networks(tiny_config)
    step = gan.make_train_step(networks.gan, OPTIMIZERS, AUGMENTATION, ema_half_life=50.0)
    state, frozen = tasks.gan_parts(tiny_config, networks, random_like)
    _, metrics = jax.eval_shape(
        parallel.pmap_step(step), state, parallel.shard(batch_of(0)), frozen
    )
    assert TERMS.keys() < {field.name for field in dataclasses.fields(metrics)}
