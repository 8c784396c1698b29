"""The state of a GAN in training, what its steps are given beside it, and its updates."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import flax
import jax
import jax.numpy as jnp
import ml_collections
import optax

from cxr_jax.models.model import Model
from cxr_jax.networks.grading import Scale
from cxr_jax.training import ema
from cxr_jax.types import Count, Params, Scalar


@flax.struct.dataclass(kw_only=True)
class StepHParams:
    """Arguments of the compiled step, so that GANs of other seeds and weights share the program.

    Attributes:
      weights: of the objective's terms, by name.
      seed: from which a step's random numbers are folded; uint32.
    """

    weights: Mapping[str, Scalar]
    seed: Count


@flax.struct.dataclass(kw_only=True)
class FrozenInputs:
    """What a step is given beside state and batch.

    Attributes:
      classifier: f, an image to (margin, feature maps by name).
      scale: of the class latent.
    """

    classifier: Model
    scale: Scale
    hparams: StepHParams


@flax.struct.dataclass(kw_only=True)
class GanState:
    """Everything that training changes.

    Attributes:
      generator: of {"generator", "encoder"}: one optimiser drives both. `ema`: their average.
      discriminator: of {"image", "latent"}: the discriminator and the critic of z_structure.
    """

    step: Count
    generator: Params
    discriminator: Params
    ema: Params
    generator_optimizer: optax.OptState
    discriminator_optimizer: optax.OptState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizers:
    """One for generator and encoder together, one for the discriminator."""

    generator: optax.GradientTransformation
    discriminator: optax.GradientTransformation


def make_optimizer(
    config: ml_collections.ConfigDict, learning_rate: float
) -> optax.GradientTransformation:
    """Adam, warmed up and, over the last fifth of the run, brought down to a tenth.

    The discriminator's counts its penalties too, one in `r1_every` steps: its rate falls that much
    sooner.
    """
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(0.0, learning_rate, max(config.num_steps // 50, 1)),
            optax.linear_schedule(learning_rate, learning_rate / 10, max(config.num_steps // 5, 1)),
        ],
        [config.num_steps * 4 // 5],
    )
    return optax.adam(schedule, b1=config.beta1, b2=config.beta2)


def make_optimizers(config: ml_collections.ConfigDict) -> Optimizers:
    """The optimisers of a `config.gan` section."""
    return Optimizers(
        generator=make_optimizer(config, config.generator_learning_rate),
        discriminator=make_optimizer(config, config.discriminator_learning_rate),
    )


def init_state(generator: Params, discriminator: Params, optimizers: Optimizers) -> GanState:
    """The state before the first step."""
    return GanState(
        step=jnp.int32(0),
        generator=generator,
        discriminator=discriminator,
        ema=jax.tree.map(jnp.copy, generator),
        generator_optimizer=optimizers.generator.init(generator),
        discriminator_optimizer=optimizers.discriminator.init(discriminator),
    )


def update_generator(
    state: GanState,
    gradient: Params,
    optimizer: optax.GradientTransformation,
    *,
    ema_half_life: float,
    statistics: Params = MappingProxyType({}),
) -> GanState:
    """Moves generator and encoder, and their average after them.

    Args:
      ema_half_life: of the average, in steps.
      statistics: parameters that are measured, not learned, with their new values.
    """
    updates, optimizer_state = optimizer.update(gradient, state.generator_optimizer)
    generator = ema.replace(optax.apply_updates(state.generator, updates), statistics)
    # The average's memory grows with the run, so that an early checkpoint is not mostly noise.
    half_life = jnp.clip(0.1 * state.step, 1e-3, ema_half_life)
    return state.replace(
        generator=generator,
        ema=optax.incremental_update(generator, state.ema, 1 - 0.5 ** (1 / half_life)),
        generator_optimizer=optimizer_state,
    )


def update_discriminator(
    state: GanState, gradient: Params, optimizer: optax.GradientTransformation
) -> GanState:
    """Moves the discriminator."""
    updates, optimizer_state = optimizer.update(gradient, state.discriminator_optimizer)
    return state.replace(
        discriminator=optax.apply_updates(state.discriminator, updates),
        discriminator_optimizer=optimizer_state,
    )
