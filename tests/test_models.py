"""Networks: shapes, dtypes, what their inputs may and may not do, and every config's own."""

import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.training import classifier
from cxr_jax.training import gan
from cxr_jax.networks.build import Networks
from cxr_jax.models import gan

SIZE, BATCH = 32, 3
CONFIGS = sorted(p.stem for p in Path("configs").glob("*.py") if p.stem not in ("__init__", "base"))


@pytest.fixture
def networks(tiny_config) -> Networks:
    tiny_config.data.image_size = SIZE
    return make_networks(tiny_config)


@pytest.fixture
def image(key) -> jax.Array:
    return jax.random.uniform(key, (BATCH, SIZE, SIZE, 1), minval=-1)


@pytest.fixture
def latents(networks, key) -> tuple[jax.Array, jax.Array]:
    sizes = networks.generator.latent_sizes
    keys = jax.random.split(key, len(sizes))
    return tuple(jax.random.normal(k, (BATCH, n)) for k, n in zip(keys, sizes, strict=True))


@pytest.fixture
def params(networks, latents, random_params) -> dict:
    """Parameters of a generator, none of which is at its initial zero."""
    return random_params(networks.generator, *latents)


@pytest.fixture
def draw(networks):
    return jax.jit(lambda params, *latents: networks.generator.apply({"params": params}, *latents))


def test_latent_sizes_follow_from_the_image():
    shapes = gan.structure_shapes(64, (16, 6, 3))
    assert shapes == ((4, 4, 16), (8, 8, 6), (16, 16, 3))
    assert gan.num_components(shapes) == 4 * 4 * 16 + 8 * 8 * 6 + 16 * 16 * 3


def test_unpack_cuts_without_loss(key):
    shapes = gan.structure_shapes(SIZE, (3, 2))
    latent = jax.random.normal(key, (BATCH, gan.num_components(shapes)))
    maps = gan.unpack(latent, shapes)
    assert [m.shape for m in maps] == [(BATCH, *shape) for shape in shapes]
    packed = jnp.concatenate([m.reshape(BATCH, -1) for m in maps], axis=1)
    np.testing.assert_array_equal(packed, latent)


def test_generator_draws_images_in_range(draw, params, latents):
    image = draw(params, *jax.tree.map(lambda z: 10 * z, latents))
    assert image.shape == (BATCH, SIZE, SIZE, 1) and image.dtype == jnp.float32
    assert float(jnp.abs(image).max()) <= 1.0


def test_both_latents_matter_and_films_do_not_mix(draw, params, latents):
    structure, severity = latents
    image = draw(params, structure, severity)
    other_lungs = draw(params, structure.at[0].set(0.0), severity)
    other_lesion = draw(params, structure, severity.at[0].set(0.0))
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
    """G(z_s, 0) is the same whatever the class branch has learned."""
    structure, severity = latents
    relearned = jax.tree_util.tree_map_with_path(
        lambda path, p: 3 * p if "ClassBranch" in jax.tree_util.keystr(path) else p, params
    )
    origin = jnp.zeros_like(severity)
    np.testing.assert_array_equal(
        draw(relearned, structure, origin), draw(params, structure, origin)
    )
    moved = draw(relearned, structure, severity) - draw(params, structure, severity)
    assert float(jnp.abs(moved).max()) > 1e-3


def test_the_generator_is_smooth_where_walks_start(draw, params, latents):
    structure, severity = latents
    slope = jax.jit(
        lambda t: jax.jvp(lambda t: draw(params, structure, t * severity), (t,), (1.0,))[1]
    )
    left, right = slope(-1e-3), slope(1e-3)
    scale = float(jnp.abs(right).max())
    assert scale > 1e-3
    np.testing.assert_allclose(left, right, atol=0.05 * scale)


def test_the_encoder_matches_the_generator(networks, image, latents, random_params):
    params = random_params(networks.encoder, image)
    encode = jax.jit(lambda x: networks.encoder.apply({"params": params}, x))
    moments = encode(100 * image)
    for (mean, log_std), latent in zip(moments, latents, strict=True):
        assert mean.shape == log_std.shape == latent.shape
        assert float(log_std.min()) >= -10 and float(log_std.max()) <= 2


