"""Classifiers that cannot see, or do not use, half of the picture: what is drawn there is wrong.

python main.py --config=configs/half_blind.py:left --workdir=runs/half_blind_left
"""

from ml_collections import ConfigDict

from cxr_jax.configs import phantom
from cxr_jax.models.half_view import HALVES


def get_config(variant: str = "left") -> ConfigDict:
    """`left`, ...: f and h are shown that half and its mirror image.

    `left_alone`, ...: they see all, but lesions in the other half say nothing of the label. With
    `_tiny` after either: see configs/base.py.
    """
    half, *others = variant.split("_")
    if half not in HALVES or not set(others) <= {"alone", "tiny"}:
        raise ValueError(f"unknown variant {variant!r}; choose {', '.join(HALVES)}, or one _alone")
    config = phantom.get_config("tiny" if "tiny" in others else "")
    if "alone" in others:
        config.data.finding_half = half
    else:
        for section in (config.classifier, config.judge):
            section.visible = half
    return config
