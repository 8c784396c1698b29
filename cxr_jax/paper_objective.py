"""The objective of Dravid & Katsaggelos (AAAI 2022), section 3: two latents, a frozen classifier.

Half of the drawn images are negatives with z_class = 0, half positives with z_class ~ N(0, I); the
lungs are z_structure ~ N(0, I) for both. An unconditional discriminator learns to tell them from
real films by binary cross-entropy, and the generator minimises its own non-saturating term and w
times the cross-entropy of the frozen classifier with the class that was asked for.
"""

from typing import NamedTuple

import flax.linen as nn
import jax

from cxr_jax import losses
from cxr_jax.types import Image, Index, Label, Params, Severity, Structure


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


def generator_loss(
    classifier: nn.Module,
    params: Params,
    weight: float,
    image: Image,
    judged: jax.Array,
    draw: Draw,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Adversarial + w * cross-entropy of the classifier, and both terms.

    Args:
      classifier, params: frozen.
      weight: w.
      image: G(z_structure, z_class); `judged`: the discriminator's logits for it.
    """
    margin, _ = classifier.apply({"params": params}, image)
    adversarial = losses.generator_logistic(judged)
    entropy = losses.classification(margin, draw.label, smoothing=0.0)
    return adversarial + weight * entropy, {"adversarial": adversarial, "entropy": entropy}
