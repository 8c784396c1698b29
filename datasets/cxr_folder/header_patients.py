"""Which films are of one patient, by the PatientID of their headers.

A PatientID is compared with others and then forgotten: what is kept is which films share one. A
patient is named after the first of his films, so that neither the records nor anything made of them
holds a function of the number, and the same folder always has the same patients and splits. (A hash
with a salt would be either guessable, or another one whenever the folder is prepared anew.)
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

from cxr_jax.datasets.cxr_folder.columns import is_unknown
from cxr_jax.datasets.cxr_folder.dicom import DicomHeader
from cxr_jax.datasets.cxr_folder.splits import Film, join_groups

# What de-identification writes in place of a number, beside the usual words for unknown.
_ANONYMOUS = {"0", "anon", "anonym", "anonymous", "anonymized", "anonymised", "deidentified"}


def name_patients(headers: Mapping[str, DicomHeader]) -> tuple[dict[str, str], bool]:
    """Returns ({film: its patient}, whether one PatientID stands for all, and is no patient's).

    Films without a PatientID are left out; so are all where there is a single one for several
    films, as some programs write when they take the real ones out.
    """
    films_of = collections.defaultdict(list)
    for name, header in headers.items():
        if not is_unknown(header.patient) and header.patient.casefold() not in _ANONYMOUS:
            films_of[header.patient].append(name)
    if len(films_of) == 1 and len(next(iter(films_of.values()))) > 1:
        return {}, True
    return {
        name: f"patient of {min(names)}" for names in films_of.values() for name in names
    }, False


def add_patients(films: Sequence[Film], patients: Mapping[str, str]) -> list[Film]:
    """The films with their headers' patients, joined anew; the table's patient goes before them.

    A patient's folder does not: films stay together that share it, or the header's patient. Where
    the table leaves a film of a header's patient open, that links all films of his.
    """
    is_open = lambda film: film.patient_id in ("", film.folder)
    open_patients = {patients.get(film.filename) for film in films if is_open(film)} - {None}

    def add(film: Film) -> Film:
        header = patients.get(film.filename)
        if header not in open_patients:
            return film
        return dataclasses.replace(film, header=header, patient_id=film.patient_id or header)

    return join_groups([add(film) for film in films])
