"""What explaining calls: networks bound to their own parameters, for any number of films."""

import numpy as np
import pytest
import toy_networks
from toy_networks import NUM_SEVERITY, NUM_STRUCTURE, SIDE

from cxr_jax.explain import explainer
from cxr_jax.explain.films import Thresholds
from cxr_jax.explain.paths import Guide
from cxr_jax.errors import InputError

ROWS = 5


@pytest.fixture
def config(tiny_config):
    tiny_config.data.image_size = SIDE
    tiny_config.explain.update(dict(paths=("linear",), maps=("latent", "gradient"), batch_size=4))
    return tiny_config


@pytest.fixture
def gan(monkeypatch):
    """Random networks in place of trained ones; every evaluator is missing."""
    gan = toy_networks.make_gan()
    networks, trained = gan.networks, gan.trained
    for module, name, value in (
        (explainer.train_gan, "make_networks", networks),
        (explainer.train_gan, "load_frozen", (trained.classifier, trained.scale, None)),
        (explainer.train_gan, "load", {"generator": trained.generator}),
        (explainer.train_encoder, "load", trained.encoder),
        (explainer.train_classifier, "load", (gan.judge, trained.judge)),
        (explainer.train_evaluators, "load_robust", (gan.robust, trained.robust)),
    ):
        monkeypatch.setattr(module, name, lambda *arguments, value=value: value)
    return gan


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (ROWS, SIDE, SIDE, 1)).astype(np.uint8)


def test_each_tool_asks_its_own_network(gan, config, pixels, tmp_path):
    made = explainer.make_tools(config, tmp_path, {})
    image = np.float32(pixels / 127.5 - 1)
    for found, answer in zip(made.margins(pixels), (gan.classify, gan.judge_films), strict=True):
        np.testing.assert_allclose(found, answer(image), atol=1e-5)
    np.testing.assert_allclose(made.classify(image), gan.classify(image), atol=1e-5)
    rng = np.random.default_rng(1)
    latents = [np.float32(rng.normal(size=(ROWS, n))) for n in (NUM_STRUCTURE, NUM_SEVERITY)]
    np.testing.assert_allclose(made.draw(*latents), gan.draw(*latents), atol=1e-5)
    films = made.invert(pixels)
    np.testing.assert_allclose(films.image, image, atol=1e-6)
    drawn = gan.draw(films.structure, films.severity)
    np.testing.assert_allclose(films.drawn, drawn, atol=1e-5)
    np.testing.assert_allclose(films.judged, gan.judge_films(image), atol=1e-5)
    np.testing.assert_allclose(films.drawn_margin, gan.classify(drawn), atol=1e-5)
    origin = gan.draw(films.structure, 0 * films.severity)
    np.testing.assert_allclose(films.origin, origin, atol=1e-5)
    assert ((films.severity == 0).all(axis=1) == (films.margin <= 0)).all()
    gradient = made.unit_gradient(films)
    np.testing.assert_allclose(np.linalg.norm(gradient, axis=1), np.ones(ROWS), rtol=1e-3)
    assert list(made.baselines) == ["gradient"]
    assert made.baselines["gradient"](image).shape == image.shape
    guide = Guide(0.1, np.ones((2, NUM_SEVERITY), np.float32), gradient[0])
    walks = made.walk(guide, films, 1, Thresholds(1.0, 1.0, 0.0, 0.0, 1.0))
    assert list(walks) == ["linear"] and len(walks["linear"]) == 2
    np.testing.assert_allclose(walks["linear"][0].carried[:, 0], image, atol=1e-6)


def test_an_evaluator_that_was_not_trained_is_none_and_says_why(gan, config, tmp_path):
    made = explainer.make_tools(config, tmp_path, {})
    assert made.lungs is None and made.features is None
    assert "segmenter" in made.reasons["segmenter"] and "regressor" in made.reasons["regressor"]


def test_evaluators_that_were_trained_are_read_as_masks_and_features(
    gan, config, pixels, tmp_path, monkeypatch
):
    class Toy:
        def apply(self, variables, image):
            shifted = image + variables["params"]
            return {"segmenter": shifted, "regressor": (None, shifted.mean(axis=(2, 3)))}[self.name]

    for name in ("segmenter", "regressor"):
        toy = Toy()
        toy.name = name
        monkeypatch.setattr(
            explainer.train_evaluators, f"load_{name}", lambda *a, toy=toy: (toy, np.float32(0.1))
        )
    monkeypatch.setattr(explainer.train_evaluators, "missing_reason", lambda workdir, name: "")
    made = explainer.make_tools(config, tmp_path, {})
    image = np.float32(pixels / 127.5 - 1)
    assert made.lungs(image).dtype == bool
    np.testing.assert_array_equal(made.lungs(image), image + np.float32(0.1) > 0)
    expected = image.mean(axis=(2, 3)) + 0.1
    np.testing.assert_allclose(made.features(image), expected, atol=1e-5)
    assert made.reasons == {"segmenter": "", "regressor": ""}


def test_geodesics_in_robust_features_need_the_robust_classifier(
    gan, config, tmp_path, monkeypatch
):
    _, classifiers, trained = load_trained(config, tmp_path, {})
    assert classifiers.robust is None and trained.robust is None
    config.explain.paths = ("linear", "geodesic_pixel")
    assert load_trained(config, tmp_path, {})[1].robust is None
    config.explain.paths = ("linear", "geodesic")
    with pytest.raises(InputError, match="'geodesic'.*evaluators.names") as raised:
        load_trained(config, tmp_path, {})
    assert "\n" not in str(raised.value)
    monkeypatch.setattr(explainer.train_evaluators, "missing_reason", lambda workdir, name: "")
    _, classifiers, trained = load_trained(config, tmp_path, {})
    assert classifiers.robust is gan.robust and trained.robust is gan.trained.robust
