"""The paper's objective, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax import paper_objective


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


def test_the_generator_pleases_the_discriminator_and_the_classifier():
    image = jnp.stack([jnp.full((2, 2, 1), 0.5), jnp.full((2, 2, 1), -0.25)])
    draw = paper_objective.Draw(None, None, jnp.array([1, 0]))
    judged = jnp.array([1.0, -2.0])
    loss, terms = paper_objective.generator_loss(Brightness(), 4.0, 3.0, image, judged, draw)
    # Margins 2 (a positive was asked for) and -1 (a negative was).
    entropy = (softplus(-2.0) + softplus(-1.0)) / 2
    adversarial = (softplus(-1.0) + softplus(2.0)) / 2
    assert float(terms["entropy"]) == pytest.approx(entropy, rel=1e-6)
    assert float(terms["adversarial"]) == pytest.approx(adversarial, rel=1e-6)
    assert float(loss) == pytest.approx(adversarial + 3 * entropy, rel=1e-6)
