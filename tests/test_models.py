"""Networks: shapes, dtypes, what their inputs may and may not do, and every config's own."""

import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax import train_classifier, train_gan
from cxr_jax.models import gan
from cxr_jax.models.classifier import Classifier
from cxr_jax.models.encoder import Encoder
from cxr_jax.models.gan import Discriminator, Generator

SIZE, BATCH = 32, 3
STRUCTURE_CHANNELS, SEVERITY_CHANNELS = (3, 2, 1), 2
NUM_STRUCTURE = 2 * 2 * 3 + 4 * 4 * 2 + 8 * 8 * 1
NUM_SEVERITY = 4 * 4 * 2
CONFIGS = sorted(p.stem for p in Path("configs").glob("*.py") if p.stem not in ("__init__", "base"))


def make_generator(dtype="float32") -> Generator:
    return Generator(SIZE, STRUCTURE_CHANNELS, SEVERITY_CHANNELS, (8, 8, 8, 8), dtype)


def make_encoder(dtype="float32") -> Encoder:
    return Encoder(STRUCTURE_CHANNELS, SEVERITY_CHANNELS, (8, 8, 8, 8), dtype)


def latents(key, rows: int = BATCH) -> tuple[jax.Array, jax.Array]:
    return (
        jax.random.normal(key, (rows, NUM_STRUCTURE)),
        jax.random.normal(jax.random.fold_in(key, 1), (rows, NUM_SEVERITY)),
    )


@pytest.fixture(scope="module")
def generator() -> tuple:
    """(draw, parameters) of a generator in which no weight is at its initial zero."""
    network = make_generator()
    params = jax.jit(network.init)(jax.random.key(0), *latents(jax.random.key(1)))
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    moved = [p + 0.1 * jax.random.normal(k, p.shape) for p, k in zip(leaves, keys, strict=True)]
    return jax.jit(network.apply), jax.tree.unflatten(tree, moved)


def test_latent_sizes_follow_from_the_image():
    shapes = gan.structure_shapes(SIZE, STRUCTURE_CHANNELS)
    assert shapes == ((2, 2, 3), (4, 4, 2), (8, 8, 1))
    assert gan.severity_shape(SIZE, SEVERITY_CHANNELS) == (4, 4, 2)
    assert gan.num_components(shapes) == NUM_STRUCTURE


def test_unpack_cuts_without_loss(key):
    shapes = gan.structure_shapes(SIZE, STRUCTURE_CHANNELS)
    latent, _ = latents(key)
    maps = gan.unpack(latent, shapes)
    assert [m.shape for m in maps] == [(BATCH, *shape) for shape in shapes]
    packed = jnp.concatenate([m.reshape(BATCH, -1) for m in maps], axis=1)
    np.testing.assert_array_equal(packed, latent)


def test_generator_draws_images_in_range(generator, key):
    draw, params = generator
    structure, severity = latents(key)
    image = draw(params, 10 * structure, 10 * severity)
    assert image.shape == (BATCH, SIZE, SIZE, 1) and image.dtype == jnp.float32
    assert float(jnp.abs(image).max()) <= 1.0


def test_both_latents_matter_and_films_do_not_mix(generator, key):
    draw, params = generator
    structure, severity = latents(key)
    image = draw(params, structure, severity)
    other_lungs = draw(params, structure.at[0].set(0.0), severity)
    other_lesion = draw(params, structure, severity.at[0].set(0.0))
    for other in (other_lungs, other_lesion):
        assert float(jnp.abs(other[0] - image[0]).max()) > 1e-3
        np.testing.assert_allclose(other[1:], image[1:], atol=1e-6)


def test_the_class_branch_is_silent_at_the_origin(generator, key):
    """G(z_s, 0) is the same whatever the class branch has learned."""
    draw, params = generator
    structure, severity = latents(key)
    relearned = jax.tree_util.tree_map_with_path(
        lambda path, p: 3 * p if "ClassBranch" in jax.tree_util.keystr(path) else p, params
    )
    origin = jnp.zeros_like(severity)
    np.testing.assert_array_equal(
        draw(relearned, structure, origin), draw(params, structure, origin)
    )
    moved = draw(relearned, structure, severity) - draw(params, structure, severity)
    assert float(jnp.abs(moved).max()) > 1e-3


def test_the_generator_is_smooth_where_walks_start(generator, key):
    draw, params = generator
    structure, severity = latents(key)
    slope = jax.jit(
        lambda t: jax.jvp(lambda t: draw(params, structure, t * severity), (t,), (1.0,))[1]
    )
    left, right = slope(-1e-3), slope(1e-3)
    scale = float(jnp.abs(right).max())
    assert scale > 1e-3
    np.testing.assert_allclose(left, right, atol=0.05 * scale)


