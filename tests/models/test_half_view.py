"""Half views: what is hidden makes no difference, and the blind half is what is hidden."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.models.classifier import Classifier
from cxr_jax.models.half_view import HALVES, blind_half, mirror_half
from cxr_jax.models.plain import PlainClassifier

SIDE = 16


@pytest.mark.parametrize("network", [Classifier, PlainClassifier])
@pytest.mark.parametrize("visible", HALVES)
def test_a_classifier_is_blind_in_its_blind_half_alone(network, visible, key, random_params):
    image = jax.random.uniform(key, (2, SIDE, SIDE, 1), minval=-1)
    network = network(widths=(4, 4, 4), visible=visible)
    params = random_params(network, image)
    answer = lambda x: network.apply({"params": params}, x)[0].sum()
    gradient = jax.jit(jax.grad(answer))(image)
    blind = blind_half(SIDE, visible)
    assert blind.mean() == 0.5
    assert not np.asarray(gradient)[:, blind].any()
    assert (np.asarray(gradient)[:, ~blind] != 0).mean() > 0.9


def test_the_view_is_symmetric_and_keeps_the_visible_half():
    image = jnp.arange(2.0 * 4 * 4).reshape(2, 4, 4, 1)
    for visible, axis in {"left": 2, "right": 2, "upper": 1, "lower": 1}.items():
        view = mirror_half(image, visible)
        np.testing.assert_array_equal(view, jnp.flip(view, axis))
        seen = ~np.broadcast_to(blind_half(4, visible), image.shape)
        np.testing.assert_array_equal(view[seen], image[seen])
    np.testing.assert_array_equal(mirror_half(image, ""), image)
    assert not blind_half(4, "").any()
