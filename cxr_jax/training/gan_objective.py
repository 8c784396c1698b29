"""The objective of the GAN: what a step draws, and what its players minimise.

In each step half of the films are encoded (Larsen et al., 2016: an autoencoder whose decoder is the
generator) and half lend only the classifier's answer. The encoded films come in pairs, one
that f calls negative and one that it calls positive. These images are drawn:

  reconstructions  G(z_s(x), z_c(x))    must equal x, to the eye and to the classifier;
  swaps            G(z_s(x), z_c(x'))   the lungs of x with the class latent of its partner x';
  samples          G(z, t z_c(x))       lungs from the prior, a share t of the z_class of x;
  removals         G(z_s(x*), 0)        must equal the negative x, of which x* is a graft;
  transplants      G(z_s(x*), z_c(x*))  must differ from the removal by what x* has more than x;
  null changes     G(z_s(x), n(x))      a negative x at the full radius: nothing may change.

A graft is a negative film with the change carried onto it that its partner's class latent makes to
its reconstruction, as far as f feels it, weaker or stronger: a positive film whose true twin is
known. It teaches the
encoder to leave findings out of z_structure, and the generator to draw what lies beneath them. The
transplant is judged pixel by pixel, so that nothing else of x may change with it: neither its ribs
nor a nodule, which in a positive is cheaper to encode as class than as structure. Null changes say
the same of films without any finding.

Swaps and samples must look real to D at the grade that f is meant to give them, f must give it, and
a swap must stay close to the reconstruction that has its lungs, and differ from it smoothly.
"""

from collections.abc import Mapping

import flax
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from cxr_jax import losses, necessity
from cxr_jax.models.model import Model
from cxr_jax.networks import grading
from cxr_jax.networks.build import GanNetworks
from cxr_jax.networks.grading import Scale
from cxr_jax.training.gan_state import FrozenInputs
from cxr_jax.training.loss_terms import TERMS, Gaussian, Grafts, StepAnswers, StepImages
from cxr_jax.types import AnyArray, Classify, Each, Image, Label, Margin, Params, ZClass, ZStructure

# At first a class latent takes away less than the whole finding, so grafts are made stronger.
GRAFT_GAIN = 2.5
# By how much of the mean a unit of change must move f to be felt whole; see cxr_jax/necessity.py.
LEAST_FELT = 0.5


# 1. What a step draws.


@flax.struct.dataclass(kw_only=True)
class StepNoise:
    """Random numbers of a step, one row for each encoded film.

    Attributes:
      z_structure, z_class: N(0, I), the encoder's reparametrised noise.
      sample: N(0, I), the lungs of the samples, and the noise of a graft's z_structure.
      share: uniform in [0, 1], for the samples' share t of a film's z_class, a graft's strength.
    """

    z_structure: ZStructure
    z_class: ZClass
    sample: ZStructure
    share: Each


def draw_noise(keys: jax.Array, latent_sizes: tuple[int, int]) -> StepNoise:
    """Draws from each encoded film's own key."""
    num_structure, num_class = latent_sizes

    def draw_one(key: jax.Array) -> tuple[jax.Array, ...]:
        key_structure, key_class, key_sample, key_share = jax.random.split(key, 4)
        return (
            jax.random.normal(key_structure, (num_structure,)),
            jax.random.normal(key_class, (num_class,)),
            jax.random.normal(key_sample, (num_structure,)),
            jax.random.uniform(key_share),
        )

    z_structure, z_class, sample, share = jax.vmap(draw_one)(keys[0::2])
    return StepNoise(z_structure=z_structure, z_class=z_class, sample=sample, share=share)


def partner(rows: jax.Array) -> jax.Array:
    """Exchanges rows 0 and 1, 2 and 3, ...: a permutation that no split over devices changes."""
    return rows.reshape(-1, 2, *rows.shape[1:])[:, ::-1].reshape(rows.shape)


