"""bfloat16: only the computation is, and it says almost what float32 says.

A bfloat16 has 8 significant bits, so rounding is off by a relative 2^-9 at most. A layer rounds its
input, its kernel and its result. Roundings are independent of each other, so the relative error of
a result, as a root mean square over many numbers, is about 2^-9 sqrt(3 layers): 1% at 10 layers,
which is what is seen (0.5% to 1.4%). A step goes back through as many layers and, in a GAN, through
three networks (1% to 4%); the penalty differentiates twice (7%). The bounds are about twice that.
float8, with 2^-4, is far outside them.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cxr_jax.configs import base, covid, paper, phantom
from cxr_jax.data.augment import Augmentation
from cxr_jax.errors import InputError
from cxr_jax.models.blocks import PixelNorm
from cxr_jax.models.model import Model
from cxr_jax.networks.build import (
    init_gan_params,
    init_params,
    make_classifier,
    make_gan_networks,
    make_regressor,
    make_segmenter,
)
from cxr_jax.networks.grading import Scale
from cxr_jax.pipeline.config_checks import check_ranges
from cxr_jax.runtime import parallel, precision
from cxr_jax.training import classifier, ema, encoder, gan, paper_gan
from cxr_jax.training.gan_state import FrozenInputs, GanState, Optimizers

ROWS, SIZE = 16, 16
STILL = Augmentation(**{field.name: 0.0 for field in dataclasses.fields(Augmentation)})
SCALE = Scale(negative=jnp.float32(-1.0), strong=jnp.float32(1.0), graded=jnp.float32(1.0))
FORWARD, STEP = 0.03, 0.15


def config_in(dtype: str):
    """Networks of the default depth and half its width or less."""
    config = base.get_config()
    base.set_dtype(config, dtype)
    config.data.image_size = SIZE
    config.gan.update(dict(generator_widths=(32, 32, 24, 16), encoder_widths=(16, 16, 24, 32)))
    config.gan.discriminator_widths = (16, 16, 24, 32)
    return config


def paper_config(dtype: str):
    """The paper's networks on so small an image."""
    config = paper.get_config("64")
    base.set_dtype(config, dtype)
    config.data.image_size = SIZE
    config.gan.paper.update(dict(generator_widths=(32, 16), discriminator_widths=(16, 16)))
    return config


def networks_of(config) -> dict:
    """(network, its inputs) by name."""
    image = jax.random.uniform(jax.random.key(1), (4, SIZE, SIZE, 1), minval=-1.0)
    networks = make_gan_networks(config)
    latents = [
        jax.random.normal(jax.random.key(2 + i), (4, n))
        for i, n in enumerate(networks.generator.latent_sizes)
    ]
    of_paper = make_gan_networks(paper_config(config.gan.dtype))
    vectors = [jax.random.normal(jax.random.key(4), (4, 100)), jnp.ones((4, 10))]
    return {
        "classifier": (make_classifier(config.classifier), [image]),
        "paper's generator": (of_paper.generator, vectors),
        "paper's discriminator": (of_paper.discriminator, [image, jnp.arange(4)]),
        "generator": (networks.generator, latents),
        "encoder": (networks.encoder, [image]),
        "discriminator": (networks.discriminator, [image, jnp.arange(4)]),
        "segmenter": (make_segmenter(config.evaluators.segmenter), [image]),
        "regressor": (make_regressor(config.evaluators.regressor), [image]),
    }


def relative_error(one, other) -> float:
    """Root mean square of the difference of two trees, over that of the first."""
    flat = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(t)]) for t in (one, other)]
    return float(np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[0]))


def types_of(tree) -> set[str]:
    return {str(leaf.dtype) for leaf in jax.tree.leaves(tree)}


def as_variance(path: tuple, value):
    """A running variance as it may be; any other parameter as it is."""
    return jnp.abs(value) + 0.1 if path[-1].key == "running_var" else value


NETWORKS = ("classifier", "generator", "encoder", "discriminator", "segmenter", "regressor")
NETWORKS += ("paper's generator", "paper's discriminator")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_says_the_same(name, random_params):
    full, inputs = networks_of(config_in("float32"))[name]
    half, _ = networks_of(config_in("bfloat16"))[name]
    params = jax.tree.map_with_path(as_variance, random_params(full, *inputs))
    init = jax.eval_shape(lambda: half.init(jax.random.key(0), *inputs)["params"])
    assert types_of(init) == {"float32"}, "parameters are float32"
    wanted = jax.jit(full.apply)({"params": params}, *inputs)
    found = jax.jit(half.apply)({"params": params}, *inputs)
    assert types_of(found) == {"float32"}, "what a network returns is float32"
    for one, other in zip(jax.tree.leaves(wanted), jax.tree.leaves(found), strict=True):
        assert relative_error(one, other) < FORWARD
    assert relative_error(wanted, found) > 2**-12, "nothing was computed in bfloat16"


def test_statistics_are_float32(key):
    # 64 channels of 1 and one of 16: in bfloat16 the sum of squares would stick at 256.
    x = jnp.concatenate([jnp.full((1, 1, 1, 1), 16.0), jnp.ones((1, 1, 1, 64))], axis=-1)
    params = PixelNorm().init(key, x)
    wanted = PixelNorm().apply(params, x)
    found = PixelNorm().apply(params, x.astype(jnp.bfloat16))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), wanted, rtol=2**-9)


def batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "index": np.arange(ROWS, dtype=np.int32),
        "image": rng.integers(0, 256, (ROWS, SIZE, SIZE, 1)).astype(np.uint8),
        "label": (np.arange(ROWS) % 4 < 2).astype(np.int32),
    }


