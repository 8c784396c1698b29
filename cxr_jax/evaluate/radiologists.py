"""Maps against what radiologists have marked: scores of lung zones, outlines, boxes.

A radiologist says where a finding *is*; what a classifier *uses* may be something else, and a map
that shows this is right and scores badly here. So these figures say how plausible a map is, and the
audit (cxr_jax/evaluate/audit.py) how sound the classifier.

Zones are after the Brixia score (Borghesi and Maroldi, 2020): A, B, C are the upper, middle and
lower third of the right lung, which lies left in the picture; D, E, F those of the left lung. The
score's own zones end at anatomical lines (aortic arch, right inferior pulmonary vein), which nobody
has drawn here.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from cxr_jax import metrics
from cxr_jax.metrics import Bootstrap

ZONES = ("A", "B", "C", "D", "E", "F")
# Of the marked lungs; a smaller second part is no lung. Of 103 films with two the least has 0.40.
LEAST_LUNG = 0.2


# 1. Zones.


def find_zones(lungs: np.ndarray) -> np.ndarray | None:
    """The six zones [6, h, w, 1] bool of a mask of both lungs [h, w, 1] bool, in order of ZONES.

    None unless the two largest connected parts of the mask can be two lungs, side by side.
    """
    labels, parts = ndimage.label(lungs)
    sizes = np.bincount(labels.ravel(), minlength=parts + 1)[1:]
    if parts < 2:
        return None
    largest = 1 + np.argsort(-sizes, kind="stable")[:2]
    if sizes[largest - 1].min() < LEAST_LUNG * sizes.sum():
        return None
    centre = {label: np.nonzero(labels == label)[1].mean() for label in largest}
    left, right = sorted(largest, key=centre.get)  # in the picture
    return np.concatenate([_thirds(labels == left), _thirds(labels == right)])


def _thirds(lung: np.ndarray) -> np.ndarray:
    """Upper, middle and lower third [3, h, w, 1], by height, of one lung [h, w, 1]."""
    rows = np.flatnonzero(lung.any(axis=(1, 2)))
    top, height = rows[0], rows[-1] + 1 - rows[0]
    third = (np.arange(len(lung)) - top) * 3 // height
    return np.stack([lung & (third == number)[:, None, None] for number in range(3)])


def zone_mass(saliency: np.ndarray, zones: np.ndarray) -> np.ndarray:
    """What of a map [h, w, 1], never negative, lies in each zone [6]."""
    return (saliency * zones).sum(axis=(1, 2, 3), dtype=float)


def rank_agreement(values: np.ndarray, scores: np.ndarray) -> float:
    """Spearman's correlation over a film's zones, ties by mean ranks; NaN where one is constant."""
    if not (np.isfinite(values).all() and np.isfinite(scores).all()):
        return float("nan")
    found = metrics.spearman(values, scores)
    return float("nan") if found is None else found


# 2. Outlines and boxes.


def hit(saliency: np.ndarray, mask: np.ndarray) -> float:
    """Whether the map's largest pixel lies on the mask; of several, the share that does.

    The pointing game (Zhang et al., 2018); NaN for an empty mask or map.
    """
    if not mask.any() or not saliency.max() > 0:
        return float("nan")
    return float(mask[saliency == saliency.max()].mean())


def fill_boxes(boxes: np.ndarray, side: int) -> np.ndarray:
    """The pixels [side, side, 1] bool whose centre lies in a box.

    Args:
      boxes: x, y, width and height of each [k, 4], in the film's side.
    """
    centre = (np.arange(side) + 0.5) / side
    mask = np.zeros((side, side, 1), bool)
    for x, y, width, height in boxes:
        across, down = (
            (start <= centre) & (centre < start + length)
            for start, length in ((x, width), (y, height))
        )
        mask |= (down[:, None] & across)[..., None]
    return mask


# 3. Controls and intervals; of films that may share a patient.


def others_mean(values: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """For each film the mean of the values [N, ...] of the films of all other patients.

    Rows that hold a NaN are in no mean; NaN where no row is left.

    Args:
      patients: of each film [N].
    """
    known = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    means = np.full(values.shape, np.nan)
    for patient in np.unique(patients):
        others = known & (patients != patient)
        if others.any():
            means[patients == patient] = values[others].mean(axis=0)
    return means


def summarise(values: np.ndarray, patients: np.ndarray, bootstrap: Bootstrap) -> dict:
    """The mean over films and its 95% interval from resampled patients, each with all its films.

    As `metrics.summarise` where every film is of another patient.

    Args:
      values: of each film [N]; NaNs are undefined and left out.
      patients: of each film [N].
    """
    values = np.asarray(values, float)
    known = np.isfinite(values)
    if not known.any():
        return {"mean": None, "reason": "undefined for every film"}
    of = _number(patients[known])
    total, count = np.bincount(of, weights=values[known]), np.bincount(of)
    picks = bootstrap.rows(len(count))
    means = total[picks].sum(axis=1) / count[picks].sum(axis=1)
    return {
        "mean": float(values[known].mean()),
        "ci95": metrics.interval(means),
        "images": int(known.sum()),
        "patients": len(count),
    }


def correlate(
    values: np.ndarray,
    others: np.ndarray,
    patients: np.ndarray,
    *,
    bootstrap: Bootstrap,
    given: np.ndarray | None = None,
) -> dict:
    """Spearman's correlation over films [N], its 95% interval as `summarise` has it.

    Args:
      given: what both may owe their correlation to [N]: the partial correlation, given its ranks.
    """
    columns = [values, others] + ([] if given is None else [given])
    return _over_patients(columns, _spearman, patients, bootstrap=bootstrap)


def correlation_gain(
    values: np.ndarray,
    others: np.ndarray,
    patients: np.ndarray,
    *,
    rival: np.ndarray,
    bootstrap: Bootstrap,
) -> dict:
    """How much higher `values` correlate with `others` than `rival` does, as `correlate` has it.

    Paired: both correlations are of the same resampled films [N].
    """
    return _over_patients([values, others, rival], _spearman_gain, patients, bootstrap=bootstrap)


def _over_patients(
    columns: Sequence[np.ndarray],
    statistic: Callable[..., float | None],
    patients: np.ndarray,
    *,
    bootstrap: Bootstrap,
) -> dict:
    """A statistic of the films [N] that have all columns, and its interval; see `correlate`."""
    columns = [np.asarray(column, float) for column in columns]
    known = np.isfinite(columns).all(axis=0)
    columns = [column[known] for column in columns]
    whole = statistic(*columns)
    if whole is None:
        return {"mean": None, "reason": "too few films, or all alike"}
    of = _number(patients[known])
    films = [np.flatnonzero(of == number) for number in range(of.max() + 1)]
    resampled = [np.concatenate([films[n] for n in pick]) for pick in bootstrap.rows(len(films))]
    found = [statistic(*(column[rows] for column in columns)) for rows in resampled]
    return {
        "mean": whole,
        "ci95": metrics.interval(np.array([np.nan if each is None else each for each in found])),
        "images": int(known.sum()),
        "patients": len(films),
    }


def _spearman_gain(values: np.ndarray, others: np.ndarray, rival: np.ndarray) -> float | None:
    """One correlation less the other; None where one of them is undefined."""
    own, theirs = metrics.spearman(values, others), metrics.spearman(rival, others)
    return None if own is None or theirs is None else own - theirs


def _spearman(
    values: np.ndarray, others: np.ndarray, given: np.ndarray | None = None
) -> float | None:
    """Spearman's correlation, partial where something is given; None where it is undefined."""
    whole = metrics.spearman(values, others)
    if given is None or whole is None:
        return whole
    own, theirs = metrics.spearman(values, given), metrics.spearman(others, given)
    if own is None or theirs is None or max(abs(own), abs(theirs)) >= 1:
        return None
    return (whole - own * theirs) / float(np.sqrt((1 - own**2) * (1 - theirs**2)))


def _number(patients: np.ndarray) -> np.ndarray:
    """Patients as numbers [N], in the order in which they come."""
    _, first, of = np.unique(patients, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[of]
