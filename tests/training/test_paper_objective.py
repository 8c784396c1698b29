"""The paper's objective, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.training import paper_objective


class Brightness:
    """A classifier whose margin is the mean of the image."""

    def apply(self, variables, image):
        return variables["params"] * image.mean(axis=(1, 2, 3)), {}


def softplus(x: float) -> float:
    return float(np.log1p(np.exp(x)))


def test_every_second_image_is_a_positive_and_negatives_sit_at_the_origin():
    keys = jax.random.split(jax.random.key(0), 2000)
    draw = paper_objective.draw_latents(keys, jnp.arange(2000), 3, 5)
    assert draw.structure.shape == (2000, 3) and draw.severity.shape == (2000, 5)
    np.testing.assert_array_equal(draw.label, np.arange(2000) % 2)
    assert not draw.severity[0::2].any()
    for normal in (draw.structure, draw.severity[1::2]):
        assert abs(float(normal.mean())) < 0.05 and abs(float(normal.std()) - 1) < 0.05


def test_a_draw_depends_on_its_key_and_place_alone():
    keys, index = jax.random.split(jax.random.key(0), 8), jnp.arange(8)
    whole = paper_objective.draw_latents(keys, index, 3, 5)
    part = paper_objective.draw_latents(keys[4:], index[4:], 3, 5)
    for one, other in zip(whole, part, strict=True):
        np.testing.assert_array_equal(one[4:], other)


def test_the_generator_pleases_the_discriminator_and_the_classifier_and_seeks_modes():
    image = jnp.array([0.5, -0.25, 0.75, 0.25]).reshape(4, 1, 1, 1) * jnp.ones((4, 2, 2, 1))
    structure = jnp.array([[0.0, 0.0], [0.0, 0.0], [1.0, -3.0], [0.0, 1.0]])
    draw = paper_objective.Draw(structure, None, jnp.array([1, 0, 1, 0]))
    judged = jnp.array([1.0, -2.0, 0.0, 3.0])
    weights = paper_objective.Weights(entropy=3.0, mode_seeking=5.0)
    loss, terms = paper_objective.generator_loss(Brightness(), 4.0, weights, image, judged, draw)
    # Margins 2 and 3 where a positive was asked for, -1 and 1 where a negative was.
    entropy = (softplus(-2.0) + softplus(-1.0) + softplus(-3.0) + softplus(1.0)) / 4
    adversarial = (softplus(-1.0) + softplus(2.0) + softplus(0.0) + softplus(-3.0)) / 4
    seeking = (1 / (0.25 / 2 + 0.01) + 1 / (0.5 / 0.5 + 0.01)) / 2
    assert float(terms["entropy"]) == pytest.approx(entropy, rel=1e-6)
    assert float(terms["adversarial"]) == pytest.approx(adversarial, rel=1e-6)
    assert float(terms["mode_seeking"]) == pytest.approx(seeking, rel=1e-6)
    assert float(loss) == pytest.approx(adversarial + 3 * entropy + 5 * seeking, rel=1e-6)


def test_mode_seeking_is_the_same_whatever_the_split_over_devices():
    keys = jax.random.split(jax.random.key(0))
    image, structure = (
        jax.random.normal(keys[0], (16, 3, 3, 1)),
        jax.random.normal(keys[1], (16, 5)),
    )
    whole = paper_objective.mode_seeking(image, structure)
    quarters = jnp.split(image, 4), jnp.split(structure, 4)
    parts = [paper_objective.mode_seeking(*part) for part in zip(*quarters, strict=True)]
    np.testing.assert_allclose(np.mean(parts), whole, rtol=1e-6)


def test_images_that_are_all_the_same_are_pushed_apart():
    structure = jax.random.normal(jax.random.key(0), (8, 5))
    drawn = lambda gain: gain * structure.mean(axis=1).reshape(-1, 1, 1, 1)
    gradient = jax.grad(lambda gain: paper_objective.mode_seeking(drawn(gain), structure))
    assert -2e4 < float(gradient(1e-6)) < float(gradient(1.0)) < 0
