"""Figures of merit as pure functions of NumPy arrays, and their bootstrap intervals."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from scipy import stats


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: P(score of a positive > score of a negative), ties counted half.

    Returns NaN if one class is absent.
    """
    positive = np.asarray(positive, bool).ravel()
    ranks = stats.rankdata(np.asarray(score).ravel())
    num_positive, num_negative = positive.sum(), (~positive).sum()
    if num_positive == 0 or num_negative == 0:
        return float("nan")
    rank_sum = ranks[positive].sum() - num_positive * (num_positive + 1) / 2
    return float(rank_sum / (num_positive * num_negative))


def class_gap(margin: np.ndarray, label: np.ndarray) -> float:
    """Mean margin of the positives less that of the negatives."""
    return float(margin[label == 1].mean() - margin[label == 0].mean())


def calibration_error(probability: np.ndarray, label: np.ndarray, num_bins: int = 10) -> float:
    """Expected calibration error over equal-width bins (Guo et al., 2017)."""
    bins = np.minimum((probability * num_bins).astype(int), num_bins - 1)
    gaps = [
        abs(probability[bins == b].mean() - label[bins == b].mean()) * (bins == b).mean()
        for b in np.unique(bins)
    ]
    return float(sum(gaps))


def classification(margin: np.ndarray, label: np.ndarray) -> Mapping[str, float]:
    """Test figures of a classifier at margin 0."""
    positive = margin > 0
    return {
        "auroc": auroc(margin, label),
        "accuracy": float((positive == label).mean()),
        "sensitivity": float(positive[label == 1].mean()),
        "specificity": float((~positive)[label == 0].mean()),
        "calibration_error": calibration_error(1 / (1 + np.exp(-margin)), label),
        "images": len(label),
    }


def dice(mask: np.ndarray, other: np.ndarray) -> float:
    """Twice the overlap of two boolean masks over the sum of their sizes; NaN if both are empty."""
    total = mask.sum() + other.sum()
    return float(2 * (mask & other).sum() / total) if total > 0 else float("nan")


def r_squared(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Share of the variance of `truth` that is predicted: 1 is perfect, 0 as good as the mean.

    Below 0 for worse than the mean; NaN for a truth that never varies.
    """
    spread = np.square(truth - truth.mean()).sum()
    return float(1 - np.square(predicted - truth).sum() / spread) if spread > 0 else float("nan")


def spearman(values: np.ndarray, others: np.ndarray) -> float | None:
    """Rank correlation; None where it is undefined."""
    if len(values) < 3 or np.ptp(values) == 0 or np.ptp(others) == 0:
        return None
    return float(stats.spearmanr(values, others).statistic)


# Maps against masks. A map is |change|, a gradient, ...: [h, w, 1], never negative; only
# `completeness` is of a signed one.


def share_on(saliency: np.ndarray, mask: np.ndarray) -> float:
    """Share of the map's total that lies on the mask; NaN for an empty map."""
    total = saliency.sum()
    return float(saliency[mask].sum() / total) if total > 0 else float("nan")


def pixel_auroc(saliency: np.ndarray, mask: np.ndarray, region: np.ndarray | None = None) -> float:
    """AUROC of the map as a score for the mask, over all pixels or over a region's."""
    if region is None:
        return auroc(saliency, mask)
    return auroc(saliency[region], mask[region])


def iou_at_equal_area(saliency: np.ndarray, mask: np.ndarray) -> float:
    """IoU of a mask with as many of the map's largest pixels as the mask has.

    Of equal pixels that are not all needed a share of each is taken, so that an even map is given
    what a random choice would have; NaN for an empty mask.
    """
    count = int(mask.sum())
    if count == 0:
        return float("nan")
    least = np.partition(saliency, saliency.size - count, axis=None)[saliency.size - count]
    above, equal = saliency > least, saliency == least
    share = (count - above.sum()) / equal.sum()
    shared = (above & mask).sum() + share * (equal & mask).sum()
    return float(shared / (2 * count - shared))


def completeness(attribution: np.ndarray, change_of_margin: float | np.floating) -> float:
    """|sum of a signed map - what it is to explain| / |what it is to explain|; 0 is complete.

    The axiom of Sundararajan et al., 2017. NaN where there is nothing to explain: the margin
    changes by less than a rounding of it.
    """
    if abs(change_of_margin) < 1e-5:
        return float("nan")
    total = attribution.sum(dtype=float)
    return float(abs(total - change_of_margin) / abs(change_of_margin))


def relative_error(image: np.ndarray, truth: np.ndarray, before: np.ndarray) -> float:
    """RMSE(image, truth) / RMSE(before, truth): 0 is perfect, 1 is having done nothing.

    NaN where there was nothing to do: the two differ by less than a rounding of the pixels.
    """
    nothing = np.sqrt(np.square(before - truth).mean())
    if nothing < 1e-5:
        return float("nan")
    return float(np.sqrt(np.square(image - truth).mean()) / nothing)


# Walks.


def wrong_way(margin: np.ndarray, towards: int) -> float:
    """`monotonicity`: the share of the margin's movement [k] that goes in the wrong direction."""
    moves = np.diff(margin)
    total = np.abs(moves).sum()
    return float(np.clip(-towards * moves, 0, None).sum() / total) if total > 0 else float("nan")


# Sets of images.


def squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Between the rows of two sets [N, d], [M, d]: [N, M]."""
    squares = np.square(one).sum(axis=1)[:, None] + np.square(other).sum(axis=1)
    return np.maximum(squares - 2 * one @ other.T, 0)


def polynomial_kernel(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """KID's kernel of two sets of features [N, d], [M, d] (Binkowski et al., 2018)."""
    base = one @ other.T / one.shape[1] + 1
    return base * base * base


def mean_of_pairs(kernel: np.ndarray, count: np.ndarray | None = None) -> float:
    """Mean over pairs of different rows of a kernel [N, N]; NaN for less than two rows.

    Args:
      count: how often each row counts [N], in a bootstrap resample. A row is never paired with
        itself, since its copies would look like a collapse.
    """
    count = np.ones(len(kernel)) if count is None else count
    total = count.sum() ** 2 - (count**2).sum()
    pairs = count @ kernel @ count - (count**2 * np.diag(kernel)).sum()
    return float(pairs / total) if total > 0 else float("nan")


def kernel_distance(
    features: np.ndarray, reference: np.ndarray, count: np.ndarray | None = None
) -> float:
    """Unbiased squared MMD of two sets of features with KID's kernel; see `mean_of_pairs`."""
    weight = np.ones(len(features)) if count is None else count
    within = mean_of_pairs(polynomial_kernel(features, features), count)
    between = weight @ polynomial_kernel(features, reference).mean(axis=1) / weight.sum()
    return within + mean_of_pairs(polynomial_kernel(reference, reference)) - 2 * float(between)


def frechet_distance(features: np.ndarray, reference: np.ndarray) -> float:
    """Frechet distance of the Gaussians fitted to two sets of features (Heusel et al., 2017)."""
    one, other = (np.cov(rows, rowvar=False) for rows in (features, reference))
    # Tr (one other)^(1/2) by the eigenvalues of a symmetric matrix that has the same ones.
    root = _square_root(one)
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other @ root), 0)).sum()
    apart = np.square(features.mean(axis=0) - reference.mean(axis=0)).sum()
    return float(apart + np.trace(one) + np.trace(other) - 2 * shared)


