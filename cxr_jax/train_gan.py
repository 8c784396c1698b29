"""Task `gan`: trains generator, encoder and discriminator, the frozen classifier in the loop."""

import logging
from collections.abc import Callable
from pathlib import Path

import flax
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from clu import metrics as clu_metrics

from cxr_jax import (
    grading,
    losses,
    paper_objective,
    parallel,
    samples,
    train_classifier,
    train_paper_gan,
    training,
)
from cxr_jax.augment import Augmentation, augment, view_keys
from cxr_jax.checkpoint import load_networks
from cxr_jax.data import Arrays, to_unit_range, train_batches
from cxr_jax.gan_objective import (
    Networks,
    Weights,
    discriminator_loss,
    draw_noise,
    generator_loss,
)
from cxr_jax.gan_state import (
    GanState,
    Optimizers,
    Setting,
    init_state,
    make_optimizers,
    update_discriminator,
    update_generator,
)
from cxr_jax.grading import Scale
from cxr_jax.models.encoder import Encoder
from cxr_jax.models.gan import (
    Discriminator,
    Generator,
    LatentCritic,
)
from cxr_jax.models.paper import PaperDiscriminator, PaperGenerator
from cxr_jax.records import is_done, mark_done
from cxr_jax.training import Plan, Snapshot
from cxr_jax.types import Image, Margin, Params

logger = logging.getLogger(__name__)

NETWORKS = OBJECTIVES = ("ours", "paper")
# What a device's part of a batch is a multiple of: half of it is encoded, in pairs of a negative
# and a positive; the paper's objective compares two images of each class.
PAIRED_SHARE = 4


@flax.struct.dataclass
class GanMetrics(clu_metrics.Collection):
    """Averages over a log interval."""

    generator: clu_metrics.Average.from_output("generator")
    discriminator: clu_metrics.Average.from_output("discriminator")
    pixel: clu_metrics.Average.from_output("pixel")
    feature: clu_metrics.Average.from_output("feature")
    margin: clu_metrics.Average.from_output("margin")
    locality: clu_metrics.Average.from_output("locality")
    smoothness: clu_metrics.Average.from_output("smoothness")
    removal: clu_metrics.Average.from_output("removal")
    finding: clu_metrics.Average.from_output("finding")
    silence: clu_metrics.Average.from_output("silence")
    structure: clu_metrics.Average.from_output("structure")
    severity: clu_metrics.Average.from_output("severity")
    confusion: clu_metrics.Average.from_output("confusion")
    critic: clu_metrics.Average.from_output("critic")
    disagreement: clu_metrics.Average.from_output("disagreement")


def make_networks(config: ml_collections.ConfigDict) -> Networks:
    """The networks of a config."""
    if config.gan.networks == "paper":
        return make_paper_networks(config)
    gan, size = config.gan, config.data.image_size
    channels = dict(
        structure_channels=tuple(gan.structure_channels),
        severity_channels=tuple(gan.severity_channels),
        severity_is_placed=gan.severity_is_placed,
    )
    return Networks(
        generator=Generator(
            image_size=size, widths=tuple(gan.generator_widths), dtype=gan.dtype, **channels
        ),
        encoder=Encoder(widths=tuple(gan.encoder_widths), dtype=gan.dtype, **channels),
        discriminator=Discriminator(
            widths=tuple(gan.discriminator_widths), num_grades=gan.num_grades, dtype=gan.dtype
        ),
        critic=LatentCritic(
            image_size=size,
            structure_channels=tuple(gan.structure_channels),
            widths=tuple(gan.critic_widths),
        ),
        classifier=train_classifier.make_classifier(config.classifier),
    )


def make_paper_networks(config: ml_collections.ConfigDict) -> Networks:
    """Those of the paper, which has no encoder, for an image of the config's size."""
    paper, dtype = config.gan.paper, config.gan.dtype
    return Networks(
        generator=PaperGenerator(
            image_size=config.data.image_size,
            latent_sizes=(paper.num_structure, paper.num_severity),
            widths=tuple(paper.generator_widths),
            total=parallel.total,
            dtype=dtype,
        ),
        encoder=None,
        discriminator=PaperDiscriminator(
            widths=tuple(paper.discriminator_widths),
            rate=paper.dropout,
            total=parallel.total,
            dtype=dtype,
        ),
        critic=None,
        classifier=train_classifier.make_classifier(config.classifier),
    )


