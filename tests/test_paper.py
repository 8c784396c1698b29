"""The paper's networks have the sizes that it gives, and train on statistics of the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.configs import paper
from cxr_jax.pipeline import explain
from cxr_jax.training import gan_state
from cxr_jax.training import paper_objective
from cxr_jax.runtime import parallel
from cxr_jax.training import gan
from cxr_jax.training import paper_gan
from cxr_jax.networks.grading import Scale
from cxr_jax.models.paper import PaperDiscriminator
from cxr_jax.models.paper import PaperGenerator
from cxr_jax.models.paper import grown_size
from cxr_jax.errors import InputError

WEIGHTS = paper_objective.Weights(entropy=1.0, mode_seeking=0.2)


def count(shapes) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))


def test_one_pixel_grows_to_the_sizes_of_the_paper():
    assert [grown_size(layers) for layers in (4, 5)] == [64, 128]


def test_the_generator_is_the_papers():
    """Kernels of 5, the last of 8; weights counted by hand."""
    network = PaperGenerator(128)
    latents = jnp.zeros((2, 100)), jnp.zeros((2, 10))
    image, variables = jax.eval_shape(lambda: network.init_with_output(jax.random.key(0), *latents))
    assert image.shape == (2, 128, 128, 1)
    widths = (768, 384, 256, 192, 64)
    kernels = sum(25 * one * other for one, other in zip(widths, widths[1:], strict=False))
    dense, last, norms = 111 * 768, 64 * 64, 4 * sum(widths[1:])
    assert count(variables["params"]) == dense + kernels + last + norms


@pytest.mark.parametrize(("size", "left"), [(128, 13), (64, 5)])
def test_the_discriminator_is_the_papers(size, left):
    network = PaperDiscriminator()
    inputs = jnp.zeros((2, size, size, 1)), jnp.zeros(2, jnp.int32)
    logit, variables = jax.eval_shape(lambda: network.init_with_output(jax.random.key(0), *inputs))
    assert logit.shape == (2,)
    widths = (1, 16, 32, 64, 128, 256, 512)
    kernels = sum(9 * one * other for one, other in zip(widths, widths[1:], strict=False))
    norms, head = 4 * sum(widths[2:]), left * left * 512 + 1
    assert count(variables["params"]) == kernels + norms + head


def test_weights_are_drawn_with_a_deviation_of_a_fiftieth():
    network = PaperGenerator(16, (5, 2), (64, 32))
    params = network.init(jax.random.key(0), jnp.zeros((1, 5)), jnp.zeros((1, 2)))["params"]
    kernel = np.asarray(params["grow_1"]["weight"])
    assert abs(kernel.mean()) < 1e-3 and kernel.std() == pytest.approx(0.02, rel=0.02)


@pytest.fixture(scope="module")
def networks():
    config = paper.get_config("tiny")
    config.data.image_size = 16
    config.gan.paper.update(dict(generator_widths=(32, 16), discriminator_widths=(8, 8)))
    return make_networks(config)


def test_dropout_is_drawn_in_training_alone(networks):
    network = networks.discriminator.clone(total=lambda value: value)
    image = jax.random.normal(jax.random.key(1), (4, 16, 16, 1))
    grade, keys = jnp.zeros(4, jnp.int32), jax.random.split(jax.random.key(2), (2, 4))
    variables = network.init(jax.random.key(0), image, grade)
    one, other = (network.apply(variables, image, grade, each) for each in keys)
    assert np.abs(one - other).max() > 1e-4
    used = network.apply(variables, image, grade)
    np.testing.assert_allclose(used, network.clone(rate=0.0).apply(variables, image, grade))
    assert np.abs(used - one).max() > 1e-4


def test_statistics_of_the_batch_become_the_generators(networks):
    """The first layer's, by hand: a tenth of the way to those of the images that were drawn."""
    rows = 16
    optimizers = gan_state.make_optimizers(paper.get_config("tiny").gan)
    start = gan_state.init_state(*init_gan_params(networks, 0), optimizers)
    classifier = networks.classifier.init(jax.random.key(0), jnp.zeros((1, 16, 16, 1)))["params"]
    step = paper_gan.make_train_step(networks, optimizers, 1e-3)
    image = np.random.default_rng(0).integers(256, size=(rows, 16, 16, 1), dtype=np.uint8)
    index = np.arange(rows, dtype=np.int32)
    before = jax.tree.map(np.asarray, start.generator["generator"])
    mapped = jax.pmap(step, parallel.AXIS, in_axes=(None, 0, None, None, None), out_axes=None)
    batch = {"image": image, "index": index}
    batch = {name: array.reshape(4, -1, *array.shape[1:]) for name, array in batch.items()}
    state, _ = mapped(start, batch, classifier, Scale(-1.0, 1.0), gan_state.Setting(WEIGHTS, 3))
    keys = parallel.example_keys(3, jnp.int32(0), index)
    draw = paper_objective.draw_latents(keys, index, 100, 10)
    z = np.concatenate([draw.structure, draw.severity], axis=-1)
    x = z @ before["dense"]["weight"] + before["dense"]["bias"]
    y = np.einsum("bc,hwcf->bhwf", x, before["grow_1"]["weight"])
    for found in (state.generator["generator"], state.average["generator"]):
        norm = found["norm_1"]
        np.testing.assert_allclose(norm["running_mean"], 0.1 * y.mean((0, 1, 2)), atol=1e-5)
        spread = 0.9 + 0.1 * y.var((0, 1, 2), ddof=1)
        np.testing.assert_allclose(norm["running_var"], spread, rtol=1e-5)


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("gan", "objective", "ours"),
        ("gan", "conditioning", "graded"),
        ("gan", "r1_weight", 0.5),
        ("explain.inversion", "start", "encoder"),
        ("data", "image_size", 32),
    ],
)
def test_what_the_paper_lacks_is_refused(section, field, value):
    config = paper.get_config("64")
    check_explain(config)
    part = config
    for name in section.split("."):
        part = part[name]
    part[field] = value
    with pytest.raises(InputError, match=f"config.{section}.{field} is .* the paper's "):
        check_explain(config)
