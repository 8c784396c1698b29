"""The objective of Dravid & Katsaggelos (AAAI 2022), section 3: two latents, a frozen classifier.

Half of the drawn images are negatives with z_class = 0, half positives with z_class ~ N(0, I); the
lungs are z_structure ~ N(0, I) for both. An unconditional discriminator learns to tell them from
real films by binary cross-entropy, and the generator minimises its own non-saturating term and w
times the cross-entropy of the frozen classifier with the class that was asked for.

Not in the paper is a term against mode collapse, which may weigh nothing: two images of one class
should differ the more, the more their z_structure does (Mao et al., CVPR 2019).
"""

from collections.abc import Mapping

import flax
import jax
import jax.numpy as jnp
import ml_collections

from cxr_jax import losses
from cxr_jax.types import Image, Index, Label, Margin, Scalar, ZClass, ZStructure

TERMS = ("adversarial", "entropy", "mode_seeking")
EPSILON = 1e-2  # images that hardly differ at all are not pushed apart without bounds


@flax.struct.dataclass(kw_only=True)
class PaperNoise:
    """The latents of a step, one row for each image of the batch.

    Attributes:
      label: 1 where a positive is asked for.
    """

    z_structure: ZStructure
    z_class: ZClass
    label: Label


def make_weights(gan: ml_collections.ConfigDict) -> dict[str, float]:
    """What the terms count, of a `config.gan` section; `entropy` is the paper's w."""
    return {
        "adversarial": 1.0,
        "entropy": gan.entropy_weight,
        "mode_seeking": gan.mode_seeking_weight,
    }


def draw_noise(keys: jax.Array, index: Index, latent_sizes: tuple[int, int]) -> PaperNoise:
    """Draws from each example's own key; every second image of the global batch is a positive."""
    num_structure, num_class = latent_sizes

    def draw_one(key: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
        key_structure, key_class = jax.random.split(key)
        z_structure = jax.random.normal(key_structure, (num_structure,))
        return z_structure, label * jax.random.normal(key_class, (num_class,))

    label = index % 2
    z_structure, z_class = jax.vmap(draw_one)(keys, label)
    return PaperNoise(z_structure=z_structure, z_class=z_class, label=label)


def mode_seeking(image: Image, z_structure: ZStructure) -> jax.Array:
    """d(z_structure) / d(image) of pairs of one class, mean absolute differences both.

    Mao et al. (2019), equation 3, turned upside down to be minimised. A pair are rows 0 and 2, or 1
    and 3, of each four, so that no split over devices changes it. Two positives differ in z_class
    as well, unlike there.
    """
    pairs = lambda rows: rows.reshape(-1, 2, 2, *rows.shape[1:])
    one, other = jnp.split(pairs(image), 2, axis=1)
    z, another = jnp.split(pairs(z_structure), 2, axis=1)
    apart = jnp.abs(one - other).mean(axis=(-3, -2, -1))
    return (1 / (apart / jnp.abs(z - another).mean(axis=-1) + EPSILON)).mean()


def generator_terms(
    image: Image, noise: PaperNoise, *, margin: Margin, realness: Margin
) -> dict[str, jax.Array]:
    """The terms by name: adversarial, cross-entropy of the frozen classifier, mode seeking.

    Args:
      image: G(z_structure, z_class).
      margin: f on it; `realness`: the discriminator's logits for it.
    """
    return {
        "adversarial": losses.generator_logistic(realness),
        "entropy": losses.classification(margin, noise.label, smoothing=0.0),
        "mode_seeking": mode_seeking(image, noise.z_structure),
    }


def weigh(terms: Mapping[str, Scalar], weights: Mapping[str, Scalar]) -> Scalar:
    """The loss: adversarial + w * entropy + mode seeking by its weight."""
    return sum(weights[name] * terms[name] for name in TERMS)
