"""Task `gan`: trains generator, encoder and discriminator with the frozen classifier in the loop.

In each step half of the films are encoded (Larsen et al., 2016: an autoencoder whose decoder is the
generator) and half lend only the classifier's answer. The encoded films come in pairs, a negative
and a positive by label. Four kinds of image are drawn:

  reconstructions  G(z_s(x), z_c(x))    must equal x, to the eye and to the classifier;
  swaps            G(z_s(x), z_c(x'))   the lungs of x with the class latent of its partner x';
  samples          G(z, t z_c(x))       lungs from the prior, a share t of the severity of x;
  removals         G(z_s(x*), 0)        must equal the negative x, of which x* is a graft.

A graft is a negative film with the change carried onto it that its partner's class latent makes to
its reconstruction, weaker or stronger: a positive film whose true twin is known. It teaches the
encoder to leave findings out of z_structure, and the generator to draw what lies beneath them.

Swaps and samples must look real to D at the grade that f is meant to give them, f must give it, and
a swap must stay close to the reconstruction that has its lungs.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from clu import metrics as clu_metrics

from cxr_jax import grading, losses, parallel, plots, train_classifier
from cxr_jax.augment import Augmentation, augment
from cxr_jax.checkpoint import Checkpoints
from cxr_jax.data import Arrays, to_unit_range, train_batches
from cxr_jax.grading import Scale
from cxr_jax.models.encoder import Encoder
from cxr_jax.models.gan import (
    Discriminator,
    Generator,
    LatentCritic,
    num_components,
    severity_shapes,
    structure_shapes,
)
from cxr_jax.records import Recorder, is_done, mark_done
from cxr_jax.types import Image, Margin, Params, Pixels, Severity, Structure
from datasets.errors import InputError

logger = logging.getLogger(__name__)


Gaussian = tuple[jax.Array, jax.Array]  # mean, log_std

# At first a class latent takes away less than the whole finding, so grafts are made stronger.
GRAFT_GAIN = 2.5


class Networks(NamedTuple):
    """The modules that play in a GAN step."""

    generator: Generator
    encoder: Encoder
    discriminator: Discriminator
    critic: LatentCritic
    classifier: nn.Module


class Optimizers(NamedTuple):
    """One for generator and encoder together, one for the discriminator."""

    generator: optax.GradientTransformation
    discriminator: optax.GradientTransformation


class Weights(NamedTuple):
    """What each term counts in the loss of generator and encoder.

    Attributes:
      pixel: reconstruction, mean squared error. 1/(2 sigma^2) of a Gaussian likelihood a pixel.
      feature: reconstruction, in the classifier's feature maps.
      margin: classifier consistency, squared error of the margin in units of the scale's span.
      locality: mean absolute difference of a swap from the reconstruction with the same lungs.
      removal: mean squared error of a graft's film without the finding.
      structure, severity: Kullback-Leibler divergence of the encoded latents from N(0, I), in nats
        a pixel. Where severity is the cheaper, a finding is not encoded as structure.
      confusion: of the critic that tries to read f's answer off z_structure (Fader Networks).
        Without it a finding hides in the structure, and z_class is only the switch that shows it.
      adversarial: the logistic loss.
    """

    pixel: float
    feature: float
    margin: float
    locality: float
    removal: float
    structure: float
    severity: float
    confusion: float
    adversarial: float


@flax.struct.dataclass
class GanState:
    """Everything that training changes; `average` is that of generator and encoder."""

    step: jax.Array
    generator: Params  # {"generator", "encoder"}: one optimiser drives both
    discriminator: Params  # {"image", "latent"}: the discriminator and the critic of z_structure
    average: Params
    generator_optimizer: optax.OptState
    discriminator_optimizer: optax.OptState


@flax.struct.dataclass
class GanMetrics(clu_metrics.Collection):
    """Averages over a log interval."""

    generator: clu_metrics.Average.from_output("generator")
    discriminator: clu_metrics.Average.from_output("discriminator")
    pixel: clu_metrics.Average.from_output("pixel")
    feature: clu_metrics.Average.from_output("feature")
    margin: clu_metrics.Average.from_output("margin")
    locality: clu_metrics.Average.from_output("locality")
    removal: clu_metrics.Average.from_output("removal")
    structure: clu_metrics.Average.from_output("structure")
    severity: clu_metrics.Average.from_output("severity")
    confusion: clu_metrics.Average.from_output("confusion")
    critic: clu_metrics.Average.from_output("critic")
    disagreement: clu_metrics.Average.from_output("disagreement")


def make_networks(config: ml_collections.ConfigDict) -> Networks:
    """The networks of a config."""
    gan, size = config.gan, config.data.image_size
    channels = dict(
        structure_channels=tuple(gan.structure_channels),
        severity_channels=tuple(gan.severity_channels),
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


def latent_sizes(generator: Generator) -> tuple[int, int]:
    """Number of components of z_structure and of z_class."""
    size = generator.image_size
    return (
        num_components(structure_shapes(size, generator.structure_channels)),
        num_components(severity_shapes(size, generator.severity_channels)),
    )


def init_params(networks: Networks, seed: int) -> tuple[Params, Params]:
    """Fresh parameters of ({"generator", "encoder"}, {"image", "latent"})."""
    keys = jax.random.split(jax.random.key(seed), 4)
    num_structure, num_severity = latent_sizes(networks.generator)
    latents = jnp.zeros((1, num_structure)), jnp.zeros((1, num_severity))
    size = networks.generator.image_size
    image = jnp.zeros((1, size, size, 1))
    generator = {
        "generator": networks.generator.init(keys[0], *latents)["params"],
        "encoder": networks.encoder.init(keys[1], image)["params"],
    }
    grade = jnp.zeros((1,), jnp.int32)
    discriminator = {
        "image": networks.discriminator.init(keys[2], image, grade)["params"],
        "latent": networks.critic.init(keys[3], latents[0])["params"],
    }
    return generator, discriminator


def make_optimizer(
    config: ml_collections.ConfigDict, learning_rate: float
) -> optax.GradientTransformation:
    """Adam, warmed up and, over the last fifth of the run, brought down to a tenth."""
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(0.0, learning_rate, max(config.num_steps // 50, 1)),
            optax.linear_schedule(learning_rate, learning_rate / 10, max(config.num_steps // 5, 1)),
        ],
        [config.num_steps * 4 // 5],
    )
    return optax.adam(schedule, b1=config.beta1, b2=config.beta2)


class Draw(NamedTuple):
    """Random numbers of a step, one row for each encoded film.

    Attributes:
      noise_structure, noise_severity: N(0, I), the encoder's reparametrised noise.
      sample_structure: N(0, I), the lungs of the samples, and the noise of a graft's z_structure.
      share: uniform in [0, 1], for the samples' share t of a film's severity, a graft's strength.
    """

    noise_structure: Structure
    noise_severity: Severity
    sample_structure: Structure
    share: Margin


def draw_noise(keys: jax.Array, num_structure: int, num_severity: int) -> Draw:
    """Draws from each encoded film's own key."""

    def draw_one(key: jax.Array) -> Draw:
        key_structure, key_severity, key_sample, key_share = jax.random.split(key, 4)
        return Draw(
            jax.random.normal(key_structure, (num_structure,)),
            jax.random.normal(key_severity, (num_severity,)),
            jax.random.normal(key_sample, (num_structure,)),
            jax.random.uniform(key_share),
        )

    return jax.vmap(draw_one)(keys[0::2])


