"""Task `gan`: trains generator, encoder and discriminator, the frozen classifier in the loop."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import jax
import ml_collections
import numpy as np
import optax
from clu import metrics as clu_metrics

from cxr_jax import losses
from cxr_jax.data.arrays import Arrays, to_unit_range, train_batches
from cxr_jax.data.augment import Augmentation, augment, view_keys
from cxr_jax.models.model import Model
from cxr_jax.networks import grading
from cxr_jax.networks.build import GanNetworks, init_gan_params, make_gan_networks
from cxr_jax.networks.grading import Scale
from cxr_jax.networks.restore import load_classifier, margins, save_scale
from cxr_jax.runtime import parallel
from cxr_jax.runtime.startup import run_once
from cxr_jax.runtime.workdir import is_done, mark_done
from cxr_jax.training import loop, paper_gan, paper_objective, samples
from cxr_jax.training.gan_objective import discriminator_loss, draw_noise, generator_loss
from cxr_jax.training.gan_state import (
    FrozenInputs,
    GanState,
    Optimizers,
    StepHParams,
    init_state,
    make_optimizers,
    update_discriminator,
    update_generator,
)
from cxr_jax.training.loop import Snapshot, make_averages
from cxr_jax.training.loss_terms import TERMS
from cxr_jax.types import Image, Margin, Params

logger = logging.getLogger(__name__)

# A device's part of a batch must be divisible by this: half of it is encoded, in pairs of a
# negative and a positive; the paper's objective compares two images of each class.
BATCH_MULTIPLE = 4


def make_train_step(
    networks: GanNetworks,
    optimizers: Optimizers,
    augmentation: Augmentation,
    *,
    ema_half_life: float,
    by_label: bool = False,
) -> Callable:
    """Builds the pure step (state, batch, frozen) -> (state, metrics).

    Generator and encoder move first; the discriminator then learns from the same drawn images.

    Args:
      by_label: whether the label conditions in the classifier's stead.
    """
    averages = make_averages("generator", "discriminator", *TERMS, "critic", "disagreement")

    def step(
        state: GanState, batch: Arrays, frozen: FrozenInputs
    ) -> tuple[GanState, clu_metrics.Collection]:
        keys = parallel.example_keys(frozen.hparams.seed, state.step, batch["index"])
        image = augment(to_unit_range(batch["image"]), view_keys(keys), augmentation)
        noise = draw_noise(keys, networks.generator.latent_sizes)

        def loss_fn(params: Params):
            label = batch["label"] if by_label else None
            return generator_loss(
                networks,
                params,
                state.discriminator,
                frozen=frozen,
                image=image,
                noise=noise,
                label=label,
            )

        (loss, outputs), generator_gradient = jax.value_and_grad(loss_fn, has_aux=True)(
            state.generator
        )
        outputs = jax.lax.stop_gradient(outputs)
        (_, (logistic, critic)), discriminator_gradient = jax.value_and_grad(
            lambda params: discriminator_loss(networks, params, image, outputs=outputs),
            has_aux=True,
        )(state.discriminator)
        disagreement = ((outputs.margin > 0) != batch["label"]).mean()
        scalars = dict(outputs.terms, generator=loss, discriminator=logistic, critic=critic)
        scalars |= dict(disagreement=disagreement)
        generator_gradient, discriminator_gradient, scalars = parallel.mean(
            (generator_gradient, discriminator_gradient, scalars)
        )
        state = update_generator(
            state, generator_gradient, optimizers.generator, ema_half_life=ema_half_life
        )
        state = update_discriminator(state, discriminator_gradient, optimizers.discriminator)
        return state.replace(step=state.step + 1), averages.single_from_model_output(**scalars)

    return step


def make_penalty_step(
    networks: GanNetworks,
    optimizer: optax.GradientTransformation,
    weight: float,
    *,
    by_label: bool = False,
) -> Callable:
    """Builds the pure step (state, batch, frozen) -> (state, penalty): R1 alone.

    Lazy regularisation (Karras et al., 2020): called every few steps with a weight as many times
    larger; Adam's moments are those of the main step. It is a program of its own because a
    `lax.cond` inside the main one runs its branch on a single CPU core. The films are as they are
    stored, not the views of them that the main step shows D.
    """

    def step(state: GanState, batch: Arrays, frozen: FrozenInputs) -> tuple[GanState, jax.Array]:
        image, scale = to_unit_range(batch["image"]), frozen.scale
        margin, _ = frozen.classifier(image)
        decided = grading.by_label(scale, batch["label"]) if by_label else margin
        grade = grading.grade(scale, decided, networks.discriminator.num_grades)

        def penalty(params: Params) -> jax.Array:
            def discriminate(image: Image) -> Margin:
                return Model(networks.discriminator, params["image"])(image, grade)

            return losses.r1_penalty(discriminate, image)

        value, gradient = parallel.mean(jax.value_and_grad(penalty)(state.discriminator))
        gradient = jax.tree.map(lambda g: weight * g, gradient)
        return update_discriminator(state, gradient, optimizer), value

    return step


def gan_seed(config: ml_collections.ConfigDict) -> int:
    """Of the GAN's random numbers, its encoder's too."""
    return config.seed + config.gan.seed


def make_hparams(config: ml_collections.ConfigDict, objective: str) -> StepHParams:
    """The weights of an objective, the config's or (for an encoder alone) ours, and the seed."""
    gan = config.gan
    if objective == "paper":
        weights = paper_objective.make_weights(gan)
    else:
        weights = gan.weights.to_dict()
    return StepHParams(weights=jax.tree.map(np.float32, weights), seed=np.uint32(gan_seed(config)))