def init_params(networks: Networks, seed: int) -> tuple[Params, Params]:
    """Fresh parameters of ({"generator", "encoder"}, {"image", "latent"}), those that there are."""
    keys = jax.random.split(jax.random.key(seed), 4)
    latents = [jnp.zeros((1, size)) for size in networks.generator.latent_sizes]
    size = networks.generator.image_size
    image, grade = jnp.zeros((1, size, size, 1)), jnp.zeros((1,), jnp.int32)
    generator = {"generator": networks.generator.init(keys[0], *latents)["params"]}
    discriminator = {"image": networks.discriminator.init(keys[2], image, grade)["params"]}
    if networks.encoder:
        generator["encoder"] = networks.encoder.init(keys[1], image)["params"]
    if networks.critic:
        discriminator["latent"] = networks.critic.init(keys[3], latents[0])["params"]
    return generator, discriminator


def make_train_step(
    networks: Networks,
    optimizers: Optimizers,
    augmentation: Augmentation,
    average_half_life: float,
    by_label: bool = False,
) -> Callable:
    """Builds the pure step (state, batch, classifier, scale, setting) -> (state, metrics).

    Generator and encoder move first; the discriminator then learns from the same drawn images.

    Args:
      by_label: whether the label conditions in the classifier's stead.
    """
    sizes = networks.generator.latent_sizes

    def step(
        state: GanState, batch: Arrays, classifier: Params, scale: Scale, setting: Setting
    ) -> tuple[GanState, GanMetrics]:
        keys = parallel.example_keys(setting.seed, state.step, batch["index"])
        image = augment(to_unit_range(batch["image"]), view_keys(keys), augmentation)
        draw = draw_noise(keys, *sizes)

        def loss_fn(params: Params):
            frozen = state.discriminator, classifier, scale
            label = batch["label"] if by_label else None
            return generator_loss(networks, setting.weights, params, frozen, image, draw, label)

        (loss, (terms, fake, read, real_grade, margin)), generator_gradient = jax.value_and_grad(
            loss_fn, has_aux=True
        )(state.generator)
        real = image, real_grade
        fake, read = jax.lax.stop_gradient((fake, read))
        (_, (logistic, critic)), discriminator_gradient = jax.value_and_grad(
            lambda params: discriminator_loss(networks, params, real, fake, read), has_aux=True
        )(state.discriminator)
        disagreement = ((margin > 0) != batch["label"]).mean()
        terms |= dict(generator=loss, discriminator=logistic, critic=critic)
        terms |= dict(disagreement=disagreement)
        generator_gradient, discriminator_gradient, terms = parallel.mean(
            (generator_gradient, discriminator_gradient, terms)
        )
        state = update_generator(state, generator_gradient, optimizers.generator, average_half_life)
        state = update_discriminator(state, discriminator_gradient, optimizers.discriminator)
        return state.replace(step=state.step + 1), GanMetrics.single_from_model_output(**terms)

    return step


def make_penalty_step(
    networks: Networks,
    optimizer: optax.GradientTransformation,
    weight: float,
    by_label: bool = False,
) -> Callable:
    """Builds the pure step (state, batch, classifier, scale) -> (state, penalty): R1 alone.

    Lazy regularisation (Karras et al., 2020): called every few steps with a weight as many times
    larger; Adam's moments are those of the main step. It is a program of its own because a
    `lax.cond` inside the main one runs its branch on a single CPU core.
    """

    def step(
        state: GanState, batch: Arrays, classifier: Params, scale: Scale
    ) -> tuple[GanState, jax.Array]:
        image = to_unit_range(batch["image"])
        margin, _ = networks.classifier.apply({"params": classifier}, image)
        decided = grading.by_label(scale, batch["label"]) if by_label else margin
        grade = grading.grade(scale, decided, networks.discriminator.num_grades)

        def penalty(params: Params) -> jax.Array:
            def discriminate(image: Image) -> Margin:
                return networks.discriminator.apply({"params": params["image"]}, image, grade)

            return losses.r1_penalty(discriminate, image)

        value, gradient = parallel.mean(jax.value_and_grad(penalty)(state.discriminator))
        gradient = jax.tree.map(lambda g: weight * g, gradient)
        return update_discriminator(state, gradient, optimizer), value

    return step


def seed_of(config: ml_collections.ConfigDict) -> int:
    """Of the GAN's random numbers, its encoder's too."""
    return config.seed + config.gan.seed


