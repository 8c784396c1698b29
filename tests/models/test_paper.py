"""The paper's networks have the sizes that it gives; the step that trains them is in training/."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.models.paper import PaperDiscriminator, PaperGenerator, grown_size


def count(shapes) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))


def test_one_pixel_grows_to_the_sizes_of_the_paper():
    assert [grown_size(layers) for layers in (4, 5)] == [64, 128]


def test_the_generator_is_the_papers():
    """Kernels of 5, the last of 8; weights counted by hand."""
    network = PaperGenerator(image_size=128)
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
    network = PaperGenerator(image_size=16, latent_sizes=(5, 2), widths=(64, 32))
    latents = jnp.zeros((1, 5)), jnp.zeros((1, 2))
    params = jax.jit(network.init)(jax.random.key(0), *latents)["params"]
    kernel = np.asarray(params["grow_1"]["weight"])
    assert abs(kernel.mean()) < 1e-3 and kernel.std() == pytest.approx(0.02, rel=0.02)


def test_dropout_is_drawn_in_training_alone():
    network = PaperDiscriminator(widths=(8, 8))
    image = jax.random.normal(jax.random.key(1), (4, 16, 16, 1))
    grade, keys = jnp.zeros(4, jnp.int32), jax.random.split(jax.random.key(2), (2, 4))
    variables = jax.jit(network.init)(jax.random.key(0), image, grade)
    apply = jax.jit(network.apply)
    one, other = (apply(variables, image, grade, each) for each in keys)
    assert np.abs(one - other).max() > 1e-4
    used = apply(variables, image, grade)
    np.testing.assert_allclose(used, network.clone(rate=0.0).apply(variables, image, grade))
    assert np.abs(used - one).max() > 1e-4
