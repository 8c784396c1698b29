"""The project's own classifier: its margin and its feature maps."""

import jax
import pytest

from cxr_jax.models.classifier import Classifier
from cxr_jax.networks.build import make_classifier


@pytest.fixture
def classifier(tiny_config) -> Classifier:
    return make_classifier(tiny_config.classifier)


def test_the_classifier_returns_its_margin_and_its_maps(classifier, image, key):
    (margin, features), _ = jax.eval_shape(classifier.init_with_output, key, image)
    rows, size = image.shape[:2]
    assert margin.shape == (rows,)
    stages = len(classifier.widths) - 1
    assert {name: f.shape for name, f in features.items()} == {
        f"stage_{i + 1}": (rows, size // 4 >> i, size // 4 >> i, 8) for i in range(stages)
    }


def test_half_precision_stays_inside(classifier, image, key):
    """A loss is taken of the feature maps too, so they are float32 as the margin is."""
    half = classifier.clone(dtype="bfloat16")
    (margin, features), params = jax.eval_shape(half.init_with_output, key, image)
    assert margin.dtype.name == "float32"
    assert {f.dtype.name for f in features.values()} == {"float32"}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"float32"}
