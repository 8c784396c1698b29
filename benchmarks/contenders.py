"""What is timed of ours: steps of random pixels and untrained networks, which hold their own state.

A step's speed does not depend on what it has learned.
"""

import dataclasses
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from cxr_jax.data.arrays import to_unit_range
from cxr_jax.explain import films, inversion
from cxr_jax.models.model import Model
from cxr_jax.networks.build import (
    fresh_params,
    init_gan_params,
    make_classifier,
    make_gan_networks,
)
from cxr_jax.networks.grading import Scale
from cxr_jax.networks.restore import TrainedModels
from cxr_jax.runtime import parallel, precision
from cxr_jax.runtime.startup import run_once
from cxr_jax.training import classifier, ema, encoder, gan, gan_state
from cxr_jax.training.gan_state import FrozenInputs, StepHParams
from cxr_jax.training.supervised import make_optimizer

# Of NumPy: an import must not look for devices, which may be those of an absent TPU.
SCALE = Scale(negative=np.float32(-3.0), strong=np.float32(4.0), graded=np.float32(1.0))
FRAMES, REACH = 24, 100.0  # of Latent Shift: its images, and how far its lambda goes to either side
MATRIX = 2048  # rows and columns of the product that says what the machine can do


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contender:
    """Something to be timed.

    Attributes:
      step: does one step, to its end.
      images: in a step.
    """

    step: Callable[[], None]
    images: int


def _advance(state, step: Callable, images: int) -> Contender:
    """A contender whose step is `state = step(state)`."""
    held = [state]

    def advance() -> None:
        held[0] = jax.block_until_ready(step(held[0]))

    return Contender(step=advance, images=images)


def random_batch(rows: int, size: int) -> dict[str, np.ndarray]:
    """Pixels, labels and positions of a batch."""
    rng = np.random.Generator(np.random.Philox(0))
    return {
        "image": rng.integers(256, size=(rows, size, size, 1), dtype=np.uint8),
        "label": rng.integers(2, size=rows, dtype=np.int32),
        "index": np.arange(rows, dtype=np.int32),
    }


# 1. Training.


def classifier_step(config: ml_collections.ConfigDict) -> Contender:
    """A training step of the explained classifier."""
    section = config.classifier
    network, optimizer = make_classifier(section), make_optimizer(section)
    step = classifier.map_train_step(section, network, optimizer, seed=config.seed)
    params = fresh_params(network, config.data.image_size, config.seed)
    batch = parallel.shard(random_batch(section.batch_size, config.data.image_size))
    return _advance(
        parallel.replicate(ema.init_state(params, optimizer)),
        lambda state: step(state, batch, {})[0],
        section.batch_size,
    )


def frozen_inputs(config: ml_collections.ConfigDict, hparams: StepHParams) -> FrozenInputs:
    """What the GAN's steps are given beside state and batch, of an untrained classifier."""
    network = make_classifier(config.classifier)
    params = fresh_params(network, config.data.image_size, 0)
    return FrozenInputs(classifier=Model(network, params), scale=SCALE, hparams=hparams)


def gan_step(config: ml_collections.ConfigDict) -> Contender:
    """A training step of the GAN; the first, and each `r1_every`-th after, with the penalty's.

    So both are compiled before they are timed, and `r1_every` steps hold the penalty once.
    """
    section = config.gan
    networks, optimizers = make_gan_networks(config), gan_state.make_optimizers(section)
    step = gan.map_train_step(config, networks, optimizers)
    penalty = gan.map_penalty_step(config, networks, optimizers)
    frozen = parallel.replicate(frozen_inputs(config, gan.make_hparams(config, section.objective)))
    batch = parallel.shard(random_batch(section.batch_size, config.data.image_size))
    numbers = itertools.count()

    def regularised_step(state: gan_state.GanState) -> gan_state.GanState:
        state, _ = step(state, batch, frozen)
        if section.r1_weight > 0 and next(numbers) % section.r1_every == 0:
            state, _ = penalty(state, batch, frozen)
        return state

    start = run_once(
        lambda: gan_state.init_state(*init_gan_params(networks, config.seed), optimizers)
    )
    return _advance(parallel.replicate(start), regularised_step, section.batch_size)


