"""The random streams that are folded into an example's key, in one place so that none is shared.

A key of (seed, step, global index) is split by whatever draws first; everything else that is drawn
from it folds a number of its own into it, far from the small ones that a split folds in.
"""

import enum

import jax

from cxr_jax.types import Keys


class Stream(enum.IntEnum):
    """One number a purpose."""

    NETWORK = 1 << 20  # what a network draws in training: dropout
    VIEW = 1 << 21  # the augmented view of a film, beside the latents that a GAN's step draws
    SUPPORT_DEVICES = 1 << 22  # the leads on a view
    FAKE_PASS = 1 << 23  # the paper's discriminator draws its dropout anew for the drawn images
    REAL_PASS = 1 << 24  # and for the films
    PATIENT = 1 << 25  # z_structure of a chest that the prior draws
    FINDING = 1 << 26  # and its z_class
    DETAIL = 1 << 27  # how much detail a view has


def fold_keys(keys: Keys, stream: Stream) -> Keys:
    """Keys of another stream than `keys` themselves, which a caller splits.

    The first halves of two splits of one key are the same numbers.
    """
    return jax.vmap(lambda key: jax.random.fold_in(key, stream))(keys)
