"""Inversion: the latents of a real radiograph, by an encoder and a few optimiser steps.

The encoder is an approximate inverse of the generator, and is asked more than once: what it sees in
a film but not in its own reconstruction corrects the guess (as ReStyle does with an encoder taught
to; Alaluf et al., 2021). A correction costs two forward passes, and moves z_structure without
taking a finding into it, as the encoder has learned; an optimiser has not.

Where the classifier says negative, z_class is the origin by definition. Where it says positive it
stays near the encoder's, and z_structure is fitted around it: which part of a film is the finding
the encoder has learned, and steps that lower an error alone would divide it anew. So they are taken
in turn towards the film, which G(z_structure, z_class) must equal, and towards the film less the
change that the first guess draws, which G(z_structure, 0) must. Everything is example by example,
so a whole batch is one `lax.scan`.
"""

import dataclasses
from collections.abc import Callable

import flax
import jax
import jax.numpy as jnp
import ml_collections
import optax
from jaxtyping import Float

from cxr_jax import losses
from cxr_jax.models.model import Model
from cxr_jax.networks import grading
from cxr_jax.networks.grading import Scale
from cxr_jax.types import (
    AnyArray,
    Each,
    FeatureMaps,
    Image,
    Margin,
    Render,
    Scalar,
    ZClass,
    ZStructure,
)

STARTS = ("encoder", "origin")  # of an inversion


@dataclasses.dataclass(frozen=True, kw_only=True)
class InversionWeights:
    """What each term counts; see `loss_terms`.

    Attributes:
      cross_entropy: of f's probability for the drawn image with that for the film, as the paper has
        it; `margin` asks the same in logits.
    """

    pixel: float
    feature: float
    margin: float
    cross_entropy: float
    prior: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class InversionSettings:
    """How a film is inverted.

    Attributes:
      start: "encoder", its means; or "origin", both latents zero.
      corrections: of the encoder's means, before the first step; an origin is not corrected.
      num_steps: towards the film.
      alternate_lesion_free_steps: whether before each of them comes one towards the film without
        its finding.
      learning_rate, beta1, beta2: of Adam; the rate falls to zero over `num_steps`. With few steps
        a short memory of the gradients' sizes (beta2) lets each step be as long as the first.
      z_class_lr_scale: the rate of z_class in that of z_structure.
    """

    start: str
    corrections: int
    num_steps: int
    alternate_lesion_free_steps: bool
    learning_rate: float
    beta1: float
    beta2: float
    z_class_lr_scale: float
    weights: InversionWeights


def make_settings(config: ml_collections.ConfigDict) -> InversionSettings:
    """Those of the section `explain.inversion`."""
    fields = config.to_dict()
    return InversionSettings(**{**fields, "weights": InversionWeights(**fields["weights"])})


@flax.struct.dataclass(kw_only=True)
class Target:
    """A radiograph as the classifier sees it.

    Attributes:
      radius: rho of the film; zero where the classifier says negative.
    """

    image: Image
    margin: Margin
    features: FeatureMaps
    radius: Each


def make_target(classifier: Model, scale: Scale, image: Image) -> Target:
    """What the inversion of these films aims at."""
    margin, features = classifier(image)
    radius = grading.film_radius(scale, margin)
    return Target(image=image, margin=margin, features=features, radius=radius)


@flax.struct.dataclass(kw_only=True)
class Latents:
    """z_structure and the unit class latent n; z_class = radius * n."""

    z_structure: ZStructure
    direction: ZClass

    def z_class(self, radius: Each) -> ZClass:
        """The class latents [b, n]: radius [b] times the direction."""
        return radius[:, None] * self.direction


def guess(
    encoder: Callable[[Image], tuple], render: Render, target: Target, *, corrections: int
) -> Latents:
    """The encoder's latents E(x), then z <- z + E(x) - E(G(z)), so many times."""
    encoded = latents = encode_means(encoder, target.image)
    for _ in range(corrections):
        drawn = render(latents.z_structure, latents.z_class(target.radius))
        own = encode_means(encoder, drawn)
        latents = jax.tree.map(lambda z, film, own: z + film - own, latents, encoded, own)
    return latents


def encode_means(encoder: Callable[[Image], tuple], image: Image) -> Latents:
    """The encoder's means."""
    structure, direction = encoder(image)
    return Latents(z_structure=structure[0], direction=direction[0])


def error(
    latents: Latents,
    target: Target,
    render: Render,
    *,
    classify: Callable[[Image], tuple[Margin, FeatureMaps]],
    span: Scalar,
    weights: InversionWeights,
) -> Each:
    """How far the drawn image is from the target: to the eye, to f, and to the prior."""
    image = render(latents.z_structure, latents.z_class(target.radius))
    margin, features = classify(image)
    on_prior = jnp.square(latents.z_structure).sum(-1)
    on_prior += (target.radius > 0) * jnp.square(latents.direction).sum(-1)
    return (
        weights.pixel * losses.pixel_error(image, target.image)
        + weights.feature * losses.feature_error(features, target.features)
        + weights.margin * jnp.square((margin - target.margin) / span)
        + weights.cross_entropy
        * optax.sigmoid_binary_cross_entropy(margin, jax.nn.sigmoid(target.margin))
        + weights.prior * 0.5 * on_prior / image[0].size
    )


def refine(
    latents: Latents,
    target: Target,
    render: Render,
    *,
    classify: Callable[[Image], tuple[Margin, FeatureMaps]],
    span: Scalar,
    settings: InversionSettings,
) -> tuple[Latents, Float[AnyArray, "t b"]]:
    """Adam from a first guess.

    Returns:
      The refined latents, and the error of each image before each step towards it.
    """
    num_updates = settings.num_steps * (2 if settings.alternate_lesion_free_steps else 1)
    optimizer = optax.adam(
        optax.cosine_decay_schedule(settings.learning_rate, max(num_updates, 1)),
        b1=settings.beta1,
        b2=settings.beta2,
    )
    bare = without_finding(latents, target, render)

    def film_error(latents: Latents) -> tuple[Scalar, Margin]:
        each = error(
            latents, target, render, classify=classify, span=span, weights=settings.weights
        )
        return each.sum(), each

    def bare_error(latents: Latents) -> Scalar:
        drawn = render(latents.z_structure, jnp.zeros_like(latents.direction))
        return settings.weights.pixel * losses.pixel_error(drawn, bare).sum()

    def move(latents: Latents, state: optax.OptState, gradient: Latents) -> tuple:
        updates, state = optimizer.update(gradient, state)
        updates = updates.replace(direction=settings.z_class_lr_scale * updates.direction)
        return optax.apply_updates(latents, updates), state

    def step(carry: tuple, _: None) -> tuple[tuple, Margin]:
        if settings.alternate_lesion_free_steps:
            carry = move(*carry, jax.grad(bare_error)(carry[0]))
        gradient, each = jax.grad(film_error, has_aux=True)(carry[0])
        return move(*carry, gradient), each

    start = latents, optimizer.init(latents)
    (latents, _), history = jax.lax.scan(step, start, length=settings.num_steps)
    return latents, history


def without_finding(latents: Latents, target: Target, render: Render) -> Image:
    """The film less what z_class draws: a negative one as it is."""
    z_class = latents.z_class(target.radius)
    nothing = jnp.zeros_like(z_class)
    change = render(latents.z_structure, z_class) - render(latents.z_structure, nothing)
    return target.image - change
