"""Which films train, validate and test: never one patient on two sides."""

import collections
import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components

from cxr_jax.errors import InputError

SPLITS = ("train", "validation", "test")
VALIDATION_FRACTION = 0.1  # of the patients of each class; the rest (0.7) trains
TEST_FRACTION = 0.2

Known = TypeVar("Known")


@dataclasses.dataclass(frozen=True)
class Film:
    """One radiograph and what is known of it before its pixels are read."""

    filename: str  # relative to the folder, forward slashes
    label: int  # 0 negative, 1 positive
    patient_id: str  # empty if unknown
    group: str  # films of one group never lie in two splits; see `join_groups`
    split: str | None  # None: to be assigned
    group_id: str = ""  # as the table has it; empty if unknown
    folder: str = ""  # the patient's folder inside the class; empty if there is none
    source: str = ""  # hospital or detector; empty if unknown
    header: str = ""  # the patient by DICOM headers, see `header_patients`; empty if unknown

    @property
    def owners(self) -> list[str]:
        """Whose films must stay together: group, patient and patient's folder, as far as known."""
        named = {
            "group": self.group_id,
            "patient": self.patient_id,
            "folder": self.folder,
            "patient by header": self.header,
        }
        return [f"{kind}:{name}" for kind, name in named.items() if name]


def join_groups(films: Sequence[Film]) -> list[Film]:
    """Fills in `group`: films that share a patient or a group, or are linked by others that do.

    It is called after the first group in it, else the first patient, else the film.
    """
    owners = sorted({owner for film in films for owner in film.owners})
    number = {owner: len(films) + i for i, owner in enumerate(owners)}
    links = [(i, number[owner]) for i, film in enumerate(films) for owner in film.owners]
    rows, columns = np.array(links, int).reshape(-1, 2).T
    size = len(films) + len(owners)
    graph = scipy.sparse.coo_array((np.ones(len(links)), (rows, columns)), shape=(size, size))
    _, component = connected_components(graph, directed=False)
    name: dict[int, str] = {}
    for owner in sorted(owners, key=lambda owner: (owner.startswith("folder:"), owner)):
        name.setdefault(int(component[number[owner]]), owner)
    return [
        dataclasses.replace(film, group=name.get(int(of), f"file:{film.filename}"))
        for film, of in zip(films, component, strict=False)
    ]


def name_groups(films: Iterable[Film]) -> dict[str, str]:
    """{group: the first of its films by name}, which is no patient's name or number."""
    first: dict[str, str] = {}
    for film in films:
        first[film.group] = min(film.filename, first.get(film.group, film.filename))
    return first


def assign_splits(films: Sequence[Film]) -> list[Film]:
    """Fills in the split of films that have none, 70/10/20 by patient within each class.

    A patient's place follows from a hash of the patient alone, so that neither the order of the
    files nor their contents matter. A patient with films of both classes counts as positive.
    Each class with three patients or more reaches every split.
    """
    split_of: dict[str, str] = {}
    for groups in _groups_by_class(film for film in films if film.split is None):
        split_of |= _deal_out(groups)
    return [dataclasses.replace(film, split=film.split or split_of[film.group]) for film in films]


def draw_validation(films: Sequence[Film]) -> list[Film]:
    """Takes it from the training patients, an eighth of each class, where only train and test
    are given, as many public sets have it; other films are returned as they are.
    """
    if {film.split for film in films} != {"train", "test"}:
        return list(films)
    share = VALIDATION_FRACTION / (1 - TEST_FRACTION)
    drawn: set[str] = set()
    for groups in _groups_by_class(film for film in films if film.split == "train"):
        drawn |= {*groups[: max(1, round(share * len(groups)))]}
    return [
        dataclasses.replace(film, split="validation")
        if film.split == "train" and film.group in drawn
        else film
        for film in films
    ]


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
                    "give at least 3 patients of each, or split by patient (split_column='', or "
                    "data.manifest without split, table_splits and lists)"
                )
    _check_no_overlap(films, where)


def by_source(films: Iterable[Film], known: Mapping[str, Known]) -> dict[str, dict[str, Known]]:
    """What is known of films by their names, as {source: {film: what}}."""
    found: dict[str, dict[str, Known]] = collections.defaultdict(dict)
    for film in films:
        if film.filename in known:
            found[film.source][film.filename] = known[film.filename]
    return found


def count_films(films: Iterable[Film]) -> dict[str, dict[str, int]]:
    """Returns {split: {"negative": n, "positive": n}}."""
    counts = {split: {"negative": 0, "positive": 0} for split in SPLITS}
    for film in films:
        counts[film.split]["positive" if film.label else "negative"] += 1
    return counts


def _groups_by_class(films: Iterable[Film]) -> list[list[str]]:
    """The groups without and those with a positive film, each in the order of their names' hash."""
    is_positive: dict[str, bool] = collections.defaultdict(bool)
    for film in films:
        is_positive[film.group] |= bool(film.label)
    ordered = sorted(is_positive, key=lambda group: hashlib.sha256(group.encode("utf-8")).digest())
    return [
        [group for group in ordered if is_positive[group] == positive] for positive in (False, True)
    ]


def _deal_out(ordered: Sequence[str]) -> dict[str, str]:
    """Returns the split of every group of one class."""
    test_end = max(1, round(TEST_FRACTION * len(ordered)))
    validation_end = test_end + max(1, round(VALIDATION_FRACTION * len(ordered)))
    return {
        group: "test" if i < test_end else "validation" if i < validation_end else "train"
        for i, group in enumerate(ordered)
    }


def _check_no_overlap(films: Sequence[Film], where: str) -> None:
    """A patient, and a group of the table, must stay in one split."""
    first_film: dict[str, Film] = {}
    for film in films:
        for owner in film.owners:
            first = first_film.setdefault(owner, film)
            if first.split != film.split:
                kind, name = owner.split(":", 1)
                raise InputError(
                    f"{where}: {kind} {name!r} is in {first.split} ({first.filename}) and in "
                    f"{film.split} ({film.filename}); put all films of a {kind} into one split"
                )
