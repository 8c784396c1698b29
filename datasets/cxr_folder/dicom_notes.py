"""What is counted of DICOM films, and what becomes of views other than frontal."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cxr_jax.datasets.cxr_folder.dicom import DicomHeader, read_dicom_header
from cxr_jax.datasets.cxr_folder.dicom_files import is_dicom
from cxr_jax.datasets.cxr_folder.dicom_views import OTHER
from cxr_jax.datasets.cxr_folder.in_threads import read_each
from cxr_jax.errors import InputError

LATERAL_VIEWS = ("refuse", "leave_out", "use")  # of data.lateral_views
NOTES = {  # of a header: what the log says of such films
    "inverted": "are stored with low values white, and inverted",
    "windowless": "have neither a window nor a VOI LUT: read as films of more than 8 bits",
    "windows": "have several windows or VOI LUTs, of which the first is taken",
    "turned": "are turned to the usual position by their PatientOrientation",
    "position_unknown": "do not say how they lie (PatientOrientation): taken as they are",
    "view_unknown": "do not say from which side they are taken: counted as frontal",
}
DOUBTS = {  # the same, where the log warns
    "contradicts": "say one polarity by PhotometricInterpretation and the other by "
    "PresentationLUTShape: they are inverted, as one of the two asks for; look at them",
    "unprocessed": "are meant for processing, not for presentation (PresentationIntentType), and "
    "may not look like films",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DicomFilms:
    """What the headers of a folder's films say.

    Attributes:
      headers: of every DICOM film.
      left_out: those that are not used, as other views than frontal.
      one_patient_for_all: whether there is a single PatientID, which is not used.
    """

    headers: Mapping[str, DicomHeader]
    left_out: Sequence[str]
    one_patient_for_all: bool


def read_headers(paths: Mapping[str, Path]) -> dict[str, DicomHeader]:
    """Those of the DICOM films among {name: path} that can be read; reading others says why not."""

    def read(name: str) -> DicomHeader | None:
        return read_dicom_header(paths[name]) if is_dicom(paths[name]) else None

    found = dict(read_each(read, list(paths), "headers"))
    return {name: header for name, header in found.items() if isinstance(header, DicomHeader)}


def find_lateral(headers: Mapping[str, DicomHeader]) -> list[str]:
    """The films of other than frontal views, in their order."""
    return [name for name, header in headers.items() if header.view == OTHER]


def may_be_deep(names: Iterable[str], headers: Mapping[str, DicomHeader]) -> list[str]:
    """Without the DICOM films whose headers say how they become 8 bits."""
    return [name for name in names if name not in headers or headers[name].display.is_deep]


def refuse_lateral(path: Path) -> InputError:
    """What is said of one where they are refused."""
    return InputError(
        f"{path}: is no frontal view (ViewPosition, ViewCodeSequence or PatientOrientation); "
        "remove it, or leave such films out (data.lateral_views='leave_out')"
    )


def count_notes(headers: Iterable[DicomHeader]) -> dict[str, int]:
    """How many films there are of each note and doubt."""
    headers = list(headers)
    return {note: sum(note in header.notes for header in headers) for note in NOTES | DOUBTS}


def tell_notes(films: int, counts: Mapping[str, int], notes: Mapping[str, str]) -> list[str]:
    """Lines for the log.

    Args:
      films: how many are DICOM.
      counts: see `count_notes`.
      notes: NOTES or DOUBTS.
    """
    return [
        f"of {films} DICOM films {counts[note]} {said}"
        for note, said in notes.items()
        if counts[note]
    ]
