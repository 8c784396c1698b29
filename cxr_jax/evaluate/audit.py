"""The shortcut audit: from which regions of a film does the classifier's answer come?

A film and its counterfactual differ in many places. Each composite of the two, some regions from
the one and the rest from the other, is shown to f; the Shapley value of a region (Shapley, 1953)
is what its pixels add to f's answer, averaged over all orders in which the regions could come. The
values sum to f(film) - f(counterfactual) exactly.

A lesion mask tells whether an explanation is plausible. Whether the *classifier* is sound, this
tells: evidence that lies outside the lungs is a shortcut (DeGrave et al., 2021). Evidence within
them may be one too, such as how much detail lungs have; no audit by regions sees that.
"""

from collections.abc import Callable, Mapping

import numpy as np
from scipy import ndimage

from cxr_jax import metrics
from cxr_jax.evaluate.shapley import shapley
from cxr_jax.metrics import Bootstrap
from cxr_jax.types import Image

# The rule, set before any classifier was audited: flagged if the evidence outside lungs and lesions
# is more than this share of the whole, and the lower end of its 95% interval too.
OUTSIDE_SHARE = 0.2
OUTSIDE = ("marker", "elsewhere", "border", "rest")
# What people call the regions; each name follows "the".
REGION_NAMES = {
    "lungs": "lungs",
    "lesions": "lesions",
    "marker": "lead marker",
    "elsewhere": "rest of the film",
    "border": "outer tenth of the film",
    "rest": "heart, abdomen and chest wall",
    "rim": "rim around the lungs",
}
RENDERED = ("lesions", "marker")  # what the phantom can be drawn without
# Logits: at most 1.25% of a probability, which a sound classifier answers to anything it ignores.
NEGLIGIBLE = 0.05
ROUNDING_ERROR = 1e-4  # of f: what is absent from a film makes no other difference
BORDER = 0.1  # of the film's side
MARKER_MARGIN = 2  # pixels: no generator draws lead to the pixel

Regions = Mapping[str, np.ndarray]  # by name [N, h, w, 1] bool; every pixel is in one of them


def partition(masks: Mapping[str, np.ndarray], remainder: str) -> Regions:
    """Masks that do not overlap, earlier ones first, and all pixels that are in none."""
    free = np.ones_like(next(iter(masks.values())), bool)
    regions = {}
    for name, mask in masks.items():
        regions[name] = mask & free
        free = free & ~mask
    return regions | {remainder: free}


def phantom_regions(truth: Mapping[str, np.ndarray]) -> Regions:
    """Lesions, marker, rest of the lungs, elsewhere; from the masks [N, h, w, 1] of a phantom."""
    lesions, marker, lungs = (truth[f"{name}_mask"] > 0 for name in ("lesion", "marker", "lung"))
    masks = {"lesions": lesions, "marker": grow(marker, MARKER_MARGIN), "lungs": lungs}
    return partition(masks, "elsewhere")


def film_regions(lungs: np.ndarray, shown: np.ndarray | None = None) -> Regions:
    """Lungs, border, rest; from a segmenter's lungs [N, h, w, 1] bool, their two largest parts.

    Args:
      shown: of an f that is shown the lungs alone, what it is shown [N, h, w, 1] bool. What of that
        lies around the lungs is a region of its own, `rim`: its evidence is no shortcut.
    """
    lungs = np.array([largest_parts(mask, count=2) for mask in lungs])
    side = lungs.shape[1]
    edge = round(BORDER * side)
    border = np.ones_like(lungs)
    border[:, edge : side - edge, edge : side - edge] = False
    rim = {} if shown is None else {"rim": shown}
    return partition({"lungs": lungs} | rim | {"border": border}, "rest")


def largest_parts(mask: np.ndarray, count: int) -> np.ndarray:
    """The largest connected parts of a mask [h, w, 1]: gas in the bowel is as dark as a lung."""
    labels, parts = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=parts + 1)[1:]
    return np.isin(labels, 1 + np.argsort(sizes)[::-1][:count])


def grow(mask: np.ndarray, pixels: int) -> np.ndarray:
    """The mask [N, h, w, 1] and every pixel at most so many rows and columns from it."""
    grown = mask
    for axis in (1, 2):
        padding = [(pixels, pixels) if a == axis else (0, 0) for a in range(mask.ndim)]
        wide, size = np.pad(grown, padding), mask.shape[axis]
        grown = np.any([wide.take(range(k, k + size), axis) for k in range(2 * pixels + 1)], axis=0)
    return grown


def evidence(
    classify: Callable[[Image], np.ndarray], image: Image, other: Image, *, regions: Regions
) -> dict[str, np.ndarray]:
    """What each region adds to f(image) - f(other), in logits [N], by region.

    Args:
      other: the counterfactuals [N, h, w, 1].
    """
    masks = list(regions.values())
    worth = []
    for coalition in range(2 ** len(masks)):
        members = [mask for i, mask in enumerate(masks) if coalition >> i & 1]
        kept = np.any([np.zeros_like(masks[0]), *members], axis=0)
        worth.append(classify(np.where(kept, image, other)))
    return dict(zip(regions, shapley(np.array(worth)), strict=True))


