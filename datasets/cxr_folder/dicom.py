"""One DICOM file -> its grey values and what they mean, or an InputError that says why not.

Of a header nothing is read but what `_TAGS` lists, and nothing that is read gets into a message:
those name elements, never what stands in them. How values become grey is `dicom_values`, how pixels
are decoded `dicom_pixels`, from which side a film is taken `dicom_views`.

Refused are other modalities than radiography, several frames, colour, files without a picture,
windows that leave a few grey values, and pixels that are not square. Views other than frontal are
told, not refused.
"""

import dataclasses
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset

from cxr_jax.datasets.cxr_folder.depth import Scale, ValueRange, own_scale, range_of_counts
from cxr_jax.datasets.cxr_folder.dicom_display import describe_display, has_several_windows
from cxr_jax.datasets.cxr_folder.dicom_files import check_inflates, looks_like_dicom
from cxr_jax.datasets.cxr_folder.dicom_pixels import read_words
from cxr_jax.datasets.cxr_folder.dicom_values import Display, look_up, picture_values
from cxr_jax.datasets.cxr_folder.dicom_views import (
    UNKNOWN,
    Turn,
    find_turn,
    name_view,
    turn_upright,
)
from cxr_jax.datasets.cxr_folder.reading_warnings import guard
from cxr_jax.errors import InputError

