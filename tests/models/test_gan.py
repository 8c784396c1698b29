"""Generator and discriminator: shapes, ranges, and what their inputs may and may not do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.models import gan
from cxr_jax.models.gan import ClassBranch, Modulation


@pytest.fixture
def params(networks, latents, random_params) -> dict:
    """Parameters of a generator, none of which is at its initial zero."""
    return random_params(networks.generator, *latents)


@pytest.fixture
def draw(networks):
    return jax.jit(lambda params, *latents: networks.generator.apply({"params": params}, *latents))


def test_latent_sizes_follow_from_the_image():
    shapes = gan.z_structure_shapes(64, (16, 6, 3))
    assert shapes == ((4, 4, 16), (8, 8, 6), (16, 16, 3))
    assert gan.num_components(shapes) == 4 * 4 * 16 + 8 * 8 * 6 + 16 * 16 * 3


def test_unpack_cuts_without_loss(key):
    shapes = gan.z_structure_shapes(32, (3, 2))
    latent = jax.random.normal(key, (3, gan.num_components(shapes)))
    maps = gan.unpack(latent, shapes)
    assert [m.shape for m in maps] == [(3, *shape) for shape in shapes]
    packed = jnp.concatenate([m.reshape(3, -1) for m in maps], axis=1)
    np.testing.assert_array_equal(packed, latent)


def test_generator_draws_images_in_range(draw, params, latents, image):
    drawn = draw(params, *jax.tree.map(lambda z: 10 * z, latents))
    assert drawn.shape == image.shape and drawn.dtype == jnp.float32
    assert float(jnp.abs(drawn).max()) <= 1.0


def test_both_latents_matter_and_films_do_not_mix(draw, params, latents):
    z_structure, z_class = latents
    image = draw(params, z_structure, z_class)
    other_lungs = draw(params, z_structure.at[0].set(0.0), z_class)
    other_lesion = draw(params, z_structure, z_class.at[0].set(0.0))
    for other in (other_lungs, other_lesion):
        assert float(jnp.abs(other[0] - image[0]).max()) > 1e-3
        np.testing.assert_allclose(other[1:], image[1:], atol=1e-6)


def test_every_component_of_the_latents_matters(networks, params, latents):
    def sensitivity(*latents):
        image = networks.generator.apply({"params": params}, *latents)
        return (image * jnp.cos(jnp.arange(image.size)).reshape(image.shape)).sum()

    for gradient in jax.jit(jax.grad(sensitivity, argnums=(0, 1)))(*latents):
        assert (jnp.abs(gradient).max(axis=0) > 0).all()


def test_the_class_branch_is_silent_at_the_origin(draw, params, latents):
    """G(z_structure, 0) is the same whatever the class branch has learned."""
    z_structure, z_class = latents
    relearned = jax.tree_util.tree_map_with_path(
        lambda path, p: 3 * p if "ClassBranch" in jax.tree_util.keystr(path) else p, params
    )
    origin = jnp.zeros_like(z_class)
    np.testing.assert_array_equal(
        draw(relearned, z_structure, origin), draw(params, z_structure, origin)
    )
    moved = draw(relearned, z_structure, z_class) - draw(params, z_structure, z_class)
    assert float(jnp.abs(moved).max()) > 1e-3


def test_the_generator_is_smooth_where_walks_start(draw, params, latents):
    z_structure, z_class = latents
    slope = jax.jit(
        lambda t: jax.jvp(lambda t: draw(params, z_structure, t * z_class), (t,), (1.0,))[1]
    )
    left, right = slope(-1e-3), slope(1e-3)
    scale = float(jnp.abs(right).max())
    assert scale > 1e-3
    np.testing.assert_allclose(left, right, atol=0.05 * scale)


def test_half_precision_draws_about_the_same(networks, draw, params, latents):
    half = networks.generator.clone(dtype="bfloat16")
    rough = jax.jit(half.apply)({"params": params}, *latents)
    np.testing.assert_allclose(rough, draw(params, *latents), atol=0.1)


@pytest.mark.parametrize("name", ["generator", "discriminator"])
def test_half_precision_stays_inside(name, networks, image, latents, key):
    inputs = {"generator": latents, "discriminator": (image, jnp.zeros(len(image), jnp.int32))}
    half = getattr(networks, name).clone(dtype="bfloat16")
    outputs, params = jax.eval_shape(half.init_with_output, key, *inputs[name])
    assert {leaf.dtype.name for leaf in jax.tree.leaves(outputs)} == {"float32"}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"float32"}


def test_a_class_latent_without_maps_changes_every_level_alike(networks, latents, random_params):
    loose = dict(z_class_channels=(5, 2), spatial_z_class=False)
    generator, encoder = (net.clone(**loose) for net in (networks.generator, networks.encoder))
    z_structure, z_class = latents[0], 0.5 * jnp.ones((len(latents[0]), 7))
    params = random_params(generator, z_structure, z_class)
    draw = jax.jit(lambda z_class: generator.apply({"params": params}, z_structure, z_class))
    image = draw(z_class)
    assert image.shape == (len(z_class), 32, 32, 1)
    for component in (0, 6):
        moved = draw(z_class.at[:, component].add(1.0)) - image
        assert float(jnp.abs(moved).max()) > 1e-4
    _, (mean, log_std) = jax.eval_shape(encoder.init_with_output, jax.random.key(0), image)[0]
    assert mean.shape == log_std.shape == z_class.shape


def test_the_discriminator_is_told_the_grade(networks, image, random_params):
    discriminator, rows = networks.discriminator, len(image)
    params = random_params(discriminator, image, jnp.zeros(rows, jnp.int32))
    judge = jax.jit(lambda grade: discriminator.apply({"params": params}, image, grade))
    judged = [judge(jnp.full(rows, grade)) for grade in range(discriminator.num_grades)]
    assert judged[0].shape == (rows,)
    for one, other in zip(judged, judged[1:], strict=False):
        assert float(jnp.abs(one - other).min()) > 1e-4


# Its layers.


def test_class_branch_is_zero_at_the_origin_and_smooth(key):
    layer, z_class = ClassBranch(8), jnp.zeros((2, 2, 2, 4))
    params = layer.init(key, z_class)
    np.testing.assert_array_equal(layer.apply(params, z_class), jnp.zeros((2, 2, 2, 8)))
    # No kink: the slopes on both sides of the origin meet.
    direction = jax.random.normal(key, z_class.shape)
    left, right = (
        jax.jvp(lambda z: layer.apply(params, z), (t * direction,), (direction,))[1]
        for t in (-1e-4, 1e-4)
    )
    np.testing.assert_allclose(left, right, atol=1e-3)
    assert float(jnp.abs(right).max()) > 0.01


def test_modulation_is_the_identity_where_the_class_map_is_zero(key):
    x = jax.random.normal(key, (2, 6, 4, 8))
    layer, u = Modulation(), jnp.zeros((2, 6, 4, 3))
    params = layer.init(key, x, u)
    np.testing.assert_array_equal(layer.apply(params, x, u), x)
    u = u.at[:, 0].set(1.0)
    y = layer.apply(params, x, u)
    np.testing.assert_array_equal(y[:, 1:], x[:, 1:])
    assert float(jnp.abs(y[:, 0] - x[:, 0]).max()) > 0.01
