"""Losses as functions of arrays: no parameters, no networks, no config."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Real

from cxr_jax.types import AnyArray, Each, FeatureMaps, Image, LungLogit, Margin, Mask, Scalar

Latents = Float[AnyArray, "b p"]


def classification(margin: Margin, label: Real[AnyArray, " b"], smoothing: float) -> Scalar:
    """Binary cross-entropy with label smoothing: the target is smoothing/2 away from 0 and 1.

    Smoothing keeps the margins of easy films finite, so that a margin still grades severity.
    """
    target = label * (1 - smoothing) + smoothing / 2
    return optax.sigmoid_binary_cross_entropy(margin, target).mean()


def segmentation(logit: LungLogit, mask: Mask) -> Each:
    """Cross-entropy of the pixels plus 1 - soft Dice of the whole (Milletari et al., 2016).

    The first teaches each pixel, the second the thing that is reported.
    """
    entropy = optax.sigmoid_binary_cross_entropy(logit, mask).mean(axis=(1, 2, 3))
    probability = jax.nn.sigmoid(logit)
    overlap = 2 * (probability * mask).sum(axis=(1, 2, 3)) + 1  # one pixel: empty masks agree
    return entropy + 1 - overlap / ((probability + mask).sum(axis=(1, 2, 3)) + 1)


def discriminator_logistic(real: Margin, fake: Float[AnyArray, " d"]) -> Scalar:
    """Logistic loss of the discriminator (Goodfellow et al., 2014)."""
    return jax.nn.softplus(-real).mean() + jax.nn.softplus(fake).mean()


def generator_logistic(fake: Margin) -> Scalar:
    """Non-saturating logistic loss of the generator (Goodfellow et al., 2014)."""
    return jax.nn.softplus(-fake).mean()


def confusion(margin: Margin) -> Scalar:
    """Cross-entropy with a fair coin: least where a critic cannot tell (Lample et al., 2017)."""
    return 0.5 * (jax.nn.softplus(margin) + jax.nn.softplus(-margin)).mean()


def r1_penalty(discriminate: Callable[[Image], Margin], real: Image) -> Scalar:
    """Half the mean squared gradient of D at real images (Mescheder et al., 2018)."""
    gradient = jax.grad(lambda image: discriminate(image).sum())(real)
    return 0.5 * jnp.square(gradient).sum(axis=(1, 2, 3)).mean()


def gaussian_kl(mean: Latents, log_std: Latents) -> Each:
    """KL(N(mean, std^2) || N(0, I)) in nats, over all components (Kingma & Welling, 2014)."""
    return 0.5 * (jnp.square(mean) + jnp.exp(2 * log_std) - 2 * log_std - 1).sum(axis=-1)


def pixel_error(image: Image, target: Image) -> Each:
    """Mean squared error of each image."""
    return jnp.square(image - target).mean(axis=(1, 2, 3))


def feature_error(features: FeatureMaps, target: FeatureMaps) -> Each | Scalar:
    """Squared distance of f's feature maps, over their mean square, averaged over the maps.

    A classifier without maps has none: 0.
    """

    def relative(name: str) -> Each:
        energy = jnp.square(target[name]).mean(axis=(1, 2, 3)) + 1e-6
        return jnp.square(features[name] - target[name]).mean(axis=(1, 2, 3)) / energy

    total = sum((relative(name) for name in features), start=jnp.zeros(()))
    return total / max(len(features), 1)


def roughness(image: Image) -> Each:
    """Mean absolute difference of neighbouring pixels of each image: its total variation."""
    down, across = jnp.diff(image, axis=1), jnp.diff(image, axis=2)
    return (jnp.abs(down).mean(axis=(1, 2, 3)) + jnp.abs(across).mean(axis=(1, 2, 3))) / 2


def change(image: Image, other: Image) -> Each:
    """Mean absolute difference of each image: the locality penalty."""
    return jnp.abs(image - other).mean(axis=(1, 2, 3))
