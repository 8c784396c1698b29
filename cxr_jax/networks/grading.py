"""How the classifier's margin grades the class latent.

A film that the classifier f calls negative has z_class = 0. One that it calls positive has
z_class = rho n with n ~ N(0, I), where the radius rho grows linearly from 0 at the median negative
margin to 1 at a strong positive one. Distance from the origin therefore *is* severity as f sees it,
and every margin between a negative and a strong positive has its shell. An ungraded scale, which
ablations compare with, knows two answers only.
"""

import flax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from cxr_jax.errors import InputError
from cxr_jax.types import AnyArray, Label, Margin, Scalar

STRONG_PERCENTILE = 90
# What a film's class latent is graded by: f's margin, f's decision, or the label in f's stead.
CONDITIONINGS = ("graded", "binary", "label")


@flax.struct.dataclass(kw_only=True)
class Scale:
    """Where the classifier's margins lie on the training films.

    Attributes:
      negative: median margin of the films that f calls negative.
      strong: 90th percentile of the margins of the films that f calls positive.
      graded: 1; or 0, where every positive is a strong one and every negative the median one.
    """

    negative: Scalar
    strong: Scalar
    graded: Scalar = np.float32(1)

    @property
    def span(self) -> Scalar:
        """From the median negative to a strong positive, in logits."""
        return self.strong - self.negative


def fit_scale(margin: np.ndarray, graded: bool = True) -> Scale:
    """Reads the scale off the margins of the training films.

    Raises:
      InputError: if the classifier gives all of them the same answer.
    """
    if (margin > 0).all() or (margin <= 0).all():
        raise InputError(
            "the classifier gives every training film the same answer; train it longer "
            "(config.classifier.num_steps) or check the labels; of your own function "
            "(config.classifier.module), see that it returns logits, which change sign"
        )
    return Scale(
        negative=np.float32(np.median(margin[margin <= 0])),
        strong=np.float32(np.percentile(margin[margin > 0], STRONG_PERCENTILE)),
        graded=np.float32(graded),
    )


def radius(scale: Scale, margin: Margin) -> Margin:
    """rho in [0, 1] of a target margin."""
    return jnp.clip((margin - scale.negative) / scale.span, 0.0, 1.0)


def target_logit(scale: Scale, margin: Margin) -> Margin:
    """What f is asked to say of an image with this film's class latent.

    A negative's latent is the origin, where f is asked for the median negative margin.
    """
    positive = jnp.where(scale.graded > 0, margin, scale.strong)
    return jnp.where(margin > 0, positive, scale.negative)


def film_radius(scale: Scale, margin: Margin) -> Margin:
    """rho of a real film: zero where f calls it negative."""
    return jnp.where(margin > 0, radius(scale, target_logit(scale, margin)), 0.0)


def by_label(scale: Scale, label: Label) -> Margin:
    """Margins that say what the labels say, in f's stead."""
    return jnp.where(label == 1, scale.strong, scale.negative)


def grade(scale: Scale, margin: Margin, num_grades: int) -> Int[AnyArray, " b"]:
    """Condition of the discriminator: 0 for f's negatives, 1 ... num_grades - 1 by margin."""
    share = target_logit(scale, margin) / scale.strong
    positive = 1 + jnp.floor(share * (num_grades - 1)).clip(0, num_grades - 2)
    return jnp.where(margin > 0, positive, 0).astype(jnp.int32)
