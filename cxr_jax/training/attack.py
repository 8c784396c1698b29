"""Projected gradient ascent on an image within an L-infinity ball: an adversarial example.

Madry et al., *Towards Deep Learning Models Resistant to Adversarial Attacks*, ICLR 2018. One step
with a random start is the fast form of Wong et al., *Fast is better than free*, ICLR 2020.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from cxr_jax.types import Image, Label, Margin, Scalar


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attack:
    """How strong an attack is.

    Attributes:
      epsilon: largest change of a pixel, on the [-1, 1] scale.
      step_size: change of a pixel in one step, on the same scale.
      num_steps: steps of ascent.
    """

    epsilon: Scalar
    step_size: Scalar
    num_steps: int


def against(margin: Margin, label: Label) -> Margin:
    """What an attack raises: the margin of the wrong answer.

    Its gradient has the sign of the cross-entropy's, and does not fade where that saturates.
    """
    return jnp.where(label == 1, -margin, margin)


def ascend(
    objective: Callable[[Image], Margin],
    image: Image,
    keys: jax.Array,
    *,
    attack: Attack,
) -> Image:
    """Images within `attack.epsilon` of `image` where `objective` is higher.

    Not meant to be differentiated: what `objective` closes over should not be being learned.

    Args:
      objective: what is raised; each value may depend on its own image only.
      image: where the attack begins.
      keys: one an image, for the random start.
      attack: its strength.
    """
    low = jnp.maximum(image - attack.epsilon, -1)
    high = jnp.minimum(image + attack.epsilon, 1)
    slope = jax.grad(lambda image: objective(image).sum())

    def step(attacked: Image, _: None) -> tuple[Image, None]:
        moved = attacked + attack.step_size * jnp.sign(slope(attacked))
        return moved.clip(low, high), None

    noise = jax.vmap(lambda key: jax.random.uniform(key, image.shape[1:], image.dtype, -1, 1))(keys)
    start = (image + attack.epsilon * noise).clip(low, high)
    attacked, _ = jax.lax.scan(step, start, length=attack.num_steps)
    return attacked
