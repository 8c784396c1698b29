"""The objective of the GAN: what a step draws, and what its players minimise.

In each step half of the films are encoded (Larsen et al., 2016: an autoencoder whose decoder is the
generator) and half lend only the classifier's answer. The encoded films come in pairs, one
that f calls negative and one that it calls positive. These images are drawn:

  reconstructions  G(z_s(x), z_c(x))    must equal x, to the eye and to the classifier;
  swaps            G(z_s(x), z_c(x'))   the lungs of x with the class latent of its partner x';
  samples          G(z, t z_c(x))       lungs from the prior, a share t of the severity of x;
  removals         G(z_s(x*), 0)        must equal the negative x, of which x* is a graft;
  findings         G(z_s(x*), z_c(x*))  must differ from the removal by what x* has more than x;
  silences         G(z_s(x), n(x))      a negative x at the full radius: nothing may change.

A graft is a negative film with the change carried onto it that its partner's class latent makes to
its reconstruction, weaker or stronger: a positive film whose true twin is known. It teaches the
encoder to leave findings out of z_structure, and the generator to draw what lies beneath them. The
finding is judged pixel by pixel, so that nothing else of x may change with it: neither its ribs nor
a nodule, which in a positive is cheaper to encode as class than as structure. Silences say the same
of films without any finding.

Swaps and samples must look real to D at the grade that f is meant to give them, f must give it, and
a swap must stay close to the reconstruction that has its lungs, and differ from it smoothly.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from cxr_jax import grading, losses
from cxr_jax.grading import Scale
from cxr_jax.models.encoder import Encoder
from cxr_jax.models.gan import (
    Discriminator,
    Generator,
    LatentCritic,
)
from cxr_jax.models.paper import PaperDiscriminator, PaperGenerator
from cxr_jax.types import Classify, Image, Label, Margin, Params, Render, Severity, Structure

Gaussian = tuple[jax.Array, jax.Array]  # mean, log_std

# At first a class latent takes away less than the whole finding, so grafts are made stronger.
GRAFT_GAIN = 2.5


class Networks(NamedTuple):
    """The modules that play in a GAN step; the paper has neither encoder nor critic."""

    generator: Generator | PaperGenerator
    encoder: Encoder | None
    discriminator: Discriminator | PaperDiscriminator
    critic: LatentCritic | None
    classifier: nn.Module


class Weights(NamedTuple):
    """What each term counts in the loss of generator and encoder.

    Attributes:
      pixel: reconstruction, mean squared error. 1/(2 sigma^2) of a Gaussian likelihood a pixel.
      feature: reconstruction, in the classifier's feature maps.
      margin: classifier consistency, squared error of the margin in units of the scale's span.
      locality: mean absolute difference of a swap from the reconstruction with the same lungs.
      smoothness: total variation of that difference. Without it the change swings about zero from
        pixel to pixel, and its size says little about where the finding ends.
      removal: mean squared error of a graft's film without the finding.
      finding: mean absolute difference of the change drawn in a graft from the change grafted.
      silence: mean absolute change that a negative's own class latent draws at rho = 1.
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
    smoothness: float
    removal: float
    finding: float
    silence: float
    structure: float
    severity: float
    confusion: float
    adversarial: float


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


class Grafts(NamedTuple):
    """Of each pair the negative film with its partner's change on it, as it was drawn.

    Attributes:
      removal: without a class latent.
      twin: the negative film itself, which `removal` ought to be.
      has_twin: 1 where the pair is taken for a negative and a positive, else 0.
      change: what the graft's class latent, its mean, adds to `removal`.
      carried: what the graft has more than the film, which `change` ought to be.
      has_change: 1 where there is a twin and the graft is taken for a positive, else 0.
    """

    removal: Image
    twin: Image
    has_twin: Margin
    change: Image
    carried: Image
    has_change: Margin


class Drawn(NamedTuple):
    """The images of a step, what the classifier ought to say of them, and the films' latents.

    Attributes:
      reconstruction, swap: one for each encoded film; sample, silence: one for each pair.
      silence: what the pair's negative film changes by at the full radius.
      is_negative: 1 where that film is taken for a negative, else 0.
      z_structure: of each film, as drawn from its posterior.
      structure, severity: (mean, log_std) of each film's z_structure and unit class latent.
      positive: 1 where the film is taken for a positive, else 0.
    """

    reconstruction: Image
    swap: Image
    sample: Image
    swap_margin: Margin
    sample_margin: Margin
    grafts: Grafts
    silence: Image
    is_negative: Margin
    z_structure: Structure
    structure: Gaussian
    severity: Gaussian
    positive: Margin


def sample_latent(gaussian: Gaussian, noise: jax.Array) -> jax.Array:
    """Reparametrised: mean + std * noise (Kingma & Welling, 2014)."""
    mean, log_std = gaussian
    return mean + jnp.exp(log_std) * noise


def bind_players(networks: Networks, params: Params) -> tuple[Render, Callable]:
    """Generator and encoder with their parameters."""

    def generate(structure: Structure, severity: Severity) -> Image:
        return networks.generator.apply({"params": params["generator"]}, structure, severity)

    def encode(image: Image) -> tuple[Gaussian, Gaussian]:
        return networks.encoder.apply({"params": params["encoder"]}, image)

    return generate, encode