def sample_latent(gaussian: Gaussian, noise: jax.Array) -> jax.Array:
    """Reparametrised: mean + std * noise (Kingma & Welling, 2014)."""
    mean, log_std = gaussian
    return mean + jnp.exp(log_std) * noise


def bind_players(networks: GanNetworks, params: Mapping[str, Params]) -> tuple[Model, Model]:
    """Generator and encoder with their parameters."""
    generator = Model(networks.generator, params["generator"])
    return generator, Model(networks.encoder, params["encoder"])


def draw_images(
    players: tuple[Model, Model],
    image: Image,
    margin: Margin,
    *,
    scale: Scale,
    noise: StepNoise,
    classify: Classify,
    decide: Classify,
) -> StepImages:
    """Draws from the even films.

    Args:
      classify: f.
      players: generator and encoder.
      margin: what a film is taken for: f's answer, or what its label stands for.
      decide: the same of a graft.
    """
    generate, encode = players
    film, film_margin = image[0::2], margin[0::2]
    rows, negative, positive = len(film), slice(0, None, 2), slice(1, None, 2)
    moments, class_moments = encode(film)
    rho = grading.film_radius(scale, film_margin)[:, None]
    z_structure = sample_latent(moments, noise.z_structure)
    z_class = rho * sample_latent(class_moments, noise.z_class)
    target = grading.target_logit(scale, film_margin)
    share = jax.nn.relu(4 * noise.share[positive] - 1) / 3  # a quarter sits at the origin
    share = jnp.where(scale.graded > 0, share, jnp.ceil(share))
    drawn = generate(
        jnp.concatenate([z_structure, z_structure, noise.sample[positive]]),
        jnp.concatenate([z_class, partner(z_class), share[:, None] * z_class[positive]]),
    )
    reconstruction, swap, sample = jnp.split(drawn, [rows, 2 * rows])
    still, moved = jax.lax.stop_gradient((reconstruction, swap - reconstruction))
    felt = feel(classify, still, moved, share=noise.share)
    change = (felt * moved)[negative]
    is_negative = film_margin[negative] <= 0
    is_pair = is_negative & (film_margin[positive] > 0)
    at_full_radius = generate(z_structure[negative], class_moments[0][negative])
    return StepImages(
        reconstruction=reconstruction,
        swap=swap,
        felt=felt,
        sample=sample,
        swap_target=partner(target),
        sample_target=scale.negative + share * (target[positive] - scale.negative),
        grafts=draw_grafts(
            players,
            film[negative],
            change,
            is_pair=is_pair,
            scale=scale,
            share=noise.share[negative],
            noise=noise.sample[negative],
            decide=decide,
        ),
        null_change=at_full_radius - reconstruction[negative],
        is_negative=is_negative.astype(margin.dtype),
        z_structure=z_structure,
        structure_moments=moments,
        class_moments=class_moments,
        is_positive=(film_margin > 0).astype(margin.dtype),
    )


def feel(classify: Classify, image: Image, change: Image, *, share: Each) -> Image:
    """How much of a change f feels at each place, by one gradient on the way: `necessity.felt`.

    Args:
      share: where on the way.
    """
    found = necessity.evidence(classify, image, change, shares=share[:, None])
    return necessity.felt(found, change, least=LEAST_FELT)


def draw_grafts(
    players: tuple[Model, Model],
    film: Image,
    change: Image,
    *,
    is_pair: Bool[AnyArray, " b"],
    scale: Scale,
    share: Each,
    noise: ZStructure,
    decide: Classify,
) -> Grafts:
    """Carries changes onto negative films, and draws the grafts without and with their finding.

    Args:
      is_pair: where the change is a positive's and the film a negative.
      share, noise: of the graft's strength, and of its z_structure; see `StepNoise`.
      decide: see `draw_images`.
    """
    generate, encode = players
    grafted = graft(film, change, share)
    margin = decide(grafted)
    moments, (direction, _) = encode(grafted)
    z_structure = sample_latent(moments, noise)
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


