"""What explaining calls: models bound to their own parameters, for any number of films."""

import builders
import flax.linen as nn
import numpy as np
import pytest
from builders import NUM_Z_CLASS, NUM_Z_STRUCTURE, SIDE, ToyGan

from cxr_jax.configs import base
from cxr_jax.explain.explainer import Explainer, make_explainer
from cxr_jax.models.model import Model

ROWS = 5


class Shifted(nn.Module):
    """A segmenter: the image and a number."""

    @nn.compact
    def __call__(self, image):
        return image + self.param("shift", nn.initializers.zeros, ())


class RowMeans(nn.Module):
    """A regressor: no parameters of a phantom, and the mean of each row as features."""

    @nn.compact
    def __call__(self, image):
        shift = self.param("shift", nn.initializers.zeros, ())
        return image[:, 0, 0], image.mean(axis=(2, 3)) + shift


@pytest.fixture(scope="module")
def section():
    section = base.get_config().explain
    section.update(dict(paths=("linear",), maps=("latent", "gradient"), batch_size=4, walk_steps=3))
    section.inversion.num_steps = 4
    return section


@pytest.fixture(scope="module")
def gan() -> ToyGan:
    return builders.make_gan()


@pytest.fixture(scope="module")
def made(gan, section) -> Explainer:
    """Random models in place of trained ones; no evaluator was trained."""
    reasons = {"regressor": "no regressor was trained"}
    return make_explainer(gan.models, section, seed=0, reasons=reasons)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (ROWS, SIDE, SIDE, 1)).astype(np.uint8)


@pytest.fixture
def image(pixels) -> np.ndarray:
    return np.float32(pixels / 127.5 - 1)


def test_f_and_h_are_asked_about_stored_films_and_f_about_any_image(made, gan, pixels, image):
    margin, judge_margin = made.margins(pixels)
    np.testing.assert_allclose(margin, gan.classify(image), atol=1e-5)
    np.testing.assert_allclose(judge_margin, gan.judge_films(image), atol=1e-5)
    assert np.abs(margin - judge_margin).max() > 0.1
    np.testing.assert_allclose(made.classify(image), gan.classify(image), atol=1e-5)


def test_images_are_drawn_by_the_generator(made, gan):
    rng = np.random.default_rng(1)
    latents = [np.float32(rng.normal(size=(ROWS, n))) for n in (NUM_Z_STRUCTURE, NUM_Z_CLASS)]
    np.testing.assert_allclose(made.draw(*latents), gan.draw(*latents), atol=1e-5)


def test_films_are_inverted_with_what_every_network_says_of_them(made, gan, pixels, image):
    films = made.invert(pixels)
    np.testing.assert_allclose(films.image, image, atol=1e-6)
    np.testing.assert_allclose(films.margin, gan.classify(image), atol=1e-5)
    np.testing.assert_allclose(films.judge_margin, gan.judge_films(image), atol=1e-5)
    drawn = gan.draw(films.z_structure, films.z_class)
    np.testing.assert_allclose(films.drawn, drawn, atol=1e-5)
    np.testing.assert_allclose(films.drawn_margin, gan.classify(drawn), atol=1e-5)
    np.testing.assert_allclose(films.drawn_judge_margin, gan.judge_films(drawn), atol=1e-5)
    origin = gan.draw(films.z_structure, 0 * films.z_class)
    np.testing.assert_allclose(films.origin, origin, atol=1e-5)
    assert ((films.z_class == 0).all(axis=1) == (films.margin <= 0)).all()


def test_films_are_walked_along_the_paths_of_the_config(made, pixels, image):
    films = made.invert(pixels)
    alike_films = films.z_structure[[1, 0]]
    guide = builders.make_guide(num_ends=2, end_structures=alike_films)
    gradient = made.unit_gradient(films)
    np.testing.assert_allclose(np.linalg.norm(gradient, axis=1), np.ones(ROWS), rtol=1e-3)
    walks = made.walk(films, guide, builders.make_thresholds(), towards=1)
    assert list(walks) == ["linear"]
    walk = walks["linear"].walk
    np.testing.assert_allclose(walk.carried[:, 0], image, atol=1e-6)
    np.testing.assert_allclose(walk.points[:2, -1], guide.ends[[1, 0]], atol=1e-5)


def test_maps_are_those_of_the_config(made, gan, image):
    assert list(made.traced_maps) == ["gradient"] and made.missing_maps == {}
    found = made.traced_maps["gradient"](image)
    step = 1e-2 * np.float32(found == found.max(axis=(1, 2, 3), keepdims=True))
    slope = np.abs(gan.classify(image + step) - gan.classify(image - step)) / 2e-2
    np.testing.assert_allclose(found.max(axis=(1, 2, 3)), slope, rtol=1e-2)


def test_an_evaluator_that_was_not_trained_is_none_and_says_why(made):
    assert made.find_lungs is None and made.features is None
    assert made.reasons == {"segmenter": "", "regressor": "no regressor was trained"}


def test_evaluators_that_were_trained_are_read_as_masks_and_features(gan, section, image):
    params = {"shift": np.float32(0.1)}
    made = make_explainer(
        gan.models,
        section,
        seed=0,
        segmenter=Model(Shifted(), params),
        regressor=Model(RowMeans(), params),
    )
    assert made.find_lungs(image).dtype == bool
    np.testing.assert_array_equal(made.find_lungs(image), image + np.float32(0.1) > 0)
    np.testing.assert_allclose(made.features(image), image.mean(axis=(2, 3)) + 0.1, atol=1e-5)
    assert made.reasons == {"segmenter": "", "regressor": ""}
