"""Which films train, validate and test: never one patient on two sides."""

import collections
import dataclasses
import hashlib
from collections.abc import Iterable, Sequence

from cxr_jax.datasets.cxr_folder.metadata import Film
from cxr_jax.errors import InputError

SPLITS = ("train", "validation", "test")
VALIDATION_FRACTION = 0.1  # of the patients of each class; the rest (0.7) trains
TEST_FRACTION = 0.2


def assign_splits(films: Sequence[Film]) -> list[Film]:
    """Fills in the split of films that have none, 70/10/20 by patient within each class.

    A patient's place follows from a hash of the patient alone, so that neither the order of the
    files nor their contents matter. A patient with films of both classes counts as positive.
    Each class with three patients or more reaches every split.
    """
    is_positive: dict[str, bool] = collections.defaultdict(bool)
    for film in films:
        if film.split is None:
            is_positive[film.group] |= bool(film.label)
    split_of: dict[str, str] = {}
    for positive in (False, True):
        split_of |= _deal_out(group for group, is_pos in is_positive.items() if is_pos == positive)
    return [dataclasses.replace(film, split=film.split or split_of[film.group]) for film in films]


def check_splits(films: Sequence[Film], where: str, positive_class: str) -> None:
    """Raises InputError if a split lacks a class or a patient lies in two splits.

    Args:
      films: films with their split assigned.
      where: the folder, or its metadata, for the message.
      positive_class: name of the positive class, for the message.
    """
    counts = count_films(films)
    for split in SPLITS:
        for name, number in counts[split].items():
            if number == 0:
                wanted = f"films of {positive_class!r}" if name == "positive" else "negative films"
                raise InputError(
                    f"{where}: split {split} has no {wanted}; every split needs both classes, so "
                    "give at least 3 patients of each (or change the split column)"
                )
    _check_no_overlap(films, where)


def count_films(films: Iterable[Film]) -> dict[str, dict[str, int]]:
    """Returns {split: {"negative": n, "positive": n}}."""
    counts = {split: {"negative": 0, "positive": 0} for split in SPLITS}
    for film in films:
        counts[film.split]["positive" if film.label else "negative"] += 1
    return counts


def _deal_out(groups: Iterable[str]) -> dict[str, str]:
    """Returns the split of every group of one class."""
    ordered = sorted(groups, key=lambda group: hashlib.sha256(group.encode("utf-8")).digest())
    test_end = max(1, round(TEST_FRACTION * len(ordered)))
    validation_end = test_end + max(1, round(VALIDATION_FRACTION * len(ordered)))
    return {
        group: "test" if i < test_end else "validation" if i < validation_end else "train"
        for i, group in enumerate(ordered)
    }


def _check_no_overlap(films: Sequence[Film], where: str) -> None:
    """A group, and also a patient whom the groups tear apart, must stay in one split."""
    first_film: dict[str, Film] = {}
    for film in films:
        owners = {film.group} | ({f"patient:{film.patient_id}"} if film.patient_id else set())
        for owner in sorted(owners):
            first = first_film.setdefault(owner, film)
            if first.split != film.split:
                kind, name = owner.split(":", 1)
                raise InputError(
                    f"{where}: {kind} {name!r} is in {first.split} ({first.filename}) and in "
                    f"{film.split} ({film.filename}); put all films of a {kind} into one split"
                )
