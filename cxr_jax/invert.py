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

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax
from jaxtyping import Array, Float

from cxr_jax import losses
from cxr_jax.types import Image, Margin, Render, Severity, Structure

STARTS = ("encoder", "origin")  # of an inversion

Features = Mapping[str, Float[Array, "b h w c"]]


class Weights(NamedTuple):
    """What each term counts; see `gan_objective.Weights`.

    Attributes:
      cross_entropy: of f's probability for the drawn image with that for the film, as the paper has
        it; `margin` asks the same in logits.
    """

    pixel: float
    feature: float
    margin: float
    cross_entropy: float
    prior: float


class Settings(NamedTuple):
    """How a film is inverted.

    Attributes:
      start: "encoder", its means; or "origin", both latents zero.
      corrections: of the encoder's means, before the first step; an origin is not corrected.
      num_steps: towards the film.
      keep_change: whether before each of them comes one towards the film without its finding.
      learning_rate, beta1, beta2: of Adam; the rate falls to zero over `num_steps`. With few steps
        a short memory of the gradients' sizes (beta2) lets each step be as long as the first.
      severity_share: the rate of z_class in that of z_structure.
    """

    start: str
    corrections: int
    num_steps: int
    keep_change: bool
    learning_rate: float
    beta1: float
    beta2: float
    severity_share: float
    weights: Weights


def make_settings(config: ml_collections.ConfigDict) -> Settings:
    """Those of the section `explain.inversion`."""
    fields = config.to_dict()
    return Settings(**{**fields, "weights": Weights(**fields["weights"])})


class Target(NamedTuple):
    """A radiograph as the classifier sees it.

    Attributes:
      radius: rho of the film; zero where the classifier says negative.
    """

    image: Image
    margin: Margin
    features: Features
    radius: Margin


class Latents(NamedTuple):
    """z_structure and the unit class latent n; z_class = radius * n."""

    structure: Structure
    direction: Severity

    def severity(self, radius: Margin) -> Severity:
        """z_class."""
        return radius[:, None] * self.direction


def guess(
    encode: Callable[[Image], Latents], target: Target, render: Render, corrections: int
) -> Latents:
    """The encoder's latents E(x), then z <- z + E(x) - E(G(z)), so many times."""
    seen = latents = encode(target.image)
    for _ in range(corrections):
        drawn = encode(render(latents.structure, latents.severity(target.radius)))
        latents = jax.tree.map(lambda z, film, own: z + film - own, latents, seen, drawn)
    return latents


def error(
    latents: Latents,
    target: Target,
    render: Render,
    classify: Callable[[Image], tuple[Margin, Features]],
    span: Float[Array, ""],
    weights: Weights,
) -> Float[Array, "b"]:
    """How far the drawn image is from the target: to the eye, to f, and to the prior."""
    image = render(latents.structure, latents.severity(target.radius))
    margin, features = classify(image)
    on_prior = jnp.square(latents.structure).sum(-1)
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
    classify: Callable[[Image], tuple[Margin, Features]],
    span: Float[Array, ""],
    settings: Settings,
) -> tuple[Latents, Float[Array, "t b"]]:
    """Adam from a first guess.

    Returns:
      The refined latents, and the error of each image before each step towards it.
    """
    num_moves = settings.num_steps * (2 if settings.keep_change else 1)
    optimizer = optax.adam(
        optax.cosine_decay_schedule(settings.learning_rate, max(num_moves, 1)),
        b1=settings.beta1,
        b2=settings.beta2,
    )
    bare = without_finding(latents, target, render)

    def film_error(latents: Latents) -> tuple[Float[Array, ""], Float[Array, "b"]]:
        each = error(latents, target, render, classify, span, settings.weights)
        return each.sum(), each

    def bare_error(latents: Latents) -> Float[Array, ""]:
        drawn = render(latents.structure, jnp.zeros_like(latents.direction))
        return settings.weights.pixel * losses.pixel_error(drawn, bare).sum()

    def move(latents: Latents, state: optax.OptState, gradient: Latents) -> tuple:
        moves, state = optimizer.update(gradient, state)
        moves = moves._replace(direction=settings.severity_share * moves.direction)
        return optax.apply_updates(latents, moves), state

    def step(carry: tuple, _: None) -> tuple[tuple, Float[Array, "b"]]:
        if settings.keep_change:
            carry = move(*carry, jax.grad(bare_error)(carry[0]))
        gradient, each = jax.grad(film_error, has_aux=True)(carry[0])
        return move(*carry, gradient), each

    start = latents, optimizer.init(latents)
    (latents, _), history = jax.lax.scan(step, start, length=settings.num_steps)
    return latents, history


def without_finding(latents: Latents, target: Target, render: Render) -> Image:
    """The film less what z_class draws: a negative one as it is."""
    severity = latents.severity(target.radius)
    nothing = jnp.zeros_like(severity)
    change = render(latents.structure, severity) - render(latents.structure, nothing)
    return target.image - change
