"""Deletion and insertion (Petsiuk et al., 2018) by counterfactual pixels, of films of any kind.

Where nobody can render a patient without what a film shows, this is what is left to ask: do the
pixels that a map puts first carry the classifier's answer? They are not blackened, which would be
evidence of its own, but exchanged for those of one counterfactual, the same for every map.
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

from cxr_jax import metrics
from cxr_jax.evaluate.scores import LEAST_MOVE
from cxr_jax.metrics import Bootstrap

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)  # of the picture that are exchanged
COUNTERFACTUAL = "linear"  # the path at whose stop the other pixels are from

# Images in [-1, 1] to margins [N].
Ask = Callable[[np.ndarray], np.ndarray]


def rank_pixels(saliency: Float[np.ndarray, "n h w 1"]) -> Int[np.ndarray, "n h w 1"]:
    """The place of each pixel in the order of a map, never negative: 0 of the largest.

    Equal pixels are taken in an order that is drawn once, since their own would be top to bottom.
    """
    flat = saliency.reshape(len(saliency), -1)
    drawn = np.random.Generator(np.random.Philox(0)).permutation(flat.shape[1])
    order = drawn[np.argsort(-flat[:, drawn], axis=1, kind="stable")]
    return np.argsort(order, axis=1).reshape(saliency.shape)


def first_pixels(places: Int[np.ndarray, "n h w 1"], share: float) -> Bool[np.ndarray, "n h w 1"]:
    """The share of each picture that comes first by `rank_pixels`."""
    return places < round(share * places[0].size)


def score(
    ask: Ask,
    image: Float[np.ndarray, "n h w 1"],
    other: Float[np.ndarray, "n h w 1"],
    *,
    maps: Mapping[str, Int[np.ndarray, "n h w 1"]],
    least_move: float,
) -> dict[str, dict[str, np.ndarray]]:
    """Of one classifier, by name of a map, film by film [n]; NaN where `other` hardly moves it.

    Args:
      other: the counterfactuals.
      maps: of `rank_pixels`.
      least_move: in logits.

    Returns:
      deletion: which share of the move from `other` to `image` is left where the first pixels are
        the other's; less is better. insertion: which share is there where the first pixels are the
        image's and all else is the other's; more is better. Both are means over SHARES.
    """
    start = ask(other)
    move = ask(image) - start
    move = np.where(move > least_move, move, np.nan)

    def kept(places: np.ndarray, there: np.ndarray, elsewhere: np.ndarray) -> np.ndarray:
        picked = (first_pixels(places, share) for share in SHARES)
        margins = [ask(np.where(pixels, there, elsewhere)) for pixels in picked]
        return ((np.array(margins) - start) / move).mean(axis=0)

    return {
        name: {
            "deletion": kept(places, there=other, elsewhere=image),
            "insertion": kept(places, there=image, elsewhere=other),
        }
        for name, places in maps.items()
    }


def score_maps(
    asked: Mapping[str, tuple[Ask, float]],
    image: Float[np.ndarray, "n h w 1"],
    other: Float[np.ndarray, "n h w 1"],
    *,
    maps: Mapping[str, np.ndarray],
) -> dict[str, dict[str, np.ndarray]]:
    """By name of a map, `deletion_f`, `insertion_f` and so on for every classifier.

    Args:
      asked: by name, a classifier and its class gap.
    """
    places = {name: rank_pixels(np.abs(saliency)) for name, saliency in maps.items()}
    table = {name: {} for name in maps}
    for classifier, (ask, gap) in asked.items():
        scored = score(ask, image, other, maps=places, least_move=LEAST_MOVE * gap)
        for name, each in scored.items():
            table[name] |= {f"{metric}_{classifier}": values for metric, values in each.items()}
    return table


def summarise(each: Mapping[str, Mapping[str, np.ndarray]], bootstrap: Bootstrap) -> dict:
    """The `deletion` of metrics.json."""
    return {
        "counterfactual": COUNTERFACTUAL,
        "maps": {
            name: {metric: metrics.summarise(values, bootstrap) for metric, values in e.items()}
            for name, e in each.items()
        },
    }