def partner(rows: jax.Array) -> jax.Array:
    """Exchanges rows 0 and 1, 2 and 3, ...: a permutation that no split over devices changes."""
    return rows.reshape(-1, 2, *rows.shape[1:])[:, ::-1].reshape(rows.shape)


class Drawn(NamedTuple):
    """The images of a step, what the classifier ought to say of them, and the films' latents.

    Attributes:
      reconstruction, swap: one for each encoded film; sample, removal: one for each pair.
      twin: the negative film that `removal` ought to be.
      has_twin: 1 where f calls the pair a negative and a positive, as their labels do, else 0.
      z_structure: of each film, as drawn from its posterior.
      structure, severity: (mean, log_std) of each film's z_structure and unit class latent.
      positive: 1 where the classifier says so of the film, else 0.
    """

    reconstruction: Image
    swap: Image
    sample: Image
    removal: Image
    swap_margin: Margin
    sample_margin: Margin
    twin: Image
    has_twin: Margin
    z_structure: Structure
    structure: Gaussian
    severity: Gaussian
    positive: Margin


def sample_latent(gaussian: Gaussian, noise: jax.Array) -> jax.Array:
    """Reparametrised: mean + std * noise (Kingma & Welling, 2014)."""
    mean, log_std = gaussian
    return mean + jnp.exp(log_std) * noise


