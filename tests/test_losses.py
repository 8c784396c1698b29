"""Losses against values worked out by hand, and their gradients against differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cxr_jax import losses

IMAGE = (2, 4, 4, 1)


def softplus(x: float) -> float:
    return float(np.log1p(np.exp(x)))


def test_classification_without_smoothing_is_the_cross_entropy():
    margin, label = jnp.array([2.0, -1.0]), jnp.array([1, 0])
    expected = (softplus(-2.0) + softplus(-1.0)) / 2
    assert losses.classification(margin, label, 0.0) == pytest.approx(expected, rel=1e-6)


def test_smoothing_moves_the_best_margin_to_a_finite_one():
    # The target of a positive is 1 - 0.2 / 2 = 0.9, met by the logit of 0.9 and by no larger one.
    gradient = jax.grad(lambda m: losses.classification(m, jnp.array([1]), 0.2))
    best = np.log(0.9 / 0.1)
    assert gradient(jnp.array([best])) == pytest.approx(0.0, abs=1e-6)
    assert gradient(jnp.array([best + 1])) > 0 > gradient(jnp.array([best - 1]))


def test_segmentation_by_hand():
    logit = jnp.zeros((1, 2, 2, 1))  # every probability is a half
    mask = jnp.array([1, 1, 1, 0], bool).reshape(1, 2, 2, 1)
    expected = np.log(2) + 1 - (2 * 1.5 + 1) / (2 + 3 + 1)
    assert float(losses.segmentation(logit, mask)[0]) == pytest.approx(expected, rel=1e-6)


def test_segmentation_of_a_right_answer_is_nothing_image_by_image():
    mask = jnp.array([[1, 0, 0, 1], [0, 0, 0, 0]], bool).reshape(2, 2, 2, 1)
    right = jnp.where(mask, 30.0, -30.0)
    np.testing.assert_allclose(losses.segmentation(right, mask), [0.0, 0.0], atol=1e-5)
    wrong = losses.segmentation(right.at[1].multiply(-1), mask)
    np.testing.assert_allclose(wrong[0], 0.0, atol=1e-5)
    assert float(wrong[1]) > 30


def test_discriminator_wants_real_up_and_drawn_down():
    real, fake = jnp.array([1.0, 3.0]), jnp.array([-2.0])
    expected = (softplus(-1.0) + softplus(-3.0)) / 2 + softplus(-2.0)
    assert losses.discriminator_logistic(real, fake) == pytest.approx(expected, rel=1e-6)
    by_real, by_fake = jax.grad(losses.discriminator_logistic, argnums=(0, 1))(real, fake)
    assert (by_real < 0).all() and (by_fake > 0).all()


def test_generator_loss_does_not_saturate():
    assert losses.generator_logistic(jnp.array([0.0, 2.0])) == pytest.approx(
        (np.log(2) + softplus(-2.0)) / 2, rel=1e-6
    )
    # Where D is sure of a fake, the gradient stays near -1 instead of vanishing.
    assert jax.grad(losses.generator_logistic)(jnp.array([-20.0])) == pytest.approx(-1.0, abs=1e-3)


def test_r1_of_a_linear_discriminator_is_half_its_squared_norm(key):
    weights = jax.random.normal(key, IMAGE[1:])

    def discriminate(image):
        return (image * weights[None]).sum(axis=(1, 2, 3)) + 7.0

    expected = 0.5 * float(jnp.square(weights).sum())
    for real in (jnp.zeros(IMAGE), jax.random.normal(key, IMAGE)):
        assert losses.r1_penalty(discriminate, real) == pytest.approx(expected, rel=1e-5)


def test_r1_averages_over_images():
    def discriminate(image):  # gradient x: the first image is 0 everywhere, the second 2
        return 0.5 * jnp.square(image).sum(axis=(1, 2, 3))

    real = jnp.stack([jnp.zeros(IMAGE[1:]), jnp.full(IMAGE[1:], 2.0)])
    assert losses.r1_penalty(discriminate, real) == pytest.approx(0.5 * (0 + 16 * 4) / 2)


def test_gaussian_kl():
    mean, log_std = (
        jnp.array([[0.0, 0.0], [1.0, -2.0]]),
        jnp.log(jnp.array([[1.0, 1.0], [1.0, 3.0]])),
    )
    expected = [0.0, 0.5 * (1 + 4 + 1 + 9 - np.log(9.0) - 2)]
    np.testing.assert_allclose(losses.gaussian_kl(mean, log_std), expected, rtol=1e-6, atol=1e-7)


def test_pixel_error_and_change_keep_images_apart():
    image = jnp.stack([jnp.zeros((4, 4, 1)), jnp.full((4, 4, 1), 0.5)])
    np.testing.assert_allclose(losses.pixel_error(image, jnp.zeros(IMAGE)), [0.0, 0.25])
    np.testing.assert_allclose(losses.change(image, jnp.ones(IMAGE)), [1.0, 0.5])


def test_feature_error_is_relative_to_the_target(key):
    target = {"a": jax.random.normal(key, IMAGE), "b": 5 + jax.random.normal(key, (2, 2, 2, 3))}
    np.testing.assert_allclose(losses.feature_error(target, target), [0.0, 0.0])
    nothing = jax.tree.map(jnp.zeros_like, target)
    np.testing.assert_allclose(losses.feature_error(nothing, target), [1.0, 1.0], atol=0.5)
    scaled = jax.tree.map(lambda f: 10 * f, target)
    double = jax.tree.map(lambda f: 20 * f, target)
    np.testing.assert_allclose(
        losses.feature_error(double, scaled), losses.feature_error(scaled, target) / 81, rtol=1e-4
    )


def test_feature_error_of_an_image_does_not_depend_on_its_batch_mates(key):
    one, other = jax.random.normal(key, (2, 1, 4, 4, 3))
    alone = losses.feature_error({"a": one + 0.3}, {"a": one})
    target = jnp.concatenate([one, 10 * other])
    together = losses.feature_error({"a": target + 0.3}, {"a": target})
    np.testing.assert_allclose(together[:1], alone, rtol=1e-6)


def test_gradients_agree_with_differences(key):
    a, b = jax.random.normal(key, (2, *IMAGE))
    rows, other = jax.random.normal(key, (2, 2, 3))
    check = lambda fn, *arguments: check_grads(
        lambda *x: jnp.sum(fn(*x)), arguments, order=1, atol=2e-2, rtol=2e-2
    )
    check(lambda m: losses.classification(m, jnp.array([1, 0, 1]), 0.1), rows[0])
    check(losses.discriminator_logistic, rows[0], other[0])
    check(losses.generator_logistic, rows[0])
    check(lambda x: losses.segmentation(x, b > 0), a)
    check(losses.gaussian_kl, rows, 0.3 * other)
    check(losses.pixel_error, a, b)
    check(lambda f: losses.feature_error({"a": f}, {"a": b}), a)
    check(losses.change, a, b + 10.0)  # away from the kink of the absolute value
    check(lambda x: losses.r1_penalty(lambda i: jnp.sin(i).sum(axis=(1, 2, 3)), x), a)


def test_confusion_is_least_where_the_critic_cannot_tell():
    np.testing.assert_allclose(losses.confusion(jnp.zeros(3)), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(
        losses.confusion(jnp.array([2.0])), 0.5 * np.log((1 + np.e**2) * (1 + np.e**-2)), rtol=1e-6
    )
    pull = jax.grad(losses.confusion)(jnp.array([2.0, -2.0]))
    assert pull[0] > 0 > pull[1]  # descent takes both towards the fair coin


def test_roughness_by_hand():
    image = jnp.array([[0.0, 1.0], [0.0, 3.0]]).reshape(1, 2, 2, 1)
    # Down: 0 and 2; across: 1 and 3.
    assert float(losses.roughness(image)[0]) == pytest.approx((1 + 2) / 2)


def test_roughness_does_not_see_brightness_but_sees_a_checkerboard():
    image = jnp.stack([jnp.full((4, 4, 1), 7.0), (-1.0) ** jnp.indices((4, 4)).sum(0)[..., None]])
    np.testing.assert_allclose(losses.roughness(image), [0, 2])
    np.testing.assert_allclose(losses.roughness(3 * image), [0, 6])