def sgd() -> optax.GradientTransformation:
    """Its step is the gradient itself: Adam's would be mostly the gradient's signs."""
    return optax.sgd(1.0)


def classifier_step(config, random_like) -> tuple:
    network = make_classifier(config.classifier)
    params = random_like(lambda: init_params(network, SIZE, 0))
    step = classifier.make_train_step(network, sgd(), STILL, smoothing=0.05, ema_decay=0.9, seed=0)
    return step, ema.init_state(params, sgd()), {}, lambda state: state.params


def gan_parts(config, random_like, objective: str = "ours") -> tuple:
    networks = make_gan_networks(config)
    optimizers = Optimizers(generator=sgd(), discriminator=sgd())
    generator, discriminator = random_like(lambda: init_gan_params(networks, 0))
    network = make_classifier(config.classifier)
    state = GanState(
        step=jnp.int32(0),
        generator=generator,
        discriminator=discriminator,
        ema=jax.tree.map(jnp.copy, generator),
        generator_optimizer=sgd().init(generator),
        discriminator_optimizer=sgd().init(discriminator),
    )
    frozen = FrozenInputs(
        classifier=Model(network, random_like(lambda: init_params(network, SIZE, 0))),
        scale=SCALE,
        hparams=gan.make_hparams(config, objective),
    )
    return networks, optimizers, state, frozen


def gan_step(config, random_like) -> tuple:
    networks, optimizers, state, frozen = gan_parts(config, random_like)
    step = gan.make_train_step(networks, optimizers, STILL, ema_half_life=50.0)
    return step, state, frozen, lambda state: (state.generator, state.discriminator)


def penalty_step(config, random_like) -> tuple:
    networks, optimizers, state, frozen = gan_parts(config, random_like)
    step = gan.make_penalty_step(networks, optimizers.discriminator, 1.0)
    return step, state, frozen, lambda state: state.discriminator


def encoder_step(config, random_like) -> tuple:
    networks, _, state, inputs = gan_parts(config, random_like)
    step = encoder.make_train_step(networks, sgd(), STILL)
    frozen = encoder.FrozenGan(
        generator=state.generator["generator"],
        discriminator=state.discriminator,
        inputs=inputs,
    )
    state = encoder.init_state(state.generator["encoder"], sgd())
    return step, state, frozen, lambda state: state.encoder


def paper_step(config, random_like) -> tuple:
    """Without dropout."""
    config = paper_config(config.gan.dtype)
    config.gan.paper.dropout = 0.0
    networks, optimizers, state, frozen = gan_parts(config, random_like, "paper")
    step = paper_gan.make_train_step(networks, optimizers, 50.0)
    return step, state, frozen, lambda state: (state.generator, state.discriminator)


STEPS = {
    "classifier": classifier_step,
    "gan": gan_step,
    "penalty": penalty_step,
    "encoder": encoder_step,
    "paper": paper_step,
}


def moved(name: str, dtype: str, random_like) -> tuple:
    """How far one step goes, and the state and metrics after it."""
    step, state, frozen, params_of = STEPS[name](config_in(dtype), random_like)
    before = jax.tree.map(np.asarray, params_of(state))
    mapped = parallel.pmap_step(step)
    after, metrics = mapped(
        parallel.replicate(state), parallel.shard(batch()), parallel.replicate(frozen)
    )
    change = jax.tree.map(lambda a, b: np.asarray(a) - b, params_of(after), before)
    return change, after, metrics


SLOW = [
    pytest.param(name, marks=pytest.mark.slow) for name in ("gan", "penalty", "encoder", "paper")
]


@pytest.mark.parametrize("name", ["classifier", *SLOW])
def test_a_step_goes_the_same_way(name, random_like):
    wanted, _, full = moved(name, "float32", random_like)
    found, state, half = moved(name, "bfloat16", random_like)
    assert types_of(state) <= {"float32", "int32"} and types_of(half) <= {"float32", "int32"}
    assert 2**-12 < relative_error(wanted, found) < STEP
    assert relative_error(full, half) < STEP


def test_large_experiments_compute_in_bfloat16_and_small_ones_do_not():
    check_ranges(covid.get_config())
    assert covid.get_config().gan.dtype == covid.get_config().classifier.dtype == "bfloat16"
    assert paper.get_config().gan.dtype == paper.get_config().judge.dtype == "bfloat16"
    small = covid.get_config("cpu"), covid.get_config("tiny"), paper.get_config("64")
    for config in (*small, paper.get_config("tiny"), phantom.get_config()):
        assert config.gan.dtype == config.classifier.dtype == "float32"


def test_types_without_enough_range_are_refused():
    for name in ("judge", "gan"):
        config = base.get_config()
        config[name].dtype = "float16"
        with pytest.raises(InputError, match=f"config.{name}.dtype is 'float16'; it must be one"):
            check_ranges(config)
    config = base.get_config()
    config.evaluators.robust.dtype = "float64"
    with pytest.raises(InputError, match="config.evaluators.robust.dtype"):
        check_ranges(config)


def test_films_are_explained_in_float32_whatever_the_networks_were_trained_in():
    config = covid.get_config()
    exact = precision.in_float32(config)
    assert config.gan.dtype == "bfloat16" and exact.gan.dtype == "float32"
    exact.gan.dtype = "bfloat16"
    exact.classifier.dtype = exact.judge.dtype = "bfloat16"
    for section in exact.evaluators.values():
        if "dtype" in section:
            section.dtype = "bfloat16"
    assert exact == config


def test_a_generator_is_exact_while_its_body_runs():
    def told():
        yield jax.config.jax_default_matmul_precision

    assert next(precision.exactly(told)()) == "float32"
    assert precision.exactly(lambda: next(told()))() == "float32"
    assert next(told()) != "float32"
