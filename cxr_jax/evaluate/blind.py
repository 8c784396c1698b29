"""How much of a change lies where the classifier cannot look, or does not.

A classifier that is shown one half of the picture makes every change in the other half false, and
no annotator is needed to say so; nor where the label depends on one half alone. It is the test of
what a class latent holds: what f reacts to, or what merely goes with it.
"""

from collections.abc import Mapping

import ml_collections
import numpy as np

from cxr_jax import metrics
from cxr_jax.explain.explained import Group
from cxr_jax.metrics import Bootstrap
from cxr_jax.models.half_view import blind_half

LEAST_CHANGE = 0.1  # of a walk's largest: the frames that change by less are left out


def used_half(config: ml_collections.ConfigDict) -> str:
    """The half of the picture that f uses by construction; "" for all of it."""
    return config.classifier.visible or config.data.finding_half


def blind_shares(saliency: np.ndarray, half: str) -> np.ndarray:
    """Of each map [N, h, w, 1], never negative, the share where f is blind [N].

    Args:
      half: what f uses.
    """
    blind = blind_half(saliency.shape[1], half)
    return np.array([metrics.share_on(one, blind) for one in saliency])


def score_blind(
    maps: Mapping[str, np.ndarray], groups: Mapping[str, Group], half: str
) -> dict[str, dict[str, np.ndarray]]:
    """By maps or direction, and by name, `blind_shares` of each film.

    Of a walk the largest share of any frame up to its stop: what a reader may look at.
    """
    shares = {
        "maps": {name: blind_shares(np.abs(saliency), half) for name, saliency in maps.items()}
    }
    for direction, group in groups.items():
        shares[direction] = {
            name: np.array(
                [
                    worst_frame(*pair, half)
                    for pair in zip(stopped.walk.carried, stopped.frame, strict=True)
                ]
            )
            for name, stopped in group.walks.items()
        }
    return shares


def worst_frame(carried: np.ndarray, stop: int, half: str) -> float:
    """The largest share of the change of any frame [k, h, w, 1] up to `stop`.

    Frames that hardly differ from the first are left out: their shares are those of rounding.
    """
    change = np.abs(carried[1 : stop + 1] - carried[0])
    size = change.mean(axis=(1, 2, 3))
    told = change[size > LEAST_CHANGE * size.max(initial=0.0)]
    return float(np.nanmax(blind_shares(told, half))) if len(told) else float("nan")


def summarise(
    shares: Mapping[str, Mapping[str, np.ndarray]], half: str, bootstrap: Bootstrap
) -> dict:
    """The `blind` of metrics.json."""
    return {
        "used": half,
        **{
            group: {name: metrics.summarise(values, bootstrap) for name, values in each.items()}
            for group, each in shares.items()
        },
    }