def draw_images(
    networks: Networks, params: Params, image: Image, margin: Margin, scale: Scale, draw: Draw
) -> Drawn:
    """Reconstructions, swaps, samples and removals from the even films."""

    def generate(structure: Structure, severity: Severity) -> Image:
        return networks.generator.apply({"params": params["generator"]}, structure, severity)

    def encode(image: Image) -> tuple[Gaussian, Gaussian]:
        return networks.encoder.apply({"params": params["encoder"]}, image)

    film, film_margin = image[0::2], margin[0::2]
    rows, negative, positive = len(film), slice(0, None, 2), slice(1, None, 2)
    structure, severity = encode(film)
    rho = grading.film_radius(scale, film_margin)[:, None]
    z_structure = sample_latent(structure, draw.noise_structure)
    z_class = rho * sample_latent(severity, draw.noise_severity)
    # A negative's latent is the origin, where f is asked for the median negative margin.
    wanted = jnp.where(film_margin > 0, film_margin, scale.negative)
    share = jax.nn.relu(4 * draw.share[positive] - 1) / 3  # a quarter sits at the origin
    drawn = generate(
        jnp.concatenate([z_structure, z_structure, draw.sample_structure[positive]]),
        jnp.concatenate([z_class, partner(z_class), share[:, None] * z_class[positive]]),
    )
    reconstruction, swap, sample = jnp.split(drawn, [rows, 2 * rows])
    change = jax.lax.stop_gradient(swap - reconstruction)[negative]
    grafted = graft(film[negative], change, draw.share[negative])
    bare = sample_latent(encode(grafted)[0], draw.sample_structure[negative])
    has_twin = (film_margin[negative] <= 0) & (film_margin[positive] > 0)
    return Drawn(
        reconstruction=reconstruction,
        swap=swap,
        sample=sample,
        removal=generate(bare, jnp.zeros_like(z_class[negative])),
        swap_margin=partner(wanted),
        sample_margin=scale.negative + share * (wanted[positive] - scale.negative),
        twin=film[negative],
        has_twin=has_twin.astype(margin.dtype),
        z_structure=z_structure,
        structure=structure,
        severity=severity,
        positive=(film_margin > 0).astype(margin.dtype),
    )


def graft(image: Image, change: Image, share: Margin) -> Image:
    """Carries a change onto an image, between half as strong (share 0) and GRAFT_GAIN times."""
    gain = 0.5 + share * (GRAFT_GAIN - 0.5)
    return jnp.clip(image + gain[:, None, None, None] * change, -1.0, 1.0)


def margin_error(margin: Margin, wanted: Margin, scale: Scale) -> Margin:
    """Squared distance from the wanted margin in spans; a negative may be more so than wanted."""
    error = (margin - wanted) / scale.span
    return jnp.where(wanted <= scale.negative, jax.nn.relu(error), error) ** 2


