"""Layers after PyTorch's, against hand-made values and XLA's own forms, without PyTorch."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.models.published import torch_layers
from cxr_jax.models.published.densenet import DenseNet
from cxr_jax.models.published.resnet import ResNet
from cxr_jax.models.published.torch_layers import BatchNorm, Conv
from cxr_jax.models.published.vgg import VGG
from cxr_jax.runtime import parallel

SMALL = {
    "densenet": DenseNet(3, blocks=(1, 2), growth=4, stem=8),
    "resnet": ResNet(3, blocks=(1, 1), width=4),
    "vgg": VGG(3, hidden=(6, 5), blocks=(1, 2), widths=(4, 6)),
}


@pytest.mark.parametrize(("size", "stride"), [(7, 2), (3, 2), (3, 1), (1, 2)])
@pytest.mark.parametrize("side", [8, 9])
def test_a_product_of_patches_is_the_strided_convolution(size, stride, side, key):
    x = jax.random.normal(key, (2, side, side, 3))
    conv = Conv(4, size, stride)
    params = conv.init(key, x)["params"]
    wanted = jax.lax.conv_general_dilated(
        *(x, params["weight"], (stride, stride), [(size // 2, size // 2)] * 2),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    np.testing.assert_allclose(conv.apply({"params": params}, x), wanted, atol=1e-5)


@pytest.mark.parametrize("side", [6, 7])
def test_max_pooling_is_xlas(side, key):
    x = jax.random.normal(key, (2, side, side, 3))
    wanted = nn.max_pool(x, (3, 3), (2, 2), [(1, 1), (1, 1)])
    np.testing.assert_array_equal(torch_layers.max_pool_3(x), wanted)
    wanted = nn.max_pool(x, (2, 2), (2, 2))
    np.testing.assert_array_equal(torch_layers.max_pool_2(x), wanted)
    wanted = nn.avg_pool(x, (2, 2), (2, 2))
    np.testing.assert_allclose(torch_layers.mean_pool_2(x), wanted, atol=1e-6)


def test_adaptive_pooling_by_hand():
    x = jnp.arange(5.0).reshape(1, 1, 5, 1) * jnp.ones((1, 2, 1, 1))
    # Three windows over five columns: 0-1, 1-3, 3-4; two rows are stretched over three.
    pooled = torch_layers.adaptive_mean_pool(x, 3)
    np.testing.assert_allclose(pooled[0, :, :, 0], [[0.5, 2.0, 3.5]] * 3, atol=1e-6)


def test_batch_statistics_by_hand():
    x = jnp.array([0.0, 2.0, 4.0, 6.0]).reshape(4, 1, 1, 1)
    norm = BatchNorm(epsilon=0.0)
    params = norm.init(jax.random.key(0), x, train=False)["params"]
    np.testing.assert_array_equal(norm.apply({"params": params}, x, train=False), x)
    y, changed = norm.apply({"params": params}, x, train=True, mutable=["statistics"])
    np.testing.assert_allclose(y.ravel(), (x.ravel() - 3) / np.sqrt(5), rtol=1e-6)
    moved = changed["statistics"]
    np.testing.assert_allclose(moved["running_mean"], [0.3], rtol=1e-6)
    np.testing.assert_allclose(moved["running_var"], [0.9 + 0.1 * 20 / 3], rtol=1e-6)


def test_batch_statistics_are_those_of_all_devices(key):
    x = np.asarray(jax.random.normal(key, (8, 3, 3, 2)) + 5 * jnp.arange(8.0).reshape(8, 1, 1, 1))
    alone, together = BatchNorm(), BatchNorm(total=parallel.total)
    params = alone.init(key, x, train=False)["params"]

    def run(norm, x):
        return norm.apply({"params": params}, x, train=True, mutable=["statistics"])

    joined = jax.pmap(lambda x: run(together, x), axis_name=parallel.AXIS)(x.reshape(4, 2, 3, 3, 2))
    y, changed = run(alone, x)
    np.testing.assert_allclose(joined[0].reshape(x.shape), y, atol=1e-5)
    for name, value in changed["statistics"].items():
        for device in range(4):
            np.testing.assert_allclose(joined[1]["statistics"][name][device], value, rtol=1e-5)


def test_running_statistics_are_not_learned(key):
    x = jax.random.normal(key, (4, 3, 3, 2))
    norm = BatchNorm()
    params = norm.init(key, x, train=False)["params"]
    gradient = jax.grad(lambda p: (norm.apply({"params": p}, x, train=False) ** 3).sum())(params)
    assert float(jnp.abs(gradient["weight"]).min()) > 0
    assert not gradient["running_mean"].any() and not gradient["running_var"].any()


def test_dropout_is_each_examples_own(key):
    x, keys = jnp.ones((3, 2000)), jax.random.split(key, 3)
    dropped = torch_layers.dropout(x, 0.25, keys, layer=0)
    assert set(np.unique(dropped)) == {0.0, np.float32(1 / 0.75)}
    np.testing.assert_allclose(dropped.mean(axis=1), 1.0, atol=0.06)
    alone = torch_layers.dropout(x[1:2], 0.25, keys[1:2], layer=0)
    np.testing.assert_array_equal(alone, dropped[1:2])
    for other in (torch_layers.dropout(x, 0.25, keys, layer=1), dropped[::-1]):
        assert float((other[0] != dropped[0]).mean()) > 0.2
    np.testing.assert_array_equal(torch_layers.dropout(x, 0.25, None, layer=0), x)


@pytest.mark.parametrize(
    ("network", "channels", "count"),
    [
        (DenseNet(1000), 3, 7_978_856),
        (DenseNet(18), 1, 6_966_034),
        (ResNet(1000), 3, 25_557_032),
        (VGG(1000, hidden=(4096, 4096)), 3, 138_357_544),
    ],
    ids=["densenet121", "torchxrayvision", "resnet50", "vgg16"],
)
def test_as_many_parameters_as_published(network, channels, count):
    image = jnp.zeros((1, 224, 224, channels))
    params = jax.eval_shape(lambda: network.init(jax.random.key(0), image)["params"])
    learned = [
        leaf.size
        for layer in params.values()
        for name, leaf in layer.items()
        if not name.startswith("running")
    ]
    assert sum(learned) == count


@pytest.mark.parametrize("name", SMALL)
def test_training_and_use(name, key):
    network, image = SMALL[name], jax.random.normal(key, (3, 32, 32, 1))
    params = jax.jit(network.init)(key, image)["params"]
    keys = jax.random.split(key, 3)
    apply = jax.jit(network.apply, static_argnames="mutable")
    used, features = apply({"params": params}, image)
    trained, changed = apply({"params": params}, image, keys, mutable=("statistics",))
    assert used.shape == (3, 3) and [*features] == ["stage_1", "stage_2"]
    assert network.last_stage == "stage_2" and set(network.head) < set(params)
    assert float(jnp.abs(trained[0] - used).max()) > 1e-3
    assert {k for k in params if "running_mean" in params[k]} == set(changed.get("statistics", {}))
    # Films do not mix when the network is used.
    alone = apply({"params": params}, image[:1])[0]
    np.testing.assert_allclose(alone, used[:1], atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_maps_can_be_perturbed(name, key):
    """What Grad-CAM needs: the gradient with respect to every map."""
    network, image = SMALL[name], jax.random.normal(key, (2, 32, 32, 1))
    params = jax.jit(network.init)(key, image)["params"]
    apply = jax.jit(network.apply, static_argnames="mutable")
    (_, features), zeros = apply({"params": params}, image, mutable=("perturbations",))
    assert zeros["perturbations"].keys() == features.keys()
    total = lambda zeros: network.apply({"params": params, **zeros}, image)[0][:, 0].sum()
    gradient = jax.jit(jax.grad(total))(zeros)["perturbations"]
    assert all(float(jnp.abs(one).max()) > 0 for one in gradient.values())


@pytest.mark.parametrize("name", SMALL)
def test_half_precision_stays_inside(name, key):
    network = SMALL[name].clone(dtype="bfloat16")
    image = jnp.zeros((2, 32, 32, 1))
    (outputs, features), variables = jax.eval_shape(network.init_with_output, key, image)
    assert outputs.dtype == jnp.float32
    assert {f.dtype.name for f in features.values()} == {"bfloat16"}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"float32"}
