"""The necessary part of a change: where the classifier feels it.

A generator that learned what goes with f's answer draws that too, whether f looks there or not. The
evidence of a change is spread over its places by integrated gradients (Sundararajan et al., 2017):
their sum is what f moves by, and where f cannot look they are exactly 0. Relatives: Eckstein et al.
(2021) search for the smallest mask of a counterfactual that keeps the decision; here nothing is
fitted, so that nothing is found which pleases f alone.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from cxr_jax.gaussian import gaussian_weights
from cxr_jax.types import AnyArray, Classify, Image

STEPS = 16  # gradients, by which a whole change is divided into what f feels and what not
RADIUS = 2 / 64  # of the image's side: over so much, as standard deviation, evidence is smoothed
TINY = 1e-8


def evidence(
    classify: Classify, image: Image, change: Image, *, shares: Float[AnyArray, "b m"]
) -> Image:
    """Signed shares of f(image + change) - f(image).

    Args:
      shares: where on the segment from the image to the changed one gradients are taken.
    """

    def one(total: Image, share: Float[AnyArray, " b"]) -> tuple[Image, None]:
        at = image + share[:, None, None, None] * change
        return total + jax.grad(lambda x: classify(x).sum())(at), None

    total, _ = jax.lax.scan(one, jnp.zeros_like(image), shares.T.astype(image.dtype))
    return total * change / shares.shape[1]


def evidence_on_the_way(
    classify: Classify, image: Image, change: Image, *, num_steps: int = STEPS
) -> Image:
    """`evidence` by gradients that are evenly spread (the midpoint rule)."""
    middles = (jnp.arange(num_steps) + 0.5) / num_steps
    shares = jnp.broadcast_to(middles, (len(image), num_steps))
    return evidence(classify, image, change, shares=shares)


def felt_share(classify: Classify, image: Image, change: Image) -> Float[AnyArray, " b"]:
    """Which share of a change f feels, in [0, 1]: of `felt`, where less than the mean is less.

    0 of no change.
    """
    found = evidence_on_the_way(classify, image, change)
    size = jnp.abs(change)
    kept = felt(found, change, least=1.0) * size
    return kept.sum((1, 2, 3)) / (size.sum((1, 2, 3)) + TINY)


def felt(found: Image, change: Image, *, least: float) -> Image:
    """How much of the change to keep at each place, in [0, 1].

    All of it where a unit of change moves f, this way or that, by at least `least` times as much as
    a unit does on average; proportionally less where it moves f less, nothing where it does not. By
    the evidence of one sign alone a change was left with a tenth of its flips less.

    Args:
      found: of `evidence`.
      least: above 0.
    """
    moved, size = smooth(jnp.abs(found)), smooth(jnp.abs(change))
    whole = moved.sum((1, 2, 3), keepdims=True) / (size.sum((1, 2, 3), keepdims=True) + TINY)
    kept = jnp.clip(moved / (least * whole * size + TINY), 0.0, 1.0)
    # The blur reaches beyond where f looks: by four rows of an f that is blind to the lower half,
    # which held 8% of a change. Evidence is exactly 0 where a change meets no gradient at all.
    return jnp.where(found == 0, 0.0, kept)


def smooth(image: Image) -> Image:
    """A Gaussian blur of RADIUS; what it would carry across the border is lost."""
    rows, columns = (_kernel(side) for side in image.shape[1:3])
    return jnp.einsum("yi,bijc,xj->byxc", rows, image, columns)


def _kernel(side: int) -> Float[AnyArray, "side side"]:
    """The blur along one axis as a matrix."""
    weight = gaussian_weights(side, RADIUS * side)
    return weight / weight.sum(axis=1).max()