def generator_loss(
    networks: Networks,
    weights: Weights,
    params: Params,
    frozen: tuple[Params, Params, Scale],
    image: Image,
    draw: Draw,
) -> tuple[jax.Array, tuple]:
    """The loss of generator and encoder; beside it its terms and the discriminator's batch."""
    discriminator, classifier, scale = frozen
    margin, features = networks.classifier.apply({"params": classifier}, image)
    drawn = draw_images(networks, params, image, margin, scale, draw)
    everything = jnp.concatenate([drawn.reconstruction, drawn.swap, drawn.sample])
    said, seen = networks.classifier.apply({"params": classifier}, everything)
    wanted = jnp.concatenate([margin[0::2], drawn.swap_margin, drawn.sample_margin])
    rows, pixels = len(drawn.reconstruction), image[0].size
    fake = everything[rows:]
    grade = grading.grade(scale, wanted[rows:], networks.discriminator.num_grades)
    judged = networks.discriminator.apply({"params": discriminator["image"]}, fake, grade)
    read = networks.critic.apply({"params": discriminator["latent"]}, drawn.z_structure)
    exact = jnp.square((said[:rows] - wanted[:rows]) / scale.span)
    terms = {
        "pixel": losses.pixel_error(drawn.reconstruction, image[0::2]).mean(),
        "feature": losses.feature_error(
            {name: f[:rows] for name, f in seen.items()},
            {name: f[0::2] for name, f in features.items()},
        ).mean(),
        "margin": jnp.concatenate([exact, margin_error(said[rows:], wanted[rows:], scale)]).mean(),
        "locality": losses.change(drawn.swap, drawn.reconstruction).mean(),
        "removal": (drawn.has_twin * losses.pixel_error(drawn.removal, drawn.twin)).mean(),
        "structure": losses.gaussian_kl(*drawn.structure).mean() / pixels,
        "severity": (drawn.positive * losses.gaussian_kl(*drawn.severity)).mean() / pixels,
        "confusion": losses.confusion(read),
        "adversarial": losses.generator_logistic(judged),
    }
    loss = sum(getattr(weights, name) * term for name, term in terms.items())
    real_grade = grading.grade(scale, margin, networks.discriminator.num_grades)
    read = drawn.z_structure, drawn.positive
    return loss, (terms, (fake, grade), read, real_grade, margin)


def discriminator_loss(
    networks: Networks,
    params: Params,
    real: tuple[Image, jax.Array],
    fake: tuple[Image, jax.Array],
    read: tuple[Structure, Margin],
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """What the two players against the generator minimise, and both terms.

    Args:
      real, fake: images and their grades; judged in one forward pass.
      read: z_structure of the films, and 1 where f calls them positive.
    """
    image, grade = (jnp.concatenate(pair) for pair in zip(real, fake, strict=True))
    judged = networks.discriminator.apply({"params": params["image"]}, image, grade)
    logistic = losses.discriminator_logistic(judged[: len(real[0])], judged[len(real[0]) :])
    guess = networks.critic.apply({"params": params["latent"]}, read[0])
    critic = losses.classification(guess, read[1], smoothing=0.0)
    return logistic + critic, (logistic, critic)


def make_train_step(
    networks: Networks,
    optimizers: Optimizers,
    weights: Weights,
    augmentation: Augmentation,
    average_half_life: float,
    seed: int,
) -> Callable:
    """Builds the pure step (state, batch, classifier, scale) -> (state, metrics).

    Generator and encoder move first; the discriminator then learns from the same drawn images.
    """
    sizes = latent_sizes(networks.generator)

    def step(
        state: GanState, batch: Arrays, classifier: Params, scale: Scale
    ) -> tuple[GanState, GanMetrics]:
        keys = parallel.example_keys(seed, state.step, batch["index"])
        image = augment(to_unit_range(batch["image"]), keys, augmentation)
        draw = draw_noise(keys, *sizes)

        def loss_fn(params: Params):
            frozen = state.discriminator, classifier, scale
            return generator_loss(networks, weights, params, frozen, image, draw)

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
    networks: Networks, optimizer: optax.GradientTransformation, weight: float
) -> Callable:
    """Builds the pure step (state, batch, classifier, scale) -> (state, penalty): R1 alone.

    Lazy regularisation (Karras et al., 2020): called every few steps with a weight as many times
    larger. It is a program of its own because a `lax.cond` inside the main one runs its branch on a
    single CPU core.
    """

    def step(
        state: GanState, batch: Arrays, classifier: Params, scale: Scale
    ) -> tuple[GanState, jax.Array]:
        image = to_unit_range(batch["image"])
        margin, _ = networks.classifier.apply({"params": classifier}, image)
        grade = grading.grade(scale, margin, networks.discriminator.num_grades)

        def penalty(params: Params) -> jax.Array:
            def discriminate(image: Image) -> Margin:
                return networks.discriminator.apply({"params": params["image"]}, image, grade)

            return losses.r1_penalty(discriminate, image)

        value, gradient = parallel.mean(jax.value_and_grad(penalty)(state.discriminator))
        gradient = jax.tree.map(lambda g: weight * g, gradient)
        return update_discriminator(state, gradient, optimizer), value

    return step