def encoder_step(config: ml_collections.ConfigDict) -> Contender:
    """A training step of the encoder alone."""
    section = config.encoder
    networks, optimizer = make_gan_networks(config), encoder.make_optimizer(section)
    step = encoder.map_train_step(config, networks, optimizer)
    params, discriminator = run_once(lambda: init_gan_params(networks, config.seed))
    frozen = parallel.replicate(
        encoder.FrozenGan(
            generator=params["generator"],
            discriminator=discriminator,
            inputs=frozen_inputs(config, encoder.make_encoder_hparams(config)),
        )
    )
    batch = parallel.shard(random_batch(section.batch_size, config.data.image_size))
    start = encoder.init_state(params["encoder"], optimizer)
    return _advance(
        parallel.replicate(start),
        lambda state: step(state, batch, frozen)[0],
        section.batch_size,
    )


# 2. Explaining.


def untrained_models(config: ml_collections.ConfigDict) -> TrainedModels:
    """What explains films, with fresh parameters."""
    config = precision.in_float32(config)
    networks, size = make_gan_networks(config), config.data.image_size
    params, _ = run_once(lambda: init_gan_params(networks, 0))

    def fresh(section: ml_collections.ConfigDict) -> Model:
        network = make_classifier(section)
        return Model(network, fresh_params(network, size, 0))

    return TrainedModels(
        classifier=fresh(config.classifier),
        judge=fresh(config.judge),
        generator=Model(networks.generator, params["generator"]),
        encoder=Model(networks.encoder, params["encoder"]) if networks.encoder else None,
        scale=SCALE,
    )


def inversion_step(config: ml_collections.ConfigDict) -> Contender:
    """The inversion of a batch of films, with all of its updates."""
    models, rows = untrained_models(config), config.explain.batch_size
    invert = parallel.in_batches(_invert(config), rows)
    pixels = random_batch(rows, config.data.image_size)["image"]
    return Contender(step=lambda: invert(models, pixels), images=rows)


def latent_shift_step(config: ml_collections.ConfigDict) -> Contender:
    """Latent Shift (Cohen et al., 2021): encode, one gradient of f(G(z)), FRAMES along it and f.

    Not path `ray`, which is carried onto the film and judged by h too, but the peer's very work.
    """
    models, rows = untrained_models(config), config.explain.batch_size

    def shift(models: TrainedModels, pixels: jax.Array) -> jax.Array:
        latents = inversion.encode_means(models.encoder, to_unit_range(pixels))
        ask = lambda z: models.classify(models.generator(z.z_structure, z.direction))
        moves = jax.grad(lambda z: ask(z).sum())(latents)
        frame = lambda by: ask(jax.tree.map(lambda z, move: z + by * move, latents, moves))
        return jax.lax.map(frame, jnp.linspace(-REACH, REACH, FRAMES)).T

    shift_all = parallel.in_batches(precision.exactly(shift), rows)
    pixels = random_batch(rows, config.data.image_size)["image"]
    return Contender(step=lambda: shift_all(models, pixels), images=rows)


def _invert(config: ml_collections.ConfigDict) -> Callable:
    return precision.exactly(films.make_invert(inversion.make_settings(config.explain.inversion)))


# 3. The machine.


def matmul(config: ml_collections.ConfigDict) -> Contender:
    """A float32 product of square matrices; its GFLOP are told by `matmul_gflop`."""
    del config  # it is the machine that is asked
    matrix = np.random.Generator(np.random.Philox(0)).standard_normal((MATRIX, MATRIX))
    product = jax.jit(lambda a: a @ a)
    operand = jnp.asarray(matrix, jnp.float32)
    return Contender(step=lambda: product(operand).block_until_ready(), images=1)


def matmul_gflop() -> float:
    """Of one step of `matmul`."""
    return 2 * MATRIX**3 / 1e9


CONTENDERS: dict[str, Callable[[ml_collections.ConfigDict], Contender]] = {
    "classifier": classifier_step,
    "gan": gan_step,
    "encoder": encoder_step,
    "inversion": inversion_step,
    "latent_shift": latent_shift_step,
    "matmul": matmul,
}
