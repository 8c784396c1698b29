"""Which films are explained, and what the data set knows of them."""

import difflib
import logging
from collections.abc import Sequence

import numpy as np

from cxr_jax.data.arrays import Arrays, to_unit_range
from cxr_jax.errors import InputError
from cxr_jax.explain.explainer import Explainer
from cxr_jax.report.arrays import names_of

logger = logging.getLogger(__name__)

LEAST_LUNG = 0.02  # of the picture; less is a speck
RENDERINGS = ("twin", "without_marker", "without_both")


def find_films(arrays: Arrays, names: Sequence[str]) -> np.ndarray:
    """Rows of the films with these names (`config.explain.films`), in their order.

    Raises:
      InputError: if there is no such test film.
    """
    rows = {name: row for row, name in enumerate(names_of(arrays))}
    for name in names:
        if name not in rows:
            like = difflib.get_close_matches(name, rows, n=3, cutoff=0)
            raise InputError(
                f"config.explain.films has {name!r}, which no test film is called; the nearest are "
                f"{', '.join(like)}"
            )
    return np.array([rows[name] for name in dict.fromkeys(names)], int)


def choose(
    margin: np.ndarray,
    count: int,
    num_skipped: int = 0,
    *,
    named: Sequence[int] | np.ndarray = (),
    patients: np.ndarray | None = None,
) -> np.ndarray:
    """Rows of films that f calls positive and negative, half of `count` each if there are so many.

    Args:
      named: rows that are surely among them, and the first.
      num_skipped: others of each decision that are left out before one is taken.
      patients: whose each film is [N]. Beside those named, one film of a patient is taken of each
        decision: films of one patient are alike, and intervals are over films.

    Raises:
      InputError: if f calls no further film positive, or none negative.
    """
    named = np.asarray(named, int)
    others = np.setdiff1d(np.arange(len(margin)), named)
    chosen = []
    for positive in (True, False):
        asked, free = (rows[(margin[rows] > 0) == positive] for rows in (named, others))
        if patients is not None:
            free = first_of_patients(free, patients, known=patients[asked])
        free = free[num_skipped:][: max(count // 2 - len(asked), 0)]
        if len(asked) + len(free) == 0:
            remedy = "train the classifier longer, or give more films"
            if num_skipped:
                remedy = f"skip fewer than {num_skipped} (config.explain.num_skipped)"
            raise InputError(
                f"the classifier calls {(margin > 0).sum()} of {len(margin)} films positive, so "
                f"there is nothing to walk from {'positive' if positive else 'negative'}: {remedy}"
            )
        chosen.append(free)
    return np.concatenate([named, np.sort(np.concatenate(chosen))])


def first_of_patients(rows: np.ndarray, patients: np.ndarray, *, known: np.ndarray) -> np.ndarray:
    """Of some rows the first of each patient.

    Args:
      patients: whose each film is [N]; of the films that are b"" each is a patient's own.
      known: patients of whom no further film is wanted.
    """
    taken, firsts = set(known.tolist()), []
    for row, patient in zip(rows, patients[rows].tolist(), strict=True):
        if not patient or patient not in taken:
            firsts.append(row)
        taken.add(patient)
    return np.array(firsts, int)


def lungs_of(explainer: Explainer, arrays: Arrays, rows: np.ndarray) -> np.ndarray | None:
    """`gate_region` of some films; those that a data set knows explain nothing, as of a user's."""
    return gate_region(explainer, to_unit_range(arrays["image"][rows]))


def gate_region(explainer: Explainer, image: np.ndarray) -> np.ndarray | None:
    """What the gate takes for lungs [N, h, w, 1] bool; None where nobody looks. It is logged.

    A whole film where the segmenter finds none, or a speck.

    Args:
      image: films [N, h, w, 1] in [-1, 1].
    """
    if explainer.find_lungs is None:
        logger.info("the gate looks at whole films: there is no segmenter of lungs")
        return None
    masks = explainer.find_lungs(image)
    share = masks.mean(axis=(1, 2, 3))
    found = share >= LEAST_LUNG
    if found.any():
        least, median, most = 100 * np.percentile(share[found], (0, 50, 100))
        logger.info(
            "the gate looks at the segmenter's lungs, %.0f%% of a film (%.0f to %.0f%%)",
            median,
            least,
            most,
        )
    if not found.all():
        logger.warning(
            "the gate looks at the whole of %d of %d films, on which the segmenter finds no lungs",
            (~found).sum(),
            len(found),
        )
    return masks | ~found[:, None, None, None]


def looked_at(lungs: np.ndarray | None, count: int) -> np.ndarray:
    """The share of each film [count] that the gate looked at; 1 where it was all of it.

    Args:
      lungs: of `gate_region`.
    """
    return np.ones(count) if lungs is None else lungs.mean(axis=(1, 2, 3))


def truth_of(arrays: Arrays, rows: np.ndarray) -> dict[str, np.ndarray]:
    """What the data set knows of some films, `row` of the split first; pictures in [-1, 1]."""
    truth = {"row": rows, **{name: array[rows] for name, array in arrays.items()}}
    pictures = {name: to_unit_range(truth[name]) for name in RENDERINGS if name in truth}
    return truth | pictures


def other_films(
    arrays: Arrays, margin: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The films beside those walked that f calls positive, and those that it calls negative.

    Args:
      margin: f on all films [N].
      rows: of the films walked.
    """
    image = to_unit_range(np.delete(arrays["image"], rows, axis=0))
    positive = np.delete(margin, rows) > 0
    return image[positive], image[~positive]


def accepted(reasons: list[str]) -> np.ndarray:
    """Which films passed the gate."""
    return np.array([not reason for reason in reasons])