# All that is read of a header. Names, dates and UIDs never enter this program.
_TAGS = [
    *("Modality", "PresentationIntentType", "PatientID", "ViewPosition", "ViewCodeSequence"),
    *("PatientOrientation", "ImagerPixelSpacing", "PixelSpacing", "PixelAspectRatio"),
    *("SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "ModalityLUTSequence", "RescaleSlope"),
    *("RescaleIntercept", "VOILUTSequence", "VOILUTFunction", "WindowCenter", "WindowWidth"),
    *("PresentationLUTShape", "PixelData"),
]
_RADIOGRAPHS = {"", "CR", "DX", "DR", "RG", "OT", "SC"}  # "DR" is no term, but in use
_OTHERS = {  # that a message may name
    *("CT", "MR", "US", "NM", "PT", "MG", "XA", "RF", "IO", "PX", "ES", "XC", "SM", "OP", "ECG"),
    *("SR", "KO", "PR", "SEG", "DOC", "REG", "RTIMAGE", "RTSTRUCT", "RTDOSE", "RTPLAN"),
}
_SAME = 0.01  # relative difference of two spacings that a rounding explains
_FEW = 16  # grey values; a film has more

Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DicomHeader:
    """What a header says of its film.

    Attributes:
      display: how stored values become grey.
      view: see `name_view`.
      turn: how it is brought upright, see `find_turn`; None where the header does not say.
      notes: what is counted of it, see `dicom_notes`.
      patient: the PatientID; only to be compared with that of other films, and never written.
    """

    display: Display
    view: str
    turn: Turn | None
    notes: frozenset[str]
    patient: str = dataclasses.field(repr=False)

    @property
    def is_turned(self) -> bool:
        """Whether its pixels are shown otherwise than they are stored."""
        return self.turn is not None and any(self.turn)


def read_dicom_header(path: Path) -> DicomHeader:
    """The header alone; pixels are not read.

    Raises:
      InputError: if the file is none of a film.
    """
    return _open(path, _describe, pixels=False)


def read_dicom_range(path: Path) -> ValueRange | None:
    """The values of a deep film, padding left out; None of one that becomes 8 bits by itself."""

    def measure(dataset: Dataset) -> ValueRange | None:
        display = _describe(dataset).display
        return _measure(display, _read_words(dataset)) if display.is_deep else None

    return _open(path, measure, pixels=True)


def read_dicom_grey(path: Path, scale: Scale | None = None) -> np.ndarray:
    """A film as 8-bit grey [height, width], upright, white high, padding black.

    Args:
      path: of the file.
      scale: of a deep film, see `Display.is_deep`; None: by this film's own values.
    """

    def convert(dataset: Dataset) -> np.ndarray:
        header, words = _describe(dataset), _read_words(dataset)
        display = header.display
        if display.is_deep:
            scale_used = own_scale(_measure(display, words)) if scale is None else scale
            grey = look_up(display.grey_table(scale_used), words)
        else:
            grey = look_up(display.grey_table(), words)
            _check_grey(display, words, grey)
        return grey if header.turn is None else turn_upright(grey, header.turn)

    return _open(path, convert, pixels=True)


def _open(path: Path, convert: Callable[[Dataset], Result], *, pixels: bool) -> Result:
    """Returns convert(header, with the pixels if asked for); every failure is an InputError."""
    try:
        if path.stat().st_size == 0:
            raise InputError("is empty (0 bytes); replace it by an intact copy or remove it")
        # Mapped, so that no length in a header can ask for more memory than the file has.
        with (
            guard,
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            if not looks_like_dicom(data[:132]):
                raise InputError(
                    "is named as a DICOM file, but is none; name it as what it is, or remove it"
                )
            check_inflates(data)
            dataset = pydicom.dcmread(
                data, force=True, stop_before_pixels=not pixels, specific_tags=_TAGS
            )
            return convert(dataset)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be opened ({error.strerror}); restore or remove it"
        ) from None
    except Exception as error:  # pydicom raises any type, and its words may be the header's
        raise InputError(
            f"{path}: is a damaged DICOM file ({type(error).__name__}); replace it by an intact "
            "copy or remove it"
        ) from None


def _describe(dataset: Dataset) -> DicomHeader:
    """Checks and reads the header."""
    modality = str(dataset.get("Modality") or "").strip().upper()
    if modality not in _RADIOGRAPHS:
        which = f"modality {modality}" if modality in _OTHERS else "another modality"
        raise InputError(f"is of {which}, not a radiograph; remove it from the films")
    display = describe_display(dataset)
    _check_square(dataset)
    orientation = [str(each).strip().upper() for each in dataset.get("PatientOrientation") or ()]
    codes = [str(item.get("CodeValue") or "") for item in dataset.get("ViewCodeSequence") or ()]
    view = name_view(str(dataset.get("ViewPosition") or ""), codes, orientation)
    turn = find_turn(orientation)
    shape = str(dataset.get("PresentationLUTShape") or "").strip().upper()
    low_is_white = dataset.PhotometricInterpretation == "MONOCHROME1"
    intent = str(dataset.get("PresentationIntentType") or "").strip().upper()
    notes = {
        "inverted": display.inverse,
        "contradicts": shape == ("IDENTITY" if low_is_white else "INVERSE"),
        "windowless": display.is_deep,
        "windows": has_several_windows(dataset),
        "turned": turn is not None and any(turn),
        "position_unknown": turn is None,
        "view_unknown": view == UNKNOWN,
        "unprocessed": intent == "FOR PROCESSING",
    }
    return DicomHeader(
        display=display,
        view=view,
        turn=turn,
        notes=frozenset(name for name, is_so in notes.items() if is_so),
        patient=str(dataset.get("PatientID") or "").strip(),
    )


def _check_square(dataset: Dataset) -> None:
    """Refuses pixels that are wider than high, or higher than wide."""
    for keyword in ("PixelAspectRatio", "ImagerPixelSpacing", "PixelSpacing"):
        sides = [float(each) for each in dataset.get(keyword) or ()]
        if len(sides) == 2 and abs(sides[0] - sides[1]) > _SAME * max(sides):
            raise InputError(
                f"has pixels that are not square ({keyword}); resample it to square ones first"
            )


def _read_words(dataset: Dataset) -> np.ndarray:
    if "PixelData" not in dataset:
        raise InputError("is a DICOM file that holds no picture; remove it from the films")
    _, is_little_endian = dataset.original_encoding
    return read_words(dataset, is_little_endian=bool(is_little_endian))


def _measure(display: Display, words: np.ndarray) -> ValueRange:
    """Of a film without window and VOI LUT."""
    values, counts = picture_values(display, words)
    _check_not_flat(values)
    lut = display.modality
    stored_bits = display.words.bits_stored if lut is None else lut.bits
    return range_of_counts(values, counts, stored_bits=stored_bits)


def _check_not_flat(values: np.ndarray) -> None:
    if len(values) < 2:
        raise InputError(
            "has one grey value everywhere, apart from padding; replace it by the film, or remove "
            "it"
        )


def _check_grey(display: Display, words: np.ndarray, grey: np.ndarray) -> None:
    """Refuses a film of one value, and a window that leaves a few grey values of many."""
    counts = np.array(Image.fromarray(grey).histogram())
    if display.padding is not None:
        counts[0] = 0
    shown = np.count_nonzero(counts)
    if shown >= _FEW:
        return
    values, _ = picture_values(display, words)
    _check_not_flat(values)
    if len(values) >= 2 * _FEW or shown < 2:
        raise InputError(
            f"has {shown} grey values after its window or VOI LUT; save it as PNG with a window "
            "that shows the film, or remove it"
        )
