"""Maps of where the evidence lies: the baselines that a walk is compared with."""

import jax
import jax.numpy as jnp

from cxr_jax.types import Classify, Image


def input_gradient(classify: Classify, image: Image) -> Image:
    """|df/dx| (Simonyan et al., 2014)."""
    return jnp.abs(jax.grad(lambda x: classify(x).sum())(image))
