"""What became of every file of a folder, and how the log tells it."""

import collections
import logging
from collections.abc import Mapping, Sequence

import numpy as np

from cxr_jax.datasets.cxr_folder.depth import (
    DOUBTFUL,
    Scale,
    ValueRange,
    contrast,
    extremes,
)
from cxr_jax.datasets.cxr_folder.dicom_notes import (
    DOUBTS,
    NOTES,
    DicomFilms,
    count_notes,
    tell_notes,
)
from cxr_jax.datasets.cxr_folder.film_checks import find_negatives
from cxr_jax.datasets.cxr_folder.folder_listing import FilmListing
from cxr_jax.datasets.cxr_folder.metadata import FilmTable
from cxr_jax.datasets.cxr_folder.splits import Film, by_source, count_films

logger = logging.getLogger(__name__)

_LOGGED = 20  # names in one line of the log; the report has all of them


# 1. Collecting.


def make_report(
    listing: FilmListing,
    table: FilmTable,
    kept: Sequence[Film],
    *,
    positive_class: str,
    squares: Mapping,
    skipped: Mapping[str, str],
    digests: Mapping[str, str],
    ranges: Mapping[str, ValueRange],
    scales: Mapping[str, Scale],
    dicom: DicomFilms,
) -> dict:
    """What became of every file, for the caller to show.

    Args:
      listing: the folder.
      table: its films, and how metadata.csv was understood.
      kept: the films that are used, with their splits.
      positive_class: name of the class with label 1.
      squares: {film: its `Square`}.
      skipped: {film: why it is not used}.
      digests: {file: SHA-256}.
      ranges: {deep film: its values}.
      scales: {deep film: how they become 8 bits}.
      dicom: the headers of its DICOM films; nothing of a patient goes into the report.

    Returns:
      films: how many are used.
      classes: {folder: {"label", "films"}}.
      splits: {split: {"negative": n, "positive": n}}.
      drawn_validation: how many films given for training validate, since none are given for that.
      split_folders, patient_folders: whether splits are folders, and how many patients are.
      skipped: [{"filename", "reason"}], the unreadable ones.
      ignored: names of files that are no film of a class.
      namesakes: pairs of films of two classes that have one number for a name, or are DICOM.
      enlarged: names of films smaller than the square.
      columns, unread_columns: {ours: the table's} of those read, and the others.
      bare_names: how many rows name a film without its folder.
      unknown_patient: how many films have neither patient nor group: a patient each.
      said_unknown: how many rows give the patient by a word such as "nan".
      joined_groups: how many groups or patients are in one split because a film links them.
      with_lung_mask: how many films have a lung mask; lung_masks: {class: n}.
      mask_notes: how many masks have several grey values, and how many were resized.
      lung_share: least, median and largest share of a square that its lung mask covers.
      depth: [{"source", "films", "bits", "low", "high", …}] of films of more than 8 bits.
      dicom: films (how many are DICOM), notes ({note: how many}), left_out (names of other views),
      patients (how many films have theirs from the header), one_patient_for_all.
      negatives: {class: films that look like negatives of the other classes'}.
      copies: names of films whose bytes equal those of a film in another split or class.
    """
    class_of = {name: place.class_name for name, place in listing.films.items()}
    counts = collections.Counter(class_of[film.filename] for film in kept)
    masks = collections.Counter(
        class_of[film.filename] for film in kept if film.filename in listing.lung_masks
    )
    shares = [squares[name].lung_share for name in listing.lung_masks if name in squares]
    return {
        "films": len(kept),
        "classes": {
            name: {
                "label": "positive" if name == positive_class else "negative",
                "films": counts[name],
            }
            for name in sorted(set(class_of.values()))
        },
        "splits": count_films(kept),
        "drawn_validation": _count_drawn(table.films, kept),
        "split_folders": any(place.split for place in listing.films.values()),
        "patient_folders": len({place.patient for place in listing.films.values()} - {""}),
        "skipped": [{"filename": name, "reason": why} for name, why in skipped.items()],
        "ignored": list(listing.ignored),
        "namesakes": [list(pair) for pair in listing.namesakes],
        "enlarged": [film.filename for film in kept if squares[film.filename].enlarged],
        "columns": dict(table.columns),
        "unread_columns": list(table.unread),
        "bare_names": table.bare_names,
        "unknown_patient": sum(film.group.startswith("file:") for film in kept),
        "said_unknown": table.said_unknown,
        "joined_groups": _count_joined(kept),
        "with_lung_mask": sum(masks.values()),
        "lung_masks": dict(sorted(masks.items())),
        "mask_notes": {
            note: sum(note in squares[film.filename].mask_notes for film in kept)
            for note in ("parts", "resized")
        },
        "lung_share": [float(v) for v in np.percentile(shares, (0, 50, 100))] if shares else [],
        "depth": _describe_depth(table.films, ranges, scales),
        "dicom": _describe_dicom(kept, dicom),
        "negatives": find_negatives(
            {film.filename: squares[film.filename].thumbnail for film in kept}, class_of
        ),
        "copies": _find_copies(kept, digests),
    }


