"""The paper's objective, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.configs import base
from cxr_jax.training import paper_objective


def softplus(x: float) -> float:
    return float(np.log1p(np.exp(x)))


def test_every_second_image_is_a_positive_and_negatives_sit_at_the_origin():
    keys = jax.random.split(jax.random.key(0), 2000)
    noise = paper_objective.draw_noise(keys, jnp.arange(2000), (3, 5))
    assert noise.z_structure.shape == (2000, 3) and noise.z_class.shape == (2000, 5)
    np.testing.assert_array_equal(noise.label, np.arange(2000) % 2)
    assert not noise.z_class[0::2].any()
    for normal in (noise.z_structure, noise.z_class[1::2]):
        assert abs(float(normal.mean())) < 0.05 and abs(float(normal.std()) - 1) < 0.05


def test_a_draw_depends_on_its_key_and_place_alone():
    keys, index = jax.random.split(jax.random.key(0), 8), jnp.arange(8)
    whole = paper_objective.draw_noise(keys, index, (3, 5))
    part = paper_objective.draw_noise(keys[4:], index[4:], (3, 5))
    jax.tree.map(lambda one, other: np.testing.assert_array_equal(one[4:], other), whole, part)


def test_the_generator_pleases_the_discriminator_and_the_classifier_and_seeks_modes():
    image = jnp.array([0.5, -0.25, 0.75, 0.25]).reshape(4, 1, 1, 1) * jnp.ones((4, 2, 2, 1))
    z_structure = jnp.array([[0.0, 0.0], [0.0, 0.0], [1.0, -3.0], [0.0, 1.0]])
    noise = paper_objective.PaperNoise(
        z_structure=z_structure, z_class=jnp.zeros((4, 1)), label=jnp.array([1, 0, 1, 0])
    )
    terms = paper_objective.generator_terms(
        image,
        noise,
        margin=4.0 * image.mean(axis=(1, 2, 3)),
        realness=jnp.array([1.0, -2.0, 0.0, 3.0]),
    )
    # Margins 2 and 3 where a positive was asked for, -1 and 1 where a negative was.
    entropy = (softplus(-2.0) + softplus(-1.0) + softplus(-3.0) + softplus(1.0)) / 4
    adversarial = (softplus(-1.0) + softplus(2.0) + softplus(0.0) + softplus(-3.0)) / 4
    seeking = (1 / (0.25 / 2 + 0.01) + 1 / (0.5 / 0.5 + 0.01)) / 2
    assert terms.keys() == set(paper_objective.TERMS)
    assert float(terms["entropy"]) == pytest.approx(entropy, rel=1e-6)
    assert float(terms["adversarial"]) == pytest.approx(adversarial, rel=1e-6)
    assert float(terms["mode_seeking"]) == pytest.approx(seeking, rel=1e-6)
    section = base.get_gan()
    section.update(dict(entropy_weight=3.0, mode_seeking_weight=5.0))
    weights = paper_objective.make_weights(section)
    assert weights == {"adversarial": 1.0, "entropy": 3.0, "mode_seeking": 5.0}
    loss = paper_objective.weigh(terms, weights)
    assert float(loss) == pytest.approx(adversarial + 3 * entropy + 5 * seeking, rel=1e-6)


def test_mode_seeking_is_the_same_whatever_the_split_over_devices():
    keys = jax.random.split(jax.random.key(0))
    image, z_structure = (
        jax.random.normal(keys[0], (16, 3, 3, 1)),
        jax.random.normal(keys[1], (16, 5)),
    )
    whole = paper_objective.mode_seeking(image, z_structure)
    quarters = jnp.split(image, 4), jnp.split(z_structure, 4)
    parts = [paper_objective.mode_seeking(*part) for part in zip(*quarters, strict=True)]
    np.testing.assert_allclose(np.mean(parts), whole, rtol=1e-6)


def test_images_that_are_all_the_same_are_pushed_apart():
    z_structure = jax.random.normal(jax.random.key(0), (8, 5))
    drawn = lambda gain: gain * z_structure.mean(axis=1).reshape(-1, 1, 1, 1)
    gradient = jax.grad(lambda gain: paper_objective.mode_seeking(drawn(gain), z_structure))
    assert -2e4 < float(gradient(1e-6)) < float(gradient(1.0)) < 0
