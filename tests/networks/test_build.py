"""From a config to networks: every architecture, its weights, and what is refused at once."""

import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from builders import write_safetensors

from cxr_jax.configs import base
from cxr_jax.errors import InputError
from cxr_jax.models.classifier import Classifier
from cxr_jax.models.lung_view import LungView
from cxr_jax.networks import build
from cxr_jax.networks.restore import load_classifier, margins
from cxr_jax.pipeline.config_checks import check_classifier, check_classifiers
from cxr_jax.training import classifier

SIZE = 32


@pytest.fixture
def section():
    return base.get_classifier()


def dense_section():
    """A DenseNet-121 of TorchXRayVision's kind."""
    section = base.get_classifier()
    section.architecture = "densenet121"
    section.convention.update(
        dict(outputs=18, positive_output=8, black=(-1024.0,), white=(1024.0,), threshold=0.06)
    )
    return section


@pytest.fixture
def dense():
    return dense_section()


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    """Of such a network."""
    return state_dict(dense_section())


def state_dict(config) -> dict[str, np.ndarray]:
    """Random weights of a section's network, in PyTorch's layout."""
    network = build.make_classifier(config)
    like = build.param_shapes(network, SIZE)
    rng = np.random.default_rng(0)

    def draw(name, leaf):
        shape = np.array(leaf.shape)[[3, 2, 0, 1]] if leaf.ndim == 4 else leaf.shape[::-1]
        values = rng.normal(size=shape) / np.sqrt(max(np.prod(shape[1:]), 1))
        return np.float32(np.exp(values) if name == "running_var" else values)

    return {f"{layer}.{n}": draw(n, leaf) for layer in like for n, leaf in like[layer].items()}


def test_the_default_is_compact(section):
    assert isinstance(build.make_classifier(section), Classifier)
    assert section.architecture == build.ARCHITECTURES[0]


@pytest.mark.parametrize("name", build.ARCHITECTURES)
def test_every_architecture_answers_alike(name, section, key):
    section.architecture = name
    section.convention.update(dict(outputs=2, positive_output=1, negative_output=0, channels=3))
    check_classifier("classifier", section, SIZE)
    network = build.make_classifier(section)
    image = jnp.zeros((2, SIZE, SIZE, 1))
    (margin, features), variables = jax.eval_shape(network.init_with_output, key, image)
    assert margin.shape == (2,) and margin.dtype == jnp.float32
    assert network.last_stage == [*features][-1]
    assert variables.keys() == {"params"}


def test_fresh_parameters(dense):
    network = build.make_classifier(dense)
    params = build.init_params(network, SIZE, 0)
    kernel = params["features.transition2.conv"]["weight"]
    np.testing.assert_allclose([kernel.mean(), kernel.std()], [0, (2 / 512) ** 0.5], atol=1e-3)
    norm = params["features.norm5"]
    assert (norm["weight"] == 1).all() and (norm["running_var"] == 1).all()
    assert not norm["bias"].any() and not norm["running_mean"].any()
    other = build.init_params(network, SIZE, 1)["features.transition2.conv"]["weight"]
    assert not np.array_equal(other, kernel)


def test_weights_are_where_training_begins(dense, tensors, tmp_path):
    dense.weights = str(write_safetensors(tmp_path / "w.safetensors", tensors))
    dense.num_steps = 0
    check_classifier("classifier", dense, SIZE)
    network = build.make_classifier(dense)
    params = build.first_params(dense, network, image_size=SIZE, seed=0)
    np.testing.assert_array_equal(params["classifier"]["weight"], tensors["classifier.weight"].T)
    name = "features.denseblock3.denselayer7.norm2"
    np.testing.assert_array_equal(params[name]["running_var"], tensors[f"{name}.running_var"])
    # A new head is as random as without weights.
    dense.new_head = True
    renewed = build.first_params(dense, network, image_size=SIZE, seed=0)
    fresh = build.init_params(network, SIZE, 0)
    np.testing.assert_array_equal(renewed["classifier"]["weight"], fresh["classifier"]["weight"])
    np.testing.assert_array_equal(renewed[name]["running_var"], tensors[f"{name}.running_var"])


def test_a_published_trunk_under_another_head(dense, tensors, tmp_path):
    dense.weights = str(write_safetensors(tmp_path / "w.safetensors", tensors))
    dense.convention.update(dict(outputs=1, positive_output=0))
    with pytest.raises(InputError, match=r"w\.safetensors: parameter classifier\.bias .*\[18\]"):
        check_classifier("classifier", dense, SIZE)
    dense.new_head = True
    check_classifier("classifier", dense, SIZE)