def true_evidence(
    margin: np.ndarray, *, twin: np.ndarray, without_marker: np.ndarray, without_both: np.ndarray
) -> dict[str, np.ndarray]:
    """The same by re-rendering the phantom with its lesions and its marker on or off [N].

    Args:
      margin: f on the films; the others on them without lesions, without marker, without either.
    """
    lesions, marker = shapley(np.array([without_both, without_marker, twin, margin]))
    nothing = np.zeros_like(margin)
    return {"lesions": lesions, "marker": marker, "lungs": nothing, "elsewhere": nothing}


def outside_share(found: Mapping[str, np.ndarray], bootstrap: Bootstrap) -> dict:
    """The evidence outside lungs and lesions over the whole: a ratio of means over the films."""
    outside = sum(values for name, values in found.items() if name in OUTSIDE)
    total = sum(found.values())
    if not total.mean() > 0:
        return {"mean": None, "reason": "the counterfactuals do not lower f"}
    picks = bootstrap.rows(len(total))
    totals = picks_mean(total, picks)
    shares = picks_mean(outside, picks) / np.where(totals > 0, totals, np.nan)
    interval = metrics.interval(shares)
    if interval is None:
        return {"mean": None, "reason": "too few counterfactuals lower f for an interval"}
    return {"mean": float(outside.mean() / total.mean()), "ci95": interval, "images": len(total)}


def picks_mean(values: np.ndarray, picks: np.ndarray) -> np.ndarray:
    """The mean of each resample."""
    return values[picks].mean(axis=1)


def is_flagged(share: Mapping) -> bool:
    """Whether more than OUTSIDE_SHARE of the evidence lies outside, by the lower end."""
    return share["mean"] is not None and share["ci95"][0] > OUTSIDE_SHARE


def verdict(share: Mapping, found: Mapping[str, np.ndarray]) -> str:
    """One sentence that needs no other; of shortcuts that lie in the lungs it says nothing."""
    if share["mean"] is None:
        return f"No verdict: {share['reason']}."
    mean, low, high = (round(value, 2) + 0.0 for value in (share["mean"], *share["ci95"]))
    text = f"{mean:.0%} [{low:.0%}, {high:.0%}] of the evidence lies"
    if not is_flagged(share):
        return f"No shortcut found outside the lungs: {text} there."
    outside = [name for name in found if name in OUTSIDE]
    strongest = max(outside, key=lambda name: found[name].mean())
    return f"Shortcut: {text} outside the lungs, most of that in the {REGION_NAMES[strongest]}."


def agreement(
    found: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray]
) -> dict[str, float | None]:
    """How well evidence tells the truth, over the films and the regions that can be re-rendered.

    Returns:
      rank_correlation: Spearman's, over both regions of every film; what is NEGLIGIBLE is tied.
      constant_rank_correlation: that of each region's mean evidence in every film's stead, which
      tells lesions from a marker that no film has, but not one film from another.
      rank_correlation_of: the same of one region over the films where it is not negligible.
      untied_rank_correlation: as the first, but for rounding errors with nothing tied. slope: of
      evidence on truth through the origin (1 is exact). error: mean absolute difference in logits.
    """
    names = [name for name in RENDERED if name in truth]
    one, other = (np.concatenate([values[name] for name in names]) for values in (found, truth))
    constant = np.concatenate([np.full(len(found[name]), found[name].mean()) for name in names])
    shown = {name: np.abs(truth[name]) >= NEGLIGIBLE for name in names}

    def correlation(told: np.ndarray, least: float) -> float | None:
        return metrics.spearman(*(np.where(abs(v) < least, 0, v) for v in (told, other)))

    return {
        "rank_correlation": correlation(one, NEGLIGIBLE),
        "constant_rank_correlation": correlation(constant, NEGLIGIBLE),
        "rank_correlation_of": {
            name: metrics.spearman(found[name][kept], truth[name][kept])
            for name, kept in shown.items()
        },
        "untied_rank_correlation": correlation(one, ROUNDING_ERROR),
        "slope": float(one @ other / (other @ other)) if other.any() else None,
        "error": float(np.abs(one - other).mean()),
    }


def summarise(
    each: Mapping[str, Mapping[str, np.ndarray]], bootstrap: Bootstrap
) -> dict[str, object]:
    """The `audit` of metrics.json.

    Args:
      each: by region, what stands beside `evidence` for it: `truth` and the shares of maps [N].
    """
    found = {name: values["evidence"] for name, values in each.items()}
    share = outside_share(found, bootstrap)
    beside = sorted({column for values in each.values() for column in values} - {"evidence"})
    table = {
        "evidence": {name: metrics.summarise(v, bootstrap) for name, v in found.items()},
        "outside_share": share,
        "rule": f"flagged if all of the interval of outside_share lies above {OUTSIDE_SHARE}",
        "flagged": is_flagged(share),
        "verdict": verdict(share, found),
    }
    for column in beside:
        entry = {name: metrics.summarise(v[column], bootstrap) for name, v in each.items()}
        if column == "truth":
            truth = {name: values["truth"] for name, values in each.items()}
            table |= {"truth": entry, "agreement": agreement(found, truth)}
        else:
            table.setdefault("map_shares", {})[column] = entry
    return table


def no_verdict(reason: str) -> dict[str, object]:
    """The `audit` of metrics.json where nothing can be said."""
    return {"evidence": {}, "flagged": False, "verdict": f"No verdict: {reason}."}