def update_generator(
    state: GanState,
    gradient: Params,
    optimizer: optax.GradientTransformation,
    average_half_life: float,
) -> GanState:
    """Moves generator and encoder, and their average after them."""
    moves, optimizer_state = optimizer.update(gradient, state.generator_optimizer)
    generator = optax.apply_updates(state.generator, moves)
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


def make_optimizers(config: ml_collections.ConfigDict) -> Optimizers:
    """The optimisers of a `config.gan` section."""
    return Optimizers(
        make_optimizer(config, config.generator_learning_rate),
        make_optimizer(config, config.discriminator_learning_rate),
    )


def map_train_step(
    config: ml_collections.ConfigDict, networks: Networks, optimizers: Optimizers
) -> Callable:
    """`make_train_step` of a config, on every device."""
    gan = config.gan
    step = make_train_step(
        networks,
        optimizers,
        Weights(**gan.weights),
        Augmentation(**gan.augmentation),
        gan.average_half_life,
        config.seed + config.gan.seed,
    )
    return parallel.pmap_step(step, num_frozen=2)


def map_penalty_step(
    config: ml_collections.ConfigDict, networks: Networks, optimizers: Optimizers
) -> Callable:
    """`make_penalty_step` of a config, on every device."""
    weight = config.gan.r1_weight * config.gan.r1_every
    step = make_penalty_step(networks, optimizers.discriminator, weight)
    return parallel.pmap_step(step, num_frozen=2)


def check_batch_size(batch_size: int) -> None:
    """Every device encodes half of its films, in pairs of a negative and a positive.

    Raises:
      InputError: if a device's share of the batch is not a multiple of 4.
    """
    devices = parallel.num_devices()
    multiple = 4 * devices
    if batch_size % multiple:
        raise InputError(
            f"config.gan.batch_size is {batch_size}; with {devices} devices it must be "
            f"a multiple of {multiple}"
        )


def init_state(networks: Networks, optimizers: Optimizers, seed: int) -> GanState:
    """A fresh state."""
    generator, discriminator = init_params(networks, seed)
    return GanState(
        step=jnp.int32(0),
        generator=generator,
        discriminator=discriminator,
        average=jax.tree.map(jnp.copy, generator),
        generator_optimizer=optimizers.generator.init(generator),
        discriminator_optimizer=optimizers.discriminator.init(discriminator),
    )


