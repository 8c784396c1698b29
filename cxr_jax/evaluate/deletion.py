"""Deletion and insertion (Petsiuk et al., 2018) by counterfactual pixels, of films of any kind.

Where nobody can render a patient without what a film shows, this is what is left to ask: do the
pixels that a map puts first carry the classifier's answer? They are not blackened, which would be
evidence of its own, but exchanged for those of one counterfactual, the same for every map.
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool, Float

from cxr_jax import metrics
from cxr_jax.metrics import Bootstrap

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)  # of the picture that are exchanged
COUNTERFACTUAL = "linear"  # the path at whose stop the other pixels are from
LEAST_MOVE = 0.05  # of the class gap; where the counterfactual moves less, nothing is asked

# Images in [-1, 1] to margins [N].
Ask = Callable[[np.ndarray], np.ndarray]


def first_pixels(
    saliency: Float[np.ndarray, "n h w 1"], share: float
) -> Bool[np.ndarray, "n h w 1"]:
    """The share of each picture that a map, never negative, puts first.

    Equal pixels are taken in an order that is drawn once, since their own would be top to bottom.
    """
    flat = saliency.reshape(len(saliency), -1)
    drawn = np.random.Generator(np.random.Philox(0)).permutation(flat.shape[1])
    order = drawn[np.argsort(-flat[:, drawn], axis=1, kind="stable")]
    picked = np.zeros(flat.shape, bool)
    np.put_along_axis(picked, order[:, : round(share * flat.shape[1])], True, axis=1)
    return picked.reshape(saliency.shape)


def score(
    ask: Ask,
    image: Float[np.ndarray, "n h w 1"],
    other: Float[np.ndarray, "n h w 1"],
    *,
    saliency: Float[np.ndarray, "n h w 1"],
    least_move: float,
) -> dict[str, np.ndarray]:
    """Of one map and one classifier, film by film [n]; NaN where `other` hardly moves it.

    Args:
      other: the counterfactuals.
      least_move: in logits.

    Returns:
      deletion: which share of the move from `other` to `image` is left where the first pixels are
        the other's; less is better. insertion: which share is there where the first pixels are the
        image's and all else is the other's; more is better. Both are means over SHARES.
    """
    start = ask(other)
    move = ask(image) - start
    move = np.where(move > least_move, move, np.nan)
    kept = {"deletion": [], "insertion": []}
    for share in SHARES:
        picked = first_pixels(saliency, share)
        for name, film in (
            ("deletion", np.where(picked, other, image)),
            ("insertion", np.where(picked, image, other)),
        ):
            kept[name].append((ask(film) - start) / move)
    return {name: np.mean(values, axis=0) for name, values in kept.items()}


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
    return {
        name: {
            f"{metric}_{classifier}": values
            for classifier, (ask, gap) in asked.items()
            for metric, values in score(
                ask, image, other, saliency=np.abs(saliency), least_move=LEAST_MOVE * gap
            ).items()
        }
        for name, saliency in maps.items()
    }


def summarise(each: Mapping[str, Mapping[str, np.ndarray]], bootstrap: Bootstrap) -> dict:
    """The `deletion` of metrics.json."""
    return {
        "counterfactual": COUNTERFACTUAL,
        "maps": {
            name: {metric: metrics.summarise(values, bootstrap) for metric, values in e.items()}
            for name, e in each.items()
        },
    }
