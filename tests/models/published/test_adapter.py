"""A published classifier behind its convention: what it is shown, and what is read off it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.explain import attribution
from cxr_jax.models.model import Model
from cxr_jax.models.published.adapter import Adapted, present, read_margin
from cxr_jax.models.published.densenet import DenseNet
from cxr_jax.models.published.resnet import ResNet
from cxr_jax.models.published.vgg import VGG

SMALL = {
    "densenet": DenseNet(3, blocks=(1, 2), growth=4, stem=8),
    "resnet": ResNet(3, blocks=(1, 1), width=4),
    "vgg": VGG(3, hidden=(6, 5), blocks=(1, 2), widths=(4, 6)),
}


def adapt(backbone: nn.Module, **changed) -> Adapted:
    fields = dict(
        input_size=32,
        channels=3,
        black=(-2.0, -1.0, 0.0),
        white=(3.0,),
        positive_output=2,
        negative_output=0,
        threshold=0.5,
    )
    return Adapted(backbone, **(fields | changed))


@pytest.fixture
def image(key):
    return jax.random.uniform(key, (2, 16, 16, 1), minval=-1)


def test_black_and_white_of_every_channel():
    grey = jnp.array([-1.0, 0.0, 1.0]).reshape(1, 1, 3, 1) * jnp.ones((1, 3, 1, 1))
    xrv = present(grey, 0, channels=1, black=(-1024.0,), white=(1024.0,))
    np.testing.assert_array_equal(xrv[0, 0, :, 0], [-1024, 0, 1024])
    three = present(grey, 0, channels=3, black=(-2.0, -1.0, 0.0), white=(3.0, 4.0, 1.0))
    wanted = [[-2, -1, 0], [0.5, 1.5, 0.5], [3, 4, 1]]
    np.testing.assert_allclose(three[0, 0], wanted, atol=1e-6)
    repeated = present(grey, 0, channels=3, black=(0.0,), white=(1.0,))
    np.testing.assert_allclose(repeated[0, 0], [[0] * 3, [0.5] * 3, [1] * 3], atol=1e-6)


def test_resizing_by_hand():
    step = jnp.array([-1.0, 1.0]).reshape(1, 1, 2, 1) * jnp.ones((1, 2, 1, 1))
    grown = present(step, 4, channels=1, black=(-1.0,), white=(1.0,))
    # Between the centres of the pixels, the first and the last beyond them.
    np.testing.assert_allclose(grown[0, :, :, 0], [[-1, -0.5, 0.5, 1]] * 4, atol=1e-6)
    shrunk = present(grown, 2, channels=1, black=(-1.0,), white=(1.0,))
    # Smoothed before it is thinned: weights 3, 3 and 1 of 7.
    np.testing.assert_allclose(shrunk[0, :, :, 0], [[-4 / 7, 4 / 7]] * 2, atol=1e-6)


def test_nothing_is_resized_that_need_not_be(image):
    for size in (0, 16):
        np.testing.assert_allclose(
            present(image, size, channels=1, black=(-1.0,), white=(1.0,)), image, atol=1e-6
        )


def test_what_is_explained():
    outputs = jnp.array([[1.0, 2.0, 4.0], [0.0, -1.0, 0.5]])
    np.testing.assert_allclose(
        read_margin(outputs, positive=2, negative=-1, threshold=0.5), [4.0, 0.5]
    )
    np.testing.assert_allclose(
        read_margin(outputs, positive=2, negative=0, threshold=0.5), [3.0, 0.5]
    )
    # The margin is 0 at the probability from which the classifier says so.
    at_threshold = jnp.log(jnp.array([[0.07 / 0.93]]))
    np.testing.assert_allclose(
        read_margin(at_threshold, positive=0, negative=-1, threshold=0.07), [0.0], atol=1e-6
    )


@pytest.mark.parametrize("name", SMALL)
def test_the_parameters_are_the_backbones(name, image, key):
    backbone = SMALL[name]
    network = adapt(backbone)
    assert network.last_stage == "stage_2" and network.head == backbone.head
    params = jax.jit(network.init)(key, image)["params"]
    shown = present(image, 32, channels=3, black=network.black, white=network.white)
    outputs, maps = jax.jit(backbone.apply)({"params": params}, shown)
    margin, features = jax.jit(network.apply)({"params": params}, image)
    np.testing.assert_allclose(margin, outputs[:, 2] - outputs[:, 0], atol=1e-6)
    assert features.keys() == maps.keys()


@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_the_image_and_the_maps(name, image, key):
    network = adapt(SMALL[name])
    params = jax.jit(network.init)(key, image)["params"]
    total = jax.jit(lambda x: network.apply({"params": params}, x)[0].sum())
    gradient = jax.jit(jax.grad(total))(image)
    assert gradient.shape == image.shape and float(jnp.abs(gradient).max()) > 0
    # The network is as steep as the finite difference along its gradient says.
    ask = lambda t: total(image + t * gradient)
    slope = float(jnp.square(gradient).sum())
    step = 1e-3 / float(jnp.abs(gradient).max())
    np.testing.assert_allclose((ask(step) - ask(-step)) / (2 * step), slope, rtol=0.05)
    opposite = network.clone(positive_output=0, negative_output=2)
    evidence, flipped = (
        jax.jit(attribution.grad_cam, static_argnums=2)(
            Model(one, params), image, network.last_stage
        )
        for one in (network, opposite)
    )
    assert evidence.shape == image.shape
    assert float(evidence.min()) >= 0 and float(jnp.maximum(evidence, flipped).max()) > 0