REFUSED = {
    "compact weights": (dict(architecture="compact", weights="w.pth"), "weights is for a publish"),
    "half of a film": (dict(visible="left"), "visible is 'left', but only"),
    "a function's lungs": (dict(visible="lungs", module="m:f"), "visible is 'lungs', but only"),
    "no file": (dict(weights="nowhere.pth"), "nowhere.pth cannot be read: No such file"),
    "untrained": (dict(num_steps=0), "num_steps is 0"),
    "half trained": (dict(num_steps=0, weights="w.pth", new_head=True), "num_steps is 0"),
    "output": (dict(convention=dict(positive_output=18)), "positive_output is 18.*0 to 17"),
    "negative": (dict(convention=dict(negative_output=18)), "negative_output is 18"),
    "itself": (dict(convention=dict(negative_output=8)), "positive_output and negative_output"),
    "black": (dict(convention=dict(black=(0.0, 1.0))), "black has 2 numbers for 1 channels"),
    "white": (dict(convention=dict(channels=3, white=(0.0, 1.0))), "white has 2 numbers for 3"),
    "one grey": (dict(convention=dict(black=(1.0,), white=(1.0,))), "black and white are the same"),
    "one grey in a channel": (
        dict(convention=dict(channels=3, black=(0.0, 0.5, 0.0), white=(1.0, 0.5, 1.0))),
        "black and white are the same",
    ),
    "too small": (dict(convention=dict(input_size=16)), "no feature map, or an empty one"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(name, dense):
    changed, message = REFUSED[name]
    dense.update(changed)
    with pytest.raises(InputError, match=message) as raised:
        check_classifier("judge", dense, SIZE)
    assert name == "no file" or "config.judge" in str(raised.value)


def test_a_finished_classifier_no_longer_needs_its_file(tmp_path):
    config = base.get_config()
    config.classifier.update(dict(architecture="resnet50", weights="gone.pth"))
    with pytest.raises(InputError, match="gone.pth"):
        check_classifiers(config, tmp_path)
    (tmp_path / "classifier").mkdir()
    (tmp_path / "classifier" / "done.json").write_text("{}")
    check_classifiers(config, tmp_path)


# GANs.


CONFIGS = ("phantom", "shortcut", "half_blind", "findings", "covid", "nih", "paper")


def test_every_config_is_tried():
    files = {path.stem for path in Path(base.__file__).parent.glob("*.py")}
    assert files - {"__init__", "base"} == set(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_builds_networks_that_fit_together(name):
    config = importlib.import_module(f"cxr_jax.configs.{name}").get_config()
    networks = build.make_gan_networks(config)
    explained, judge = (build.make_classifier(s) for s in (config.classifier, config.judge))
    image = jnp.zeros((2, config.data.image_size, config.data.image_size, 1))

    def play(image):
        def run(network, *inputs):
            return network.init_with_output(jax.random.key(0), *inputs)[0]

        latents = [jnp.zeros((2, size)) for size in networks.generator.latent_sizes]
        if networks.encoder:
            latents = [mean for mean, _ in run(networks.encoder, image)]
        drawn = run(networks.generator, *latents)
        judged = run(networks.discriminator, drawn, jnp.zeros(2, jnp.int32))
        return drawn, run(explained, drawn)[0], run(judge, drawn)[0], judged

    drawn, *answers = jax.eval_shape(play, image)
    assert drawn.shape == image.shape
    assert [margin.shape for margin in answers] == [(2,)] * 3
    num_structure, num_class = networks.generator.latent_sizes
    assert num_structure > num_class
    assert num_class >= 32 or config.gan.networks == "paper"


@pytest.mark.parametrize(("name", "variant"), [("covid", "lungs128"), ("nih", "lungs")])
def test_f_and_h_may_both_be_shown_lungs_alone(name, variant, tmp_path):
    config = importlib.import_module(f"cxr_jax.configs.{name}").get_config(variant)
    check_classifiers(config, tmp_path)
    for section in (config.classifier, config.judge):
        network = build.make_classifier(section)
        assert isinstance(network, LungView)
        assert network.segmenter == build.make_segmenter(config.evaluators.segmenter)
        assert isinstance(network.classifier, build.OWN[section.architecture])


# Training them.


def make_splits(count: int = 16) -> dict:
    """Films whose positives are brighter above."""
    rng = np.random.default_rng(0)
    label = np.arange(count) % 2
    image = rng.integers(0, 120, (count, SIZE, SIZE, 1))
    image[:, : SIZE // 2] += 100 * label[:, None, None, None]
    arrays = {"image": image.astype(np.uint8), "label": label.astype(np.int64)}
    return dict.fromkeys(("train", "validation", "test"), arrays)


@pytest.mark.slow
def test_weights_used_as_they_are(dense, tensors, tmp_path):
    dense.weights = str(write_safetensors(tmp_path / "w.safetensors", tensors))
    dense.num_steps = 0
    directory, splits = tmp_path / "classifier", make_splits(8)
    for _ in range(2):  # the second time it is found
        classifier.train(dense, SIZE, 0, directory=directory, splits=splits)
    model = load_classifier(dense, SIZE, directory)
    wanted = build.first_params(dense, model.network, image_size=SIZE, seed=1)
    jax.tree.map(np.testing.assert_array_equal, model.params, wanted)
    margin = margins(model, splits["test"]["image"])
    assert np.isfinite(margin).all() and margin.std() > 0


@pytest.mark.slow
def test_a_resnet_learns(section, tmp_path):
    section.update(dict(architecture="resnet50", num_steps=12, eval_every=6, batch_size=16))
    section.update(dict(learning_rate=1e-3, ema_decay=0.5))
    splits = make_splits()
    classifier.train(section, SIZE, 0, directory=tmp_path, splits=splits)
    model = load_classifier(section, SIZE, tmp_path)
    margin = margins(model, splits["test"]["image"])
    label = splits["test"]["label"]
    assert margin[label == 1].mean() > margin[label == 0].mean() + 1
    fresh = build.init_params(model.network, SIZE, 0)
    assert (
        float(np.abs(model.params["bn1"]["running_mean"] - fresh["bn1"]["running_mean"]).max()) > 0
    )