def _count_drawn(given: Sequence[Film], kept: Sequence[Film]) -> int:
    splits = {film.filename: film.split for film in given}
    return sum(film.split == "validation" and splits[film.filename] == "train" for film in kept)


def _count_joined(films: Sequence[Film]) -> int:
    """Groups, or patients of no group, beyond one for each unit of the split."""
    firsts = {film.owners[0] for film in films if film.owners}
    return len(firsts) - len({film.group for film in films if film.owners})


def _describe_depth(
    films: Sequence[Film], ranges: Mapping[str, ValueRange], scales: Mapping[str, Scale]
) -> list[dict]:
    """One entry for each scale: of a source, and of a depth where the files state one."""
    of_scale = collections.defaultdict(dict)
    for source, of_source in by_source(films, ranges).items():
        for name, of_film in of_source.items():
            of_scale[source, of_film.stored_bits][name] = of_film
    described = []
    for (source, stored_bits), of_films in sorted(of_scale.items()):
        scale, (darkest, brightest) = scales[next(iter(of_films))], extremes(of_films)
        described.append(
            {
                "source": source,
                "stored_bits": stored_bits,
                "films": len(of_films),
                "bits": scale.bits or 0,
                "low": scale.low,
                "high": scale.high,
                "darkest": [darkest, of_films[darkest].high],
                "brightest": [brightest, of_films[brightest].high],
                "is_doubtful": contrast(of_films) >= DOUBTFUL,
            }
        )
    return described


def _describe_dicom(kept: Sequence[Film], dicom: DicomFilms) -> dict:
    """How the DICOM films that are used were read: counts, and names of files."""
    used = [dicom.headers[film.filename] for film in kept if film.filename in dicom.headers]
    return {
        "films": len(used),
        "notes": count_notes(used),
        "left_out": list(dicom.left_out),
        "patients": sum(bool(film.header) for film in kept),
        "one_patient_for_all": dicom.one_patient_for_all,
    }


def _find_copies(films: Sequence[Film], digests: Mapping[str, str]) -> list[str]:
    """Films that stand, byte for byte, in two splits or two classes: a leak to warn of."""
    same_bytes = collections.defaultdict(list)
    for film in films:
        same_bytes[digests[film.filename]].append(film)
    return sorted(
        film.filename
        for copies in same_bytes.values()
        if len({(film.split, film.label) for film in copies}) > 1
        for film in copies
    )


# 2. Telling.


def log_report(
    folder: str,
    report: dict,
    *,
    sources: Sequence[str],
    patients: str = "patient_id in metadata.csv",
) -> None:
    """Says how the films were read and what was not used, even where a cache has it.

    Args:
      folder: the user's.
      report: see `make_report`.
      sources: lines that say what was taken for which class, split and patient.
      patients: where a film's patient is looked for.
    """
    for line in [*sources, *_tell_reading(report)]:
        logger.info("%s: %s", folder, line)
    for line in _tell_doubts(report, patients):
        logger.warning("%s: %s", folder, line)
    notes = {
        "skipped": [entry["reason"] for entry in report["skipped"]],
        "ignored (not images of a class)": report["ignored"],
        "left out as no frontal views": report["dicom"]["left_out"],
        "enlarged (smaller than the square)": report["enlarged"],
        "byte-identical to a film of another split or class": report["copies"],
    }
    for what, names in notes.items():
        if names:
            logger.warning("%s: %d files %s: %s", folder, len(names), what, _some(names))


def _tell_reading(report: dict) -> list[str]:
    return [
        *_tell_table(report),
        *_tell_masks(report),
        *_tell_dicom(report["dicom"]),
        *(_tell_depth(each) for each in report["depth"]),
    ]


def tell_folders(report: dict, split_column: str) -> list[str]:
    """Lines that say which folder was taken for what."""
    lines = []
    for label in ("positive", "negative"):
        of_label = [
            f"{name}/ ({each['films']} films)"
            for name, each in report["classes"].items()
            if each["label"] == label
        ]
        lines.append(f"{label} are {', '.join(of_label)}")
    if report["namesakes"]:
        one, other = report["namesakes"][0]
        lines.append(
            f"{len(report['namesakes'])} numbers name films of two classes, such as {one} and "
            f"{other}: taken for different films"
        )
    if report["split_folders"]:
        followed = "give the split" if split_column else "are not used: films are split by patient"
        lines.append(f"folders train/, val/ and test/ over the classes {followed}")
    if report["patient_folders"]:
        lines.append(f"{report['patient_folders']} sub-folders of classes are taken for patients")
    return lines