def map_train_step(
    config: ml_collections.ConfigDict,
    networks: GanNetworks,
    optimizers: Optimizers,
    *,
    devices: parallel.Devices | None = None,
) -> Callable:
    """The train step of a config's objective, on every device or on those given."""
    gan = config.gan
    if gan.objective == "paper":
        step = paper_gan.make_train_step(networks, optimizers, gan.ema_half_life)
    else:
        step = make_train_step(
            networks,
            optimizers,
            Augmentation(**gan.augmentation),
            ema_half_life=gan.ema_half_life,
            by_label=gan.conditioning == "label",
        )
    return parallel.pmap_step(step, devices=devices)


def map_penalty_step(
    config: ml_collections.ConfigDict,
    networks: GanNetworks,
    optimizers: Optimizers,
    *,
    devices: parallel.Devices | None = None,
) -> Callable:
    """`make_penalty_step` of a config, on every device or on those given."""
    weight = config.gan.r1_weight * config.gan.r1_every
    by_label = config.gan.conditioning == "label"
    step = make_penalty_step(networks, optimizers.discriminator, weight, by_label=by_label)
    return parallel.pmap_step(step, devices=devices)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GanInputs:
    """What the classifier says of the training films, as a GAN and its encoder are taught by it.

    Attributes:
      scale: of the class latent.
      positive: which training films are paired as positives [N]: those that f calls so, or where
        the label conditions in its stead, the labelled ones.
    """

    classifier: Model
    scale: Scale
    positive: np.ndarray


def load_inputs(
    config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]
) -> GanInputs:
    """The trained classifier, asked about every training film."""
    classifier = load_classifier(config.classifier, config.data.image_size, workdir / "classifier")
    train, conditioning = splits["train"], config.gan.conditioning
    margin = margins(classifier, train["image"])
    return GanInputs(
        classifier=classifier,
        scale=grading.fit_scale(margin, graded=conditioning == "graded"),
        positive=train["label"] == 1 if conditioning == "label" else margin > 0,
    )


def run(config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]) -> None:
    """Trains the GAN to its end, resuming where a killed run was."""
    directory, gan = workdir / "gan", config.gan
    if is_done(directory):
        logger.info("gan: complete, skipped")
        return
    parallel.check_batch_size("gan", gan.batch_size, BATCH_MULTIPLE)
    networks, optimizers = make_gan_networks(config), make_optimizers(gan)
    inputs, seed = load_inputs(config, workdir, splits), gan_seed(config)
    save_scale(workdir, inputs.scale)
    frozen = parallel.replicate(
        FrozenInputs(
            classifier=inputs.classifier,
            scale=inputs.scale,
            hparams=make_hparams(config, gan.objective),
        )
    )
    step = map_train_step(config, networks, optimizers)
    penalty_step = map_penalty_step(config, networks, optimizers)

    def regularised_step(number: int, state: GanState, batch: Arrays) -> tuple:
        state, new = step(state, batch, frozen)
        if gan.r1_weight > 0 and number % gan.r1_every == 0:
            state, _ = penalty_step(state, batch, frozen)
        return state, new

    def draw_sheet(state: GanState) -> Path:
        sheet = directory / "samples" / f"{int(state.step):06d}.png"
        if gan.objective == "paper":
            samples.draw_prior(sheet, networks, state.ema)
        else:
            films = splits["validation"]
            samples.draw_films(sheet, networks, state.ema, frozen=frozen, films=films)
        return sheet

    def snapshot(state: GanState) -> Snapshot:
        return Snapshot(
            variables={**state.ema, "discriminator": state.discriminator},
            score=int(state.step),
            sheet=draw_sheet(state) if parallel.is_first() else None,
        )

    loop.train(
        directory,
        loop.make_plan(gan),
        run_once(lambda: init_state(*init_gan_params(networks, seed), optimizers)),
        step=regularised_step,
        batches=lambda start: train_batches(
            splits["train"], gan.batch_size, seed, start_step=start, positive=inputs.positive
        ),
        snapshot=snapshot,
    )
    mark_done(directory, steps=gan.num_steps, images_seen=gan.num_steps * gan.batch_size)