def test_the_classifier_returns_its_margin_and_its_maps(networks, image, key):
    (margin, features), _ = jax.eval_shape(networks.classifier.init_with_output, key, image)
    assert margin.shape == (BATCH,)
    stages = len(networks.classifier.widths) - 1
    assert {name: f.shape for name, f in features.items()} == {
        f"stage_{i + 1}": (BATCH, SIZE // 4 >> i, SIZE // 4 >> i, 8) for i in range(stages)
    }


def test_the_discriminator_is_told_the_grade(networks, image, random_params):
    discriminator = networks.discriminator
    params = random_params(discriminator, image, jnp.zeros(BATCH, jnp.int32))
    judge = jax.jit(lambda grade: discriminator.apply({"params": params}, image, grade))
    judged = [judge(jnp.full(BATCH, grade)) for grade in range(discriminator.num_grades)]
    assert judged[0].shape == (BATCH,)
    for one, other in zip(judged, judged[1:], strict=False):
        assert float(jnp.abs(one - other).min()) > 1e-4


def test_half_precision_stays_inside(networks, image, latents, key):
    inputs = {
        "generator": latents,
        "encoder": (image,),
        "discriminator": (image, jnp.zeros(BATCH, jnp.int32)),
        "classifier": (image,),
    }
    for name, arguments in inputs.items():
        half = getattr(networks, name).clone(dtype="bfloat16")
        outputs, params = jax.eval_shape(half.init_with_output, key, *arguments)
        if name == "classifier":
            outputs, features = outputs  # a loss is taken of both
            assert {f.dtype.name for f in features.values()} == {"float32"}
        assert {leaf.dtype.name for leaf in jax.tree.leaves(outputs)} == {"float32"}, name
        assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"float32"}, name


def test_half_precision_draws_about_the_same(networks, draw, params, latents):
    half = networks.generator.clone(dtype="bfloat16")
    rough = jax.jit(half.apply)({"params": params}, *latents)
    np.testing.assert_allclose(rough, draw(params, *latents), atol=0.1)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_builds_networks_that_fit_together(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    networks = make_networks(config)
    judge = classifier.make_classifier(config.judge)
    image = jnp.zeros((2, config.data.image_size, config.data.image_size, 1))

    def play(image):
        def run(network, *inputs):
            return network.init_with_output(jax.random.key(0), *inputs)[0]

        latents = [jnp.zeros((2, size)) for size in networks.generator.latent_sizes]
        if networks.encoder:
            latents = [mean for mean, _ in run(networks.encoder, image)]
        drawn = run(networks.generator, *latents)
        judged = run(networks.discriminator, drawn, jnp.zeros(2, jnp.int32))
        return drawn, run(networks.classifier, drawn)[0], run(judge, drawn)[0], judged

    drawn, *margins = jax.eval_shape(play, image)
    assert drawn.shape == image.shape
    assert [margin.shape for margin in margins] == [(2,)] * 3
    num_structure, num_severity = networks.generator.latent_sizes
    assert num_structure > num_severity
    assert num_severity >= 32 or config.gan.networks == "paper"


def test_a_class_latent_without_maps_changes_every_level_alike(networks, latents, random_params):
    loose = dict(severity_channels=(5, 2), severity_is_placed=False)
    generator, encoder = (net.clone(**loose) for net in (networks.generator, networks.encoder))
    structure, severity = latents[0], 0.5 * jnp.ones((BATCH, 7))
    params = random_params(generator, structure, severity)
    draw = jax.jit(lambda severity: generator.apply({"params": params}, structure, severity))
    assert draw(severity).shape == (BATCH, SIZE, SIZE, 1)
    for component in (0, 6):
        moved = draw(severity.at[:, component].add(1.0)) - draw(severity)
        assert float(jnp.abs(moved).max()) > 1e-4
    image = draw(severity)
    _, (mean, log_std) = encoder.apply({"params": random_params(encoder, image)}, image)
    assert mean.shape == log_std.shape == severity.shape