def make_setting(config: ml_collections.ConfigDict, objective: str) -> Setting:
    """The weights of an objective, the config's or (for an encoder alone) ours, and the seed."""
    gan = config.gan
    if objective == "paper":
        weights = paper_objective.Weights(gan.entropy_weight, gan.mode_seeking_weight)
    else:
        weights = Weights(**gan.weights)
    return Setting(jax.tree.map(np.float32, weights), np.uint32(seed_of(config)))


def map_train_step(
    config: ml_collections.ConfigDict,
    networks: Networks,
    optimizers: Optimizers,
    devices: parallel.Devices | None = None,
) -> Callable:
    """The train step of a config's objective, on every device or on those given."""
    gan = config.gan
    if gan.objective == "paper":
        step = train_paper_gan.make_train_step(networks, optimizers, gan.average_half_life)
    else:
        step = make_train_step(
            networks,
            optimizers,
            Augmentation(**gan.augmentation),
            gan.average_half_life,
            by_label=gan.conditioning == "label",
        )
    return parallel.pmap_step(step, num_frozen=3, devices=devices)


def map_penalty_step(
    config: ml_collections.ConfigDict,
    networks: Networks,
    optimizers: Optimizers,
    devices: parallel.Devices | None = None,
) -> Callable:
    """`make_penalty_step` of a config, on every device or on those given."""
    weight = config.gan.r1_weight * config.gan.r1_every
    by_label = config.gan.conditioning == "label"
    step = make_penalty_step(networks, optimizers.discriminator, weight, by_label)
    return parallel.pmap_step(step, num_frozen=2, devices=devices)


def run(config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]) -> None:
    """Trains the GAN to its end, resuming where a killed run was."""
    directory, gan = workdir / "gan", config.gan
    if is_done(directory):
        logger.info("gan: complete, skipped")
        return
    parallel.check_batch_size("gan", gan.batch_size, PAIRED_SHARE)
    networks, optimizers = make_networks(config), make_optimizers(gan)
    classifier, scale, positive = load_frozen(config, workdir, splits)
    frozen = parallel.replicate((classifier, scale))
    setting = parallel.replicate(make_setting(config, gan.objective))
    step = map_train_step(config, networks, optimizers)
    penalty_step = map_penalty_step(config, networks, optimizers)
    seed = seed_of(config)

    def regularised_step(number: int, state: GanState, batch: Arrays) -> tuple:
        state, new = step(state, batch, *frozen, setting)
        if gan.r1_weight > 0 and number % gan.r1_every == 0:
            state, _ = penalty_step(state, batch, *frozen)
        return state, new

    def snapshot(state: GanState) -> Snapshot:
        if parallel.is_first():
            sheet = directory / "samples" / f"{int(state.step):06d}.png"
            if gan.objective == "paper":
                samples.draw_prior(sheet, networks, state.average)
            else:
                samples.draw_films(sheet, networks, state.average, frozen, splits["validation"])
        variables = {**state.average, "discriminator": state.discriminator}
        return Snapshot(variables, score=int(state.step))

    training.train(
        directory,
        Plan(gan.num_steps, gan.batch_size, gan.log_every, gan.save_every),
        init_state(*init_params(networks, seed), optimizers),
        regularised_step,
        lambda start: train_batches(splits["train"], gan.batch_size, seed, start, positive),
        snapshot,
    )
    mark_done(directory, steps=gan.num_steps, images_seen=gan.num_steps * gan.batch_size)


def load_frozen(
    config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]
) -> tuple[Params, Scale, np.ndarray]:
    """The trained classifier's parameters, and what it says of the training films.

    Returns:
      Its parameters, the scale of its margins, and which films are taken for positives [N]: by its
      own answer, or by label where that conditions in its stead.
    """
    network, params = train_classifier.load(
        config.classifier, config.data.image_size, workdir / "classifier"
    )
    train, conditioning = splits["train"], config.gan.conditioning
    margin = train_classifier.margins(network, params, train["image"])
    positive = train["label"] == 1 if conditioning == "label" else margin > 0
    return params, grading.fit_scale(margin, graded=conditioning == "graded"), positive


def load(networks: Networks, workdir: Path) -> Params:
    """Averaged {"generator", "encoder"} and the "discriminator" of the newest checkpoint."""

    def init() -> Params:
        generator, discriminator = init_params(networks, seed=0)
        return {**generator, "discriminator": discriminator}

    return load_networks(workdir / "gan", init)
