"""Inversion: the latents of a real radiograph, by an encoder and a few optimiser steps.

Where the classifier says negative, z_class is the origin by definition and z_structure is fitted;
where it says positive, z_class is, and z_structure stays the encoder's: fitted to a film with a
finding it would take the finding over, and the walk would leave it where it is. Everything is
example by example, so a whole batch is one `lax.scan`.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from cxr_jax import losses
from cxr_jax.types import Image, Margin, Render, Severity, Structure

Features = Mapping[str, Float[Array, "b h w c"]]


class Weights(NamedTuple):
    """What each term counts; see `gan_objective.Weights`."""

    pixel: float
    feature: float
    margin: float
    prior: float


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
        + weights.prior * 0.5 * on_prior / image[0].size
    )


def refine(
    latents: Latents,
    target: Target,
    render: Render,
    classify: Callable[[Image], tuple[Margin, Features]],
    span: Float[Array, ""],
    weights: Weights,
    num_steps: int,
    learning_rate: float,
    hold_structure: bool = True,
) -> tuple[Latents, Float[Array, "t b"]]:
    """Adam from a first guess, its rate falling to zero.

    Args:
      hold_structure: whether a positive's z_structure stays as it is.

    Returns:
      The refined latents, and the error of each image before each step.
    """
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, max(num_steps, 1)))

    held = (target.radius > 0)[:, None] & hold_structure

    def total(latents: Latents) -> tuple[Float[Array, ""], Float[Array, "b"]]:
        each = error(latents, target, render, classify, span, weights)
        return each.sum(), each

    def step(carry: tuple, _: None) -> tuple[tuple, Float[Array, "b"]]:
        latents, state = carry
        gradient, each = jax.grad(total, has_aux=True)(latents)
        gradient = gradient._replace(structure=jnp.where(held, 0.0, gradient.structure))
        moves, state = optimizer.update(gradient, state)
        return (optax.apply_updates(latents, moves), state), each

    (latents, _), history = jax.lax.scan(step, (latents, optimizer.init(latents)), length=num_steps)
    return latents, history
