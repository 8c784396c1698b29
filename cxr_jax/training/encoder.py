"""Task `encoder`: trains the encoder alone against the finished, averaged generator.

During the GAN task the encoder chases a moving generator. Here it minimises the same loss with
everything else frozen. The whole loss, swaps and critic included: an encoder trained on
reconstruction alone hides the findings in z_structure again, and walks then change nothing.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import flax
import jax
import jax.numpy as jnp
import ml_collections
import optax
from clu import metrics as clu_metrics

from cxr_jax.data.arrays import Arrays, to_unit_range, train_batches
from cxr_jax.data.augment import Augmentation, augment, view_keys
from cxr_jax.networks.build import GanNetworks, make_gan_networks
from cxr_jax.networks.restore import load_gan
from cxr_jax.runtime import parallel
from cxr_jax.runtime.workdir import is_done, mark_done
from cxr_jax.training import loop
from cxr_jax.training.gan import (
    BATCH_MULTIPLE,
    gan_seed,
    load_inputs,
    make_hparams,
)
from cxr_jax.training.gan_objective import draw_noise, generator_loss
from cxr_jax.training.gan_state import FrozenInputs, StepHParams
from cxr_jax.training.loop import Snapshot, make_averages
from cxr_jax.types import Count, Params

logger = logging.getLogger(__name__)


@flax.struct.dataclass(kw_only=True)
class EncoderState:
    """Everything that training changes."""

    step: Count
    encoder: Params
    optimizer: optax.OptState


@flax.struct.dataclass(kw_only=True)
class FrozenGan:
    """What a step is given beside state and batch.

    Attributes:
      generator, discriminator: their parameters; the latter's of {"image", "latent"}.
      inputs: as the GAN's own steps are given.
    """

    generator: Params
    discriminator: Params
    inputs: FrozenInputs


def make_train_step(
    networks: GanNetworks,
    optimizer: optax.GradientTransformation,
    augmentation: Augmentation,
    *,
    by_label: bool = False,
) -> Callable:
    """Builds the pure step (state, batch, frozen) -> (state, metrics).

    Args:
      by_label: whether the label conditions in the classifier's stead, as in `gan`.
    """
    averages = make_averages("error")

    def step(
        state: EncoderState, batch: Arrays, frozen: FrozenGan
    ) -> tuple[EncoderState, clu_metrics.Collection]:
        keys = parallel.example_keys(frozen.inputs.hparams.seed, state.step, batch["index"])
        image = augment(to_unit_range(batch["image"]), view_keys(keys), augmentation)
        noise = draw_noise(keys, networks.generator.latent_sizes)

        def loss_fn(encoder: Params) -> jax.Array:
            loss, _ = generator_loss(
                networks,
                {"generator": frozen.generator, "encoder": encoder},
                frozen.discriminator,
                frozen=frozen.inputs,
                image=image,
                noise=noise,
                label=batch["label"] if by_label else None,
            )
            return loss

        loss, gradient = parallel.mean(jax.value_and_grad(loss_fn)(state.encoder))
        updates, optimizer_state = optimizer.update(gradient, state.optimizer)
        state = EncoderState(
            step=state.step + 1,
            encoder=optax.apply_updates(state.encoder, updates),
            optimizer=optimizer_state,
        )
        return state, averages.single_from_model_output(error=loss)

    return step


def make_optimizer(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
    """Adam with a cosine decay to zero, of the section `encoder`."""
    return optax.adam(optax.cosine_decay_schedule(config.learning_rate, max(config.num_steps, 1)))


def init_state(encoder: Params, optimizer: optax.GradientTransformation) -> EncoderState:
    """The state before the first step."""
    return EncoderState(step=jnp.int32(0), encoder=encoder, optimizer=optimizer.init(encoder))


def make_encoder_hparams(config: ml_collections.ConfigDict) -> StepHParams:
    """Of our objective, also where the GAN was trained by the paper's, which has no encoder."""
    return make_hparams(config, "ours")


def map_train_step(
    config: ml_collections.ConfigDict,
    networks: GanNetworks,
    optimizer: optax.GradientTransformation,
    *,
    devices: parallel.Devices | None = None,
) -> Callable:
    """`make_train_step` of a config, on every device or on those given."""
    step = make_train_step(
        networks,
        optimizer,
        Augmentation(**config.gan.augmentation),
        by_label=config.gan.conditioning == "label",
    )
    return parallel.pmap_step(step, devices=devices)


def run(config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]) -> None:
    """Trains the encoder to its end, resuming where a killed run was."""
    directory, section = workdir / "encoder", config.encoder
    if is_done(directory):
        logger.info("encoder: complete, skipped")
        return
    if config.gan.networks == "paper":
        logger.info("encoder: the paper has none")
        directory.mkdir(parents=True, exist_ok=True)
        mark_done(directory, steps=0)
        return
    parallel.check_batch_size("encoder", section.batch_size, BATCH_MULTIPLE)
    networks, optimizer = make_gan_networks(config), make_optimizer(section)
    inputs, gan = load_inputs(config, workdir, splits), load_gan(networks, workdir)
    step = map_train_step(config, networks, optimizer)
    frozen = parallel.replicate(
        FrozenGan(
            generator=gan["generator"],
            discriminator=gan["discriminator"],
            inputs=FrozenInputs(
                classifier=inputs.classifier,
                scale=inputs.scale,
                hparams=make_encoder_hparams(config),
            ),
        )
    )
    loop.train(
        directory,
        loop.make_plan(section),
        init_state(gan["encoder"], optimizer),
        step=lambda number, state, batch: step(state, batch, frozen),
        batches=lambda start: train_batches(
            splits["train"],
            section.batch_size,
            gan_seed(config),
            start_step=start,
            positive=inputs.positive,
        ),
        snapshot=lambda state: Snapshot(variables=state.encoder, score=int(state.step)),
    )
    mark_done(directory, steps=section.num_steps)