def _square_root(matrix: np.ndarray) -> np.ndarray:
    """The square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def variance_shares(values: np.ndarray) -> tuple[float, float, float]:
    """Sobol' shares of two factors in a value that was computed for every pair of them.

    Args:
      values: [rows, columns], one level of the first factor a row, of the second a column.

    Returns:
      Shares of the variance due to the first factor alone, to the second alone, and to both
      together; NaN for a constant.
    """
    total = values.var()
    if total < 1e-12:
        return (float("nan"),) * 3
    first = values.mean(axis=1).var() / total
    second = values.mean(axis=0).var() / total
    return float(first), float(second), float(1 - first - second)


# Intervals.


def interval(estimates: np.ndarray) -> list[float] | None:
    """The middle 95% of estimates.

    None where more than a tenth of them are undefined, or more than a fortieth infinite: such an
    interval has no end.
    """
    known = estimates[~np.isnan(estimates)]
    if len(known) < 0.9 * len(estimates) or np.isinf(known).mean() > 0.025:
        return None
    edges = np.percentile(known, [2.5, 97.5], method="lower" if np.isinf(known).any() else "linear")
    return [float(edge) for edge in edges]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """How an interval is made: by so many resamples, drawn from a seed."""

    resamples: int
    seed: int

    def rows(self, count: int) -> np.ndarray:
        """Row numbers [resamples, count]; the same for whatever has as many rows."""
        rng = np.random.Generator(np.random.Philox(self.seed))
        return rng.integers(count, size=(self.resamples, count))


def summarise(values: np.ndarray, bootstrap: Bootstrap, reason: str = "") -> dict:
    """Mean of per-image values and its bootstrap 95% interval; NaNs are undefined and left out.

    Of a share of the images, `summarise_proportion` knows better.

    Returns:
      {"mean", "ci95", "images"}, or {"mean": None, "reason"} if no value is defined.
    """
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return {"mean": None, "reason": reason or "undefined for every image"}
    means = values[bootstrap.rows(len(values))].mean(axis=1)
    return {"mean": float(values.mean()), "ci95": interval(means), "images": len(values)}


def summarise_proportion(hits: np.ndarray) -> dict:
    """The share of images that are a hit, with its exact 95% interval (Clopper & Pearson, 1934).

    Resampling 32 hits of 32 would never see a miss, and call the share known.

    Args:
      hits: 0 or 1 an image; NaNs are undefined and left out.
    """
    hits = np.asarray(hits, float)
    hits = hits[np.isfinite(hits)]
    if len(hits) == 0:
        return {"mean": None, "reason": "undefined for every image"}
    found = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(method="exact")
    return {
        "mean": float(hits.mean()),
        "ci95": [float(found.low), float(found.high)],
        "images": len(hits),
    }


def summarise_median(values: np.ndarray, bootstrap: Bootstrap, reason: str) -> dict:
    """The lower median of per-image values [N], infinite where it never comes to one.

    Args:
      reason: why nothing is known if the median is infinite.
    """
    median = lambda values: np.quantile(values, 0.5, axis=-1, method="inverted_cdf")
    if not np.isfinite(median(values)):
        return {"mean": None, "reason": reason}
    estimates = median(values[bootstrap.rows(len(values))])
    return {"mean": float(median(values)), "ci95": interval(estimates), "images": len(values)}
