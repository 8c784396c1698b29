"""The objective of Dravid & Katsaggelos (AAAI 2022), section 3: two latents, a frozen classifier.

Half of the drawn images are negatives with z_class = 0, half positives with z_class ~ N(0, I); the
lungs are z_structure ~ N(0, I) for both. An unconditional discriminator learns to tell them from
real films by binary cross-entropy, and the generator minimises its own non-saturating term and w
times the cross-entropy of the frozen classifier with the class that was asked for.

Not in the paper is a term against mode collapse, which may weigh nothing: two images of one class
should differ the more, the more their z_structure does (Mao et al., CVPR 2019).
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cxr_jax import losses
from cxr_jax.types import Image, Index, Label, Params, Severity, Structure

EPSILON = 1e-2  # images that hardly differ at all are not pushed apart without bounds


class Weights(NamedTuple):
    """What terms count in the generator's loss, beside the adversarial one.

    Attributes:
      entropy: the paper's w.
      mode_seeking: of `mode_seeking`.
    """

    entropy: float
    mode_seeking: float


class Draw(NamedTuple):
    """The latents of a step, one row for each image of the batch.

    Attributes:
      label: 1 where a positive is asked for.
    """

    structure: Structure
    severity: Severity
    label: Label


def draw_latents(keys: jax.Array, index: Index, num_structure: int, num_severity: int) -> Draw:
    """Draws from each example's own key; every second image of the global batch is a positive."""

    def draw_one(key: jax.Array, label: jax.Array) -> Draw:
        key_structure, key_severity = jax.random.split(key)
        structure = jax.random.normal(key_structure, (num_structure,))
        severity = jax.random.normal(key_severity, (num_severity,))
        return Draw(structure, label * severity, label)

    return jax.vmap(draw_one)(keys, index % 2)


def mode_seeking(image: Image, structure: Structure) -> jax.Array:
    """d(z_structure) / d(image) of pairs of one class, mean absolute differences both.

    Mao et al. (2019), equation 3, turned upside down to be minimised. A pair are rows 0 and 2, or 1
    and 3, of each four, so that no split over devices changes it. Two positives differ in z_class
    as well, unlike there.
    """
    pairs = lambda rows: rows.reshape(-1, 2, 2, *rows.shape[1:])
    one, other = jnp.split(pairs(image), 2, axis=1)
    z, another = jnp.split(pairs(structure), 2, axis=1)
    apart = jnp.abs(one - other).mean(axis=(-3, -2, -1))
    return (1 / (apart / jnp.abs(z - another).mean(axis=-1) + EPSILON)).mean()


def generator_loss(
    classifier: nn.Module,
    params: Params,
    weights: Weights,
    image: Image,
    judged: jax.Array,
    draw: Draw,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Adversarial + w * cross-entropy of the classifier + mode seeking, and each term.

    Args:
      classifier, params: frozen.
      image: G(z_structure, z_class); `judged`: the discriminator's logits for it.
    """
    margin, _ = classifier.apply({"params": params}, image)
    adversarial = losses.generator_logistic(judged)
    entropy = losses.classification(margin, draw.label, smoothing=0.0)
    seeking = mode_seeking(image, draw.structure)
    loss = adversarial + weights.entropy * entropy + weights.mode_seeking * seeking
    return loss, {"adversarial": adversarial, "entropy": entropy, "mode_seeking": seeking}
