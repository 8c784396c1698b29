"""How much of a change lies where the classifier cannot look, or does not.

A classifier that is shown one half of the picture makes every change elsewhere false, and no
annotator is needed to say so; nor where the label depends on one half alone. One that is shown
lungs does too, but for changes that move their outline. It is the test of what a class latent
holds: what f reacts to, or what merely goes with it.
"""

from collections.abc import Callable, Mapping

import ml_collections
import numpy as np
from jaxtyping import Bool

from cxr_jax import metrics
from cxr_jax.explain.explained import Group
from cxr_jax.metrics import Bootstrap
from cxr_jax.models.half_view import blind_half
from cxr_jax.models.lung_view import LUNGS

LEAST_CHANGE = 0.1  # of a walk's largest: the frames that change by less are left out


def used_part(config: ml_collections.ConfigDict) -> str:
    """What f is shown, or was taught alone matters: a half or LUNGS; "" for whole films."""
    return config.classifier.visible or config.data.finding_half


def blind_pixels(
    part: str, film: np.ndarray, seen: Callable[[np.ndarray], np.ndarray] | None
) -> Bool[np.ndarray, "n h w 1"]:
    """Where f is blind on each film [n, h, w, 1].

    Args:
      part: what f uses.
      seen: films to what f is shown of them, where it finds that itself; see `Explainer`.
    """
    if part != LUNGS:
        return np.broadcast_to(blind_half(film.shape[1], part), film.shape)
    return ~seen(film)


def blind_shares(saliency: np.ndarray, blind: np.ndarray) -> np.ndarray:
    """Of each map [N, h, w, 1], never negative, the share on its mask [N, h, w, 1] -> [N]."""
    return np.array([metrics.share_on(*pair) for pair in zip(saliency, blind, strict=True)])


def score_blind(
    maps: Mapping[str, np.ndarray],
    groups: Mapping[str, Group],
    blind: Callable[[np.ndarray], np.ndarray],
    *,
    path: str,
) -> dict[str, dict[str, np.ndarray]]:
    """By maps or direction, and by name, `blind_shares` of each film.

    Of a walk the largest share of any frame up to its stop: what a reader may look at. What f sees
    may change with the film, as lungs do that clear: blind it is where it sees neither the film
    nor what the film has become.

    Args:
      maps: of the positives.
      blind: images to where f is blind on them, see `blind_pixels`.
      path: of the counterfactuals that maps explain the film by.
    """
    positives = groups["pos_to_neg"]
    image = positives.films.image
    on_both = blind(image) & blind(image + positives.walks[path].change)
    shares = {"maps": {name: blind_shares(np.abs(each), on_both) for name, each in maps.items()}}
    for direction, group in groups.items():
        shares[direction] = {
            name: np.array(
                [
                    worst_frame(carried[: stop + 1], blind(carried[: stop + 1]))
                    for carried, stop in zip(stopped.walk.carried, stopped.frame, strict=True)
                ]
            )
            for name, stopped in group.walks.items()
        }
    return shares


def worst_frame(carried: np.ndarray, blind: np.ndarray) -> float:
    """Of frames [k, h, w, 1], film first, the largest share of a change where f is blind.

    Args:
      blind: where, on each frame.

    Frames that hardly differ from the first are left out: their shares are those of rounding.
    """
    change = np.abs(carried[1:] - carried[0])
    size = change.mean(axis=(1, 2, 3))
    told = size > LEAST_CHANGE * size.max(initial=0.0)
    shares = blind_shares(change[told], (blind[1:] & blind[0])[told])
    return float(np.nanmax(shares)) if told.any() else float("nan")


def summarise(
    shares: Mapping[str, Mapping[str, np.ndarray]], part: str, bootstrap: Bootstrap
) -> dict:
    """The `blind` of metrics.json."""
    return {
        "used": part,
        **{
            group: {name: metrics.summarise(values, bootstrap) for name, values in each.items()}
            for group, each in shares.items()
        },
    }
