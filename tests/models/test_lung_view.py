"""Lungs alone: what lies beyond them makes no difference, and their segmenter stays as it was."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.evaluate.audit import grow
from cxr_jax.explain.explainer import bind_view
from cxr_jax.models.classifier import Classifier
from cxr_jax.models.lung_view import LungView, rim_pixels, widen
from cxr_jax.models.model import Model
from cxr_jax.models.plain import PlainClassifier
from cxr_jax.models.segmenter import Segmenter

SIDE = 32


class Dark(nn.Module):
    """A segmenter that takes what is dark for lungs."""

    def __call__(self, image):
        return -0.5 - image


def film_of(lungs: np.ndarray, key: jax.Array) -> jnp.ndarray:
    """Dark lungs on a paler ground, both of them noisy."""
    noise = jax.random.uniform(key, (*lungs.shape, 1), minval=-0.3, maxval=0.3)
    return jnp.where(lungs[..., None], -0.9, 0.3) + noise


@pytest.fixture
def lungs() -> np.ndarray:
    mask = np.zeros((2, SIDE, SIDE), bool)
    mask[:, 8:24, 6:13] = mask[:, 8:24, 19:26] = True
    return mask


@pytest.mark.parametrize("network", [Classifier, PlainClassifier])
def test_what_lies_beyond_the_lungs_and_their_margin_is_not_seen(
    network, lungs, key, random_params
):
    image = film_of(lungs, key)
    view = LungView(classifier=network(widths=(4, 4, 4)), segmenter=Dark())
    params = random_params(view, image)
    answer = lambda x: view.apply({"params": params}, x)[0]
    seen = grow(lungs[..., None], rim_pixels(SIDE))
    asked = bind_view(Model(view, params), batch_size=2)
    np.testing.assert_array_equal(asked(np.asarray(image)), seen)
    gradient = np.asarray(jax.jit(jax.grad(lambda x: answer(x).sum()))(image))
    assert not gradient[~seen].any()
    assert (gradient[seen] != 0).mean() > 0.9
    # Other bones and another border, as long as the segmenter takes none of it for lungs.
    other = jnp.where(seen, image, film_of(np.zeros_like(lungs), jax.random.fold_in(key, 1)))
    np.testing.assert_array_equal(answer(other), answer(image))
    assert np.abs(np.subtract(answer(image.at[0, 12, 8].add(0.2)), answer(image)))[0] > 0


def test_parameters_stand_where_those_of_a_classifier_do(key, random_params):
    classifier = Classifier(widths=(4, 4, 4))
    view = LungView(classifier=classifier, segmenter=Segmenter(widths=(4, 4)))
    image = jax.random.uniform(key, (2, SIDE, SIDE, 1), minval=-1)
    params = random_params(view, image)
    segmenter = params.pop("segmenter")
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(
        jnp.shape, random_params(classifier, image)
    )
    # Where everything is taken for lung, it is the classifier.
    all_lung = jax.tree.map(jnp.zeros_like, segmenter)
    all_lung["Conv3_1"]["bias"] = jnp.ones_like(all_lung["Conv3_1"]["bias"])
    margin, features = view.apply({"params": {**params, "segmenter": all_lung}}, image)
    wanted, wanted_features = classifier.apply({"params": params}, image)
    np.testing.assert_array_equal(margin, wanted)
    assert features.keys() == wanted_features.keys()
    assert view.last_stage == classifier.last_stage == [*features][-1]
    assert bind_view(Model(classifier, params), batch_size=2) is None


def test_masks_are_widened_by_so_many_pixels():
    mask = np.zeros((1, 7, 7, 1), bool)
    mask[0, 3, 1] = True
    wide = np.asarray(widen(mask, 2))
    wanted = np.zeros_like(mask)
    wanted[0, 1:6, 0:4] = True
    np.testing.assert_array_equal(wide, wanted)
    np.testing.assert_array_equal(grow(mask, 2), wanted)
    assert [rim_pixels(size) for size in (16, 64, 128)] == [1, 2, 4]