def _tell_table(report: dict) -> list[str]:
    lines = []
    if report["drawn_validation"]:
        lines.append(
            f"train and test are given and no validation: {report['drawn_validation']} films of "
            "the training patients validate"
        )
    renamed = {ours: theirs for ours, theirs in report["columns"].items() if ours != theirs}
    lines += [f"column {theirs!r} is read as {ours}" for ours, theirs in renamed.items()]
    if report["unread_columns"]:
        lines.append(f"columns that are not read: {', '.join(report['unread_columns'])}")
    if report["bare_names"]:
        lines.append(f"{report['bare_names']} rows name their film without its folder")
    if report["joined_groups"]:
        lines.append(
            f"{report['joined_groups']} groups or patients are joined with others, with which they "
            "share a patient or a group, so that none is in two splits"
        )
    return lines


def _tell_masks(report: dict) -> list[str]:
    if not report["lung_masks"]:
        return []
    least, median, most = report["lung_share"]
    of_class = ", ".join(f"{name} {number}" for name, number in report["lung_masks"].items())
    lines = [
        f"lung masks of {report['with_lung_mask']} films ({of_class}); they cover {median:.0%} of "
        f"the picture ({least:.0%} to {most:.0%})"
    ]
    notes = report["mask_notes"]
    if notes["parts"]:
        lines.append(f"{notes['parts']} lung masks have several grey values, each taken for lung")
    if notes["resized"]:
        lines.append(f"{notes['resized']} lung masks are resized to their films")
    return lines


def _tell_dicom(dicom: dict) -> list[str]:
    lines = tell_notes(dicom["films"], dicom["notes"], NOTES)
    if dicom["patients"]:
        lines.append(
            f"{dicom['patients']} films have their patient from the DICOM header, of which nothing "
            "is kept but which films are of one"
        )
    return lines


def _tell_depth(each: dict) -> str:
    source = f" of source {each['source']!r}" if each["source"] else ""
    if each["stored_bits"]:
        source += f" that state {each['stored_bits']} bits"
    scale = f"as {each['bits']} bits"
    if not each["bits"]:
        scale = f"stretched from {each['low']:.6g} to {each['high']:.6g}"
    return f"{each['films']} films of more than 8 bits{source} are read {scale} (data.bits)"


def _tell_doubts(report: dict, patients: str) -> list[str]:
    lines = []
    without = [name for name in report["classes"] if name not in report["lung_masks"]]
    labels = {report["classes"][name]["label"] for name in report["lung_masks"]}
    if report["lung_masks"] and len(labels) == 1:
        lines.append(
            f"only {labels.pop()} films have lung masks (none of {', '.join(without)}): of them "
            "alone a segmenter can learn lungs (evaluators.segmenter.only_label)"
        )
    for name, negatives in report["negatives"].items():
        number = report["classes"][name]["films"]
        lines.append(
            f"{len(negatives)} of {number} films of {name}/ look like negatives of the other "
            f"classes' films ({_some(negatives, 3)}): was one of them exported inverted?"
        )
    for each in report["depth"]:
        if each["is_doubtful"]:
            (dark, low), (bright, high) = each["darkest"], each["brightest"]
            lines.append(
                f"deep films of one scale go up to {low:.6g} ({dark}) and to {high:.6g} "
                f"({bright}); if they come from several detectors name them in a column `source` "
                "(or by data.manifest.source)"
            )
    dicom = report["dicom"]
    lines += tell_notes(dicom["films"], dicom["notes"], DOUBTS)
    if dicom["one_patient_for_all"]:
        lines.append(
            "all DICOM headers with a PatientID have the same one: it stands for all, and is not "
            "used"
        )
    if report["unknown_patient"]:
        said = (
            f" ({report['said_unknown']} by a word such as nan)" if report["said_unknown"] else ""
        )
        lines.append(
            f"of {report['films']} films {report['unknown_patient']} have no {patients}"
            f"{said}; each counts as a patient of its own, so films of one patient may "
            "be in several splits"
        )
    return lines


def _some(names: Sequence[str], count: int = _LOGGED) -> str:
    more = [f"and {len(names) - count} more, see the report"] if len(names) > count else []
    return "; ".join([*names[:count], *more])
