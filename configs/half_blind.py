"""Classifiers that cannot see, or do not use, half of the picture: what is drawn there is wrong.

python main.py --config=configs/half_blind.py --workdir=runs/half_blind/left
"""

from collections.abc import Callable

from ml_collections import ConfigDict

from cxr_jax.configs import base, phantom

HALVES = ("left", "right", "upper", "lower")  # as cxr_jax/models/half_view.py names them


def get_config(variant: str = "") -> ConfigDict:
    """f and h are shown the left half of the picture and its mirror image, or that of the variant.

    `left_alone`, ...: they see all of it, but lesions in the other half say nothing of the label.
    """
    config = phantom.get_config()
    base.show("left")(config)
    variants = {half: base.show(half) for half in HALVES[1:]}
    variants |= {f"{half}_alone": label(half) for half in HALVES}
    return base.apply_variant(config, variant, variants | {"tiny": base.shrink})


def label(half: str) -> Callable[[ConfigDict], None]:
    """Shows them everything, and makes the label be about one half alone."""

    def change(config: ConfigDict) -> None:
        base.show("")(config)
        config.data.finding_half = half

    return change