def graft(image: Image, change: Image, share: Each) -> Image:
    """Carries a change onto an image, between half as strong (share 0) and GRAFT_GAIN times."""
    gain = 0.5 + share * (GRAFT_GAIN - 0.5)
    return jnp.clip(image + gain[:, None, None, None] * change, -1.0, 1.0)


# 2. What the players minimise.


@flax.struct.dataclass(kw_only=True)
class GeneratorOutputs:
    """What the generator's pass leaves for the discriminator's and for the records.

    Attributes:
      terms: of the loss, by name.
      fake, fake_grade: swaps and samples, and the grades that they are meant for.
      real_grade: of the batch's films.
      z_structure: of the encoded films; `is_positive`: 1 where f calls them so.
      margin: f on the batch's films.
    """

    terms: Mapping[str, jax.Array]
    fake: Float[AnyArray, "fakes h w 1"]
    fake_grade: Int[AnyArray, " fakes"]
    real_grade: Int[AnyArray, " batch"]
    z_structure: ZStructure
    is_positive: Each
    margin: Float[AnyArray, " batch"]


def generator_loss(
    networks: GanNetworks,
    params: Params,
    discriminator: Params,
    *,
    frozen: FrozenInputs,
    image: Image,
    noise: StepNoise,
    label: Label | None = None,
) -> tuple[jax.Array, GeneratorOutputs]:
    """The loss of generator and encoder: the weighted sum of `loss_terms.TERMS`.

    Args:
      params: of {"generator", "encoder"}.
      discriminator: of {"image", "latent"}: the discriminator and the critic of z_structure.
      label: conditions in f's stead, where given.
    """
    classifier, scale = frozen.classifier, frozen.scale
    margin, features = classifier(image)

    def decide(grafted: Image) -> Margin:
        if label is not None:
            return jnp.full(len(grafted), scale.strong)
        return classifier(grafted)[0]

    decided = margin if label is None else grading.by_label(scale, label)
    players = bind_players(networks, params)
    images = draw_images(
        players,
        image,
        decided,
        scale=scale,
        noise=noise,
        classify=lambda drawn: classifier(drawn)[0],
        decide=decide,
    )
    everything = jnp.concatenate([images.reconstruction, images.swap, images.sample])
    drawn_margin, drawn_features = classifier(everything)
    target = jnp.concatenate([margin[0::2], images.swap_target, images.sample_target])
    rows, num_grades = len(images.reconstruction), networks.discriminator.num_grades
    fake = everything[rows:]
    grade = grading.grade(scale, target[rows:], num_grades)
    answers = StepAnswers(
        film=image[0::2],
        features={name: f[0::2] for name, f in features.items()},
        images=images,
        scale=scale,
        margin=drawn_margin,
        target=target,
        drawn_features={name: f[:rows] for name, f in drawn_features.items()},
        realness=Model(networks.discriminator, discriminator["image"])(fake, grade),
        leak=Model(networks.critic, discriminator["latent"])(images.z_structure),
    )
    terms = {name: term(answers) for name, term in TERMS.items()}
    loss = sum(frozen.hparams.weights[name] * value for name, value in terms.items())
    return loss, GeneratorOutputs(
        terms=terms,
        fake=fake,
        fake_grade=grade,
        real_grade=grading.grade(scale, decided, num_grades),
        z_structure=images.z_structure,
        is_positive=images.is_positive,
        margin=margin,
    )


def discriminator_loss(
    networks: GanNetworks, params: Params, real: Image, *, outputs: GeneratorOutputs
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """What the two players against the generator minimise, and both terms.

    Real and drawn images are judged in one forward pass.
    """
    image = jnp.concatenate([real, outputs.fake])
    grade = jnp.concatenate([outputs.real_grade, outputs.fake_grade])
    realness = Model(networks.discriminator, params["image"])(image, grade)
    logistic = losses.discriminator_logistic(realness[: len(real)], realness[len(real) :])
    leak = Model(networks.critic, params["latent"])(outputs.z_structure)
    critic = losses.classification(leak, outputs.is_positive, smoothing=0.0)
    return logistic + critic, (logistic, critic)
