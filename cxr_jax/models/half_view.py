"""Half of a picture: what a classifier may be shown, and where it is blind by construction."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from cxr_jax.types import Image

HALVES = ("left", "right", "upper", "lower")  # of the picture, not of the patient
AXES = {"left": 2, "right": 2, "upper": 1, "lower": 1}  # of an image [b, h, w, 1]


def mirror_half(image: Image, visible: str) -> Image:
    """The visible half and its mirror image in the other's place.

    A network has no way to tell what the other half holds, and yet it sees a picture of the usual
    size, filled to its borders.

    Args:
      image: of an even number of rows and columns.
      visible: one of HALVES; "" for the whole image.
    """
    if not visible:
        return image
    axis = AXES[visible]
    first, last = jnp.split(image, 2, axis=axis)
    halves = (
        (first, jnp.flip(first, axis))
        if visible in ("left", "upper")
        else (jnp.flip(last, axis), last)
    )
    return jnp.concatenate(halves, axis=axis)


def blind_half(size: int, visible: str) -> Bool[np.ndarray, "size size 1"]:
    """The pixels of an image that a classifier shown `visible` cannot see; none for ""."""
    middles = np.arange(size) + 0.5
    after = middles > size / 2
    blind = after if visible in ("left", "upper") else ~after
    blind = blind if visible else np.zeros(size, bool)
    across = blind[:, None] if visible in ("upper", "lower") else blind[None, :]
    return np.broadcast_to(across, (size, size))[..., None].copy()