def save_samples(
    path: Path,
    networks: Networks,
    average: Params,
    frozen: tuple[Params, Scale],
    lungs: Pixels,
    lenders: Pixels,
) -> None:
    """A sheet with one z_structure a row: z_class = 0, then films' class latents at two severities.

    Args:
      lungs: films whose z_structure the lower rows have; that of the upper three is from N(0, I).
      lenders: films that lend their class latents, the columns.
    """
    num_prior, shares, (classifier, scale) = 3, (0.5, 1.0), frozen
    num_structure, num_severity = latent_sizes(networks.generator)

    def encode(pixels: Pixels) -> tuple[Structure, Severity]:
        image = to_unit_range(pixels)
        margin, _ = networks.classifier.apply({"params": classifier}, image)
        (structure, _), (direction, _) = networks.encoder.apply(
            {"params": average["encoder"]}, image
        )
        return structure, grading.film_radius(scale, margin)[:, None] * direction

    prior = jax.random.normal(jax.random.key(0), (num_prior, num_structure))
    structure = jnp.concatenate([prior, encode(lungs)[0]])
    scaled = [share * z for z in encode(lenders)[1] for share in shares]
    severity = jnp.stack([jnp.zeros(num_severity), *scaled])
    rows, columns = len(structure), len(severity)
    sheet = networks.generator.apply(
        {"params": average["generator"]},
        jnp.repeat(structure, columns, axis=0),
        jnp.tile(severity, (rows, 1)),
    )
    sheet = np.asarray(sheet).reshape(rows, columns, *sheet.shape[1:3])
    titles = ["z_class = 0"]
    titles += [f"film {i + 1}, t = {share}" for i in range(len(lenders)) for share in shares]
    plots.save(plots.image_grid(sheet, titles), path)


def run(config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]) -> None:
    """Trains the GAN to its end, resuming where a killed run was."""
    directory, gan = workdir / "gan", config.gan
    if is_done(directory):
        logger.info("gan: complete, skipped")
        return
    check_batch_size(gan.batch_size)
    networks = make_networks(config)
    optimizers = make_optimizers(gan)
    frozen = parallel.replicate(load_frozen(config, workdir, splits))
    step = map_train_step(config, networks, optimizers)
    penalty_step = map_penalty_step(config, networks, optimizers)
    checkpoints = Checkpoints(directory)
    state = parallel.replicate(init_state(networks, optimizers, config.seed + config.gan.seed))
    state = checkpoints.newest(state)
    start = int(state.step)
    recorder = Recorder(directory, "gan", gan.num_steps, gan.batch_size, start)
    batches = train_batches(
        splits["train"], gan.batch_size, config.seed + config.gan.seed, start, paired=True
    )
    collected = GanMetrics.empty()
    (directory / "samples").mkdir(exist_ok=True)
    films, label = splits["validation"]["image"], splits["validation"]["label"]
    shown = films[np.flatnonzero(label == 0)[:3]], films[np.flatnonzero(label == 1)[:3]]
    for number in range(start + 1, gan.num_steps + 1):
        batch = parallel.shard(next(batches))
        state, new = step(state, batch, *frozen)
        collected = collected.merge(new)
        if number % gan.r1_every == 0:
            state, _ = penalty_step(state, batch, *frozen)
        last = number == gan.num_steps
        if number % gan.log_every == 0 or last:
            recorder.write(number, collected.compute())
            collected = GanMetrics.empty()
        if number % gan.save_every == 0 or last:
            variables = {**state.average, "discriminator": state.discriminator}
            checkpoints.save(number, state, variables, score=number)
            sheet = directory / "samples" / f"{number:06d}.png"
            save_samples(sheet, networks, state.average, frozen, *shown)
    recorder.close()
    checkpoints.close()
    mark_done(directory, steps=gan.num_steps, images_seen=gan.num_steps * gan.batch_size)


def load_frozen(
    config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]
) -> tuple[Params, Scale]:
    """The trained classifier's parameters and the scale of its margins on the training films."""
    network, params = train_classifier.load(
        config.classifier, config.data.image_size, workdir / "classifier"
    )
    margin = train_classifier.margins(network, params, splits["train"]["image"])
    return params, grading.fit_scale(margin)


def load(networks: Networks, workdir: Path) -> Params:
    """Averaged {"generator", "encoder"} and the "discriminator" of the newest checkpoint."""
    generator, discriminator = init_params(networks, seed=0)
    checkpoints = Checkpoints(workdir / "gan")
    like = {**generator, "discriminator": discriminator}
    params = checkpoints.best(parallel.replicate(like))
    checkpoints.close()
    return params
