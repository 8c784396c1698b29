"""How numbers and directions are written where people read them."""

import numpy as np
from scipy.special import expit

DIRECTION_WORDS = {"pos_to_neg": "positive to negative", "neg_to_pos": "negative to positive"}


def percents(margin: np.ndarray) -> list[str]:
    """The probabilities of margins [k], a half at the classifier's own threshold."""
    return [percent(share) for share in expit(np.float64(margin)).tolist()]


def percent(share: float) -> str:
    """In whole percent; what is not quite none or all is not called so.

    >>> percent(0.43), percent(0.004), percent(0.9999), percent(1.0)
    ('43%', '<1%', '>99%', '100%')
    """
    if 0 < share < 0.005:
        return "<1%"
    if 0.995 <= share < 1:
        return ">99%"
    return f"{100 * share:.0f}%"