def test_a_cell_of_the_class_latent_acts_where_it_lies(key):
    """A fresh generator's class latent can place a lesion: its top left cell stays up left."""
    size = 64
    network = Generator(size, (2, 2, 1), 1, (8, 8, 8, 8))
    structure = jnp.zeros((1, gan.num_components(gan.structure_shapes(size, (2, 2, 1)))))
    origin = jnp.zeros((1, 8 * 8))
    params = jax.jit(network.init)(key, structure, origin)
    draw = jax.jit(lambda severity: network.apply(params, structure, severity))
    change = np.abs(draw(origin.at[0, 0].set(3.0)) - draw(origin))[0, :, :, 0]
    assert change[:32, :32].sum() > 0.9 * change.sum() > 0


def test_encoder_matches_the_generator(key):
    network, image = make_encoder(), jax.random.uniform(key, (BATCH, SIZE, SIZE, 1), minval=-1)
    params = jax.jit(network.init)(key, image)
    structure, direction = jax.jit(network.apply)(params, 100 * image)
    assert [part.shape for part in structure] == [(BATCH, NUM_STRUCTURE)] * 2
    assert [part.shape for part in direction] == [(BATCH, NUM_SEVERITY)] * 2
    for _, log_std in (structure, direction):
        assert float(log_std.min()) >= -10 and float(log_std.max()) <= 2


def test_classifier_returns_its_margin_and_its_maps(key):
    network, image = Classifier((8, 8, 16)), jax.random.uniform(key, (BATCH, SIZE, SIZE, 1))
    (margin, features), _ = jax.jit(network.init_with_output)(key, image)
    assert margin.shape == (BATCH,)
    assert {name: f.shape for name, f in features.items()} == {
        "stage_1": (BATCH, 8, 8, 8),
        "stage_2": (BATCH, 4, 4, 16),
    }


def test_discriminator_is_told_the_grade(key):
    network = Discriminator((8, 8, 8, 8), num_grades=3)
    image = jax.random.uniform(key, (BATCH, SIZE, SIZE, 1), minval=-1)
    params = jax.jit(network.init)(key, image, jnp.zeros(BATCH, jnp.int32))
    judge = jax.jit(network.apply)
    judged = [judge(params, image, jnp.full(BATCH, grade)) for grade in range(3)]
    assert judged[0].shape == (BATCH,) and judged[0].dtype == jnp.float32
    assert float(jnp.abs(judged[0] - judged[1]).min()) > 1e-4
    assert float(jnp.abs(judged[1] - judged[2]).min()) > 1e-4


def abstract_outputs(dtype: str) -> dict:
    """{network: (outputs, parameters)} as shapes and dtypes, nothing computed."""
    image = jnp.zeros((BATCH, SIZE, SIZE, 1))
    networks = {
        "generator": (make_generator(dtype), latents(jax.random.key(0))),
        "encoder": (make_encoder(dtype), (image,)),
        "classifier": (Classifier((8, 8, 8), dtype), (image,)),
        "discriminator": (
            Discriminator((8, 8, 8, 8), 3, dtype),
            (image, jnp.zeros(BATCH, jnp.int32)),
        ),
    }
    return {
        name: jax.eval_shape(
            lambda *x, network=network: network.init_with_output(jax.random.key(0), *x), *inputs
        )
        for name, (network, inputs) in networks.items()
    }


def test_half_precision_stays_inside():
    for name, (outputs, params) in abstract_outputs("bfloat16").items():
        if name == "classifier":
            outputs, features = outputs
            assert {f.dtype.name for f in features.values()} <= {"bfloat16", "float32"}
        assert {leaf.dtype.name for leaf in jax.tree.leaves(outputs)} == {"float32"}, name
        assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"float32"}, name


def test_half_precision_draws_about_the_same(generator, key):
    draw, params = generator
    rough = jax.jit(make_generator("bfloat16").apply)(params, *latents(key))
    np.testing.assert_allclose(rough, draw(params, *latents(key)), atol=0.1)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_builds_networks_that_fit_together(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    size = config.data.image_size
    networks = train_gan.make_networks(config)
    judge = train_classifier.make_classifier(config.judge)
    image = jnp.zeros((2, size, size, 1))

    def play(image):
        def run(network, *inputs):
            return network.init_with_output(jax.random.key(0), *inputs)[0]

        structure, direction = run(networks.encoder, image)
        drawn = run(networks.generator, structure[0], direction[0])
        judged = run(networks.discriminator, drawn, jnp.zeros(2, jnp.int32))
        return drawn, run(networks.classifier, drawn)[0], run(judge, drawn)[0], judged

    drawn, *margins = jax.eval_shape(play, image)
    assert drawn.shape == image.shape
    assert [margin.shape for margin in margins] == [(2,)] * 3
    num_structure, num_severity = train_gan.latent_sizes(networks.generator)
    assert num_severity >= 32 and num_structure > num_severity
