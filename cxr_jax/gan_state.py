"""The state of a GAN in training, its optimisers, and how a gradient moves it."""

from types import MappingProxyType
from typing import NamedTuple

import flax
import jax
import jax.numpy as jnp
import ml_collections
import optax

from cxr_jax import averaged
from cxr_jax.types import Params


class Setting(NamedTuple):
    """What a step is given beside the frozen networks, so that it compiles once for all settings.

    GANs of other seeds, and ablations by weight, then share the program.

    Attributes:
      weights: of the objective's terms, a NamedTuple of numbers.
      seed: from which a step's random numbers are folded; uint32.
    """

    weights: NamedTuple
    seed: jax.Array


class Optimizers(NamedTuple):
    """One for generator and encoder together, one for the discriminator."""

    generator: optax.GradientTransformation
    discriminator: optax.GradientTransformation


@flax.struct.dataclass
class GanState:
    """Everything that training changes; `average` is that of generator and encoder."""

    step: jax.Array
    generator: Params  # {"generator", "encoder"}: one optimiser drives both
    discriminator: Params  # {"image", "latent"}: the discriminator and the critic of z_structure
    average: Params
    generator_optimizer: optax.OptState
    discriminator_optimizer: optax.OptState


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
        make_optimizer(config, config.generator_learning_rate),
        make_optimizer(config, config.discriminator_learning_rate),
    )


def init_state(generator: Params, discriminator: Params, optimizers: Optimizers) -> GanState:
    """The state before the first step."""
    return GanState(
        step=jnp.int32(0),
        generator=generator,
        discriminator=discriminator,
        average=jax.tree.map(jnp.copy, generator),
        generator_optimizer=optimizers.generator.init(generator),
        discriminator_optimizer=optimizers.discriminator.init(discriminator),
    )


def update_generator(
    state: GanState,
    gradient: Params,
    optimizer: optax.GradientTransformation,
    average_half_life: float,
    statistics: Params = MappingProxyType({}),
) -> GanState:
    """Moves generator and encoder, and their average after them.

    Args:
      statistics: parameters that are measured, not learned, with their new values.
    """
    moves, optimizer_state = optimizer.update(gradient, state.generator_optimizer)
    generator = averaged.replace(optax.apply_updates(state.generator, moves), statistics)
    # The average's memory grows with the run, so that an early checkpoint is not mostly noise.
    half_life = jnp.clip(0.1 * state.step, 1e-3, average_half_life)
    return state.replace(
        generator=generator,
        average=optax.incremental_update(generator, state.average, 1 - 0.5 ** (1 / half_life)),
        generator_optimizer=optimizer_state,
    )


def update_discriminator(
    state: GanState, gradient: Params, optimizer: optax.GradientTransformation
) -> GanState:
    """Moves the discriminator."""
    moves, optimizer_state = optimizer.update(gradient, state.discriminator_optimizer)
    return state.replace(
        discriminator=optax.apply_updates(state.discriminator, moves),
        discriminator_optimizer=optimizer_state,
    )