def draw_images(
    networks: Networks,
    params: Params,
    image: Image,
    margin: Margin,
    scale: Scale,
    draw: Draw,
    decide: Classify,
) -> Drawn:
    """Draws from the even films.

    Args:
      margin: what a film is taken for: f's answer, or what its label stands for.
      decide: the same of a graft.
    """
    generate, encode = bind_players(networks, params)
    film, film_margin = image[0::2], margin[0::2]
    rows, negative, positive = len(film), slice(0, None, 2), slice(1, None, 2)
    structure, severity = encode(film)
    rho = grading.film_radius(scale, film_margin)[:, None]
    z_structure = sample_latent(structure, draw.noise_structure)
    z_class = rho * sample_latent(severity, draw.noise_severity)
    wanted = grading.wanted(scale, film_margin)
    share = jax.nn.relu(4 * draw.share[positive] - 1) / 3  # a quarter sits at the origin
    share = jnp.where(scale.graded > 0, share, jnp.ceil(share))
    drawn = generate(
        jnp.concatenate([z_structure, z_structure, draw.sample_structure[positive]]),
        jnp.concatenate([z_class, partner(z_class), share[:, None] * z_class[positive]]),
    )
    reconstruction, swap, sample = jnp.split(drawn, [rows, 2 * rows])
    change = jax.lax.stop_gradient(swap - reconstruction)[negative]
    is_negative = film_margin[negative] <= 0
    is_pair = is_negative & (film_margin[positive] > 0)
    loud = generate(z_structure[negative], severity[0][negative])
    return Drawn(
        reconstruction=reconstruction,
        swap=swap,
        sample=sample,
        swap_margin=partner(wanted),
        sample_margin=scale.negative + share * (wanted[positive] - scale.negative),
        grafts=draw_grafts(
            *(networks, params, film[negative], change, is_pair, scale),
            *(draw.share[negative], draw.sample_structure[negative], decide),
        ),
        silence=loud - reconstruction[negative],
        is_negative=is_negative.astype(margin.dtype),
        z_structure=z_structure,
        structure=structure,
        severity=severity,
        positive=(film_margin > 0).astype(margin.dtype),
    )


def draw_grafts(
    networks: Networks,
    params: Params,
    film: Image,
    change: Image,
    is_pair: Bool[Array, "b"],
    scale: Scale,
    share: Margin,
    noise: Structure,
    decide: Classify,
) -> Grafts:
    """Carries changes onto negative films, and draws the grafts without and with their finding.

    Args:
      is_pair: where the change is a positive's and the film a negative.
      share, noise: of the graft's strength, and of its z_structure; see `Draw`.
      decide: see `draw_images`.
    """
    generate, encode = bind_players(networks, params)
    grafted = graft(film, change, share)
    margin = decide(grafted)
    structure, (direction, _) = encode(grafted)
    z_structure = sample_latent(structure, noise)
    z_class = grading.film_radius(scale, margin)[:, None] * direction
    drawn = generate(
        jnp.concatenate([z_structure, z_structure]),
        jnp.concatenate([jnp.zeros_like(z_class), z_class]),
    )
    removal, positive = jnp.split(drawn, 2)
    return Grafts(
        removal=removal,
        twin=film,
        has_twin=is_pair.astype(margin.dtype),
        change=positive - removal,
        carried=grafted - film,
        has_change=(is_pair & (margin > 0)).astype(margin.dtype),
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
    label: Label | None = None,
) -> tuple[jax.Array, tuple]:
    """The loss of generator and encoder; beside it its terms and the discriminator's batch.

    Args:
      frozen: (discriminator and critic, classifier, scale).
      label: conditions in f's stead, where given.
    """
    discriminator, classifier, scale = frozen
    margin, features = networks.classifier.apply({"params": classifier}, image)

    def decide(grafted: Image) -> Margin:
        if label is not None:
            return jnp.full(len(grafted), scale.strong)
        return networks.classifier.apply({"params": classifier}, grafted)[0]

    decided = margin if label is None else grading.by_label(scale, label)
    drawn = draw_images(networks, params, image, decided, scale, draw, decide)
    everything = jnp.concatenate([drawn.reconstruction, drawn.swap, drawn.sample])
    said, seen = networks.classifier.apply({"params": classifier}, everything)
    wanted = jnp.concatenate([margin[0::2], drawn.swap_margin, drawn.sample_margin])
    rows, pixels, grafts = len(drawn.reconstruction), image[0].size, drawn.grafts
    fake = everything[rows:]
    grade = grading.grade(scale, wanted[rows:], networks.discriminator.num_grades)
    judged = networks.discriminator.apply({"params": discriminator["image"]}, fake, grade)
    guessed = networks.critic.apply({"params": discriminator["latent"]}, drawn.z_structure)
    exact = jnp.square((said[:rows] - wanted[:rows]) / scale.span)
    terms = {
        "pixel": losses.pixel_error(drawn.reconstruction, image[0::2]).mean(),
        "feature": losses.feature_error(
            {name: f[:rows] for name, f in seen.items()},
            {name: f[0::2] for name, f in features.items()},
        ).mean(),
        "margin": jnp.concatenate([exact, margin_error(said[rows:], wanted[rows:], scale)]).mean(),
        "locality": losses.change(drawn.swap, drawn.reconstruction).mean(),
        "smoothness": losses.roughness(drawn.swap - drawn.reconstruction).mean(),
        "removal": (grafts.has_twin * losses.pixel_error(grafts.removal, grafts.twin)).mean(),
        "finding": (grafts.has_change * losses.change(grafts.change, grafts.carried)).mean(),
        "silence": (
            drawn.is_negative * losses.change(drawn.silence, jnp.zeros_like(drawn.silence))
        ).mean(),
        "structure": losses.gaussian_kl(*drawn.structure).mean() / pixels,
        "severity": (drawn.positive * losses.gaussian_kl(*drawn.severity)).mean() / pixels,
        "confusion": losses.confusion(guessed),
        "adversarial": losses.generator_logistic(judged),
    }
    loss = sum(getattr(weights, name) * term for name, term in terms.items())
    real_grade = grading.grade(scale, decided, networks.discriminator.num_grades)
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
