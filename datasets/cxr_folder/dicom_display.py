"""What a DICOM header says of how stored values are shown -> `Display`."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset

from cxr_jax.datasets.cxr_folder.dicom_values import FUNCTIONS, Display, Lut, Window, Words
from cxr_jax.errors import InputError

_MONOCHROME = ("MONOCHROME1", "MONOCHROME2")


def describe_display(dataset: Dataset) -> Display:
    """Checks what a header says of its pixels, and reads how they are shown.

    Raises:
      InputError: without the file's name: if they are no single grey picture, or it is not said.
    """
    words = _read_layout(dataset)
    modality, slope, intercept = _read_modality(dataset, words)
    ends = words.range if modality is None else (0, 2**modality.bits - 1)
    is_negative = min(ends[0] * slope, ends[1] * slope) + intercept < 0
    shape = str(dataset.get("PresentationLUTShape") or "").strip().upper()
    return Display(
        words=words,
        modality=modality,
        slope=slope,
        intercept=intercept,
        voi=_read_voi(dataset, is_negative=is_negative),
        inverse=dataset.PhotometricInterpretation == "MONOCHROME1" or shape == "INVERSE",
        padding=_read_padding(dataset),
    )


def has_several_windows(dataset: Dataset) -> bool:
    """Whether there are alternatives to the window or VOI LUT that is taken."""
    luts = dataset.get("VOILUTSequence") or ()
    return len(luts or _numbers(dataset, "WindowCenter")) > 1


def _read_layout(dataset: Dataset) -> Words:
    """Of a single grey picture, how its values are stored."""
    if not dataset.get("Rows") or not dataset.get("Columns"):
        raise InputError("is a DICOM file that holds no picture; remove it from the films")
    if int(dataset.get("NumberOfFrames") or 1) != 1:
        raise InputError("holds several frames; save the one radiograph as a file of its own")
    if dataset.get("PhotometricInterpretation") not in _MONOCHROME or dataset.get(
        "SamplesPerPixel"
    ) not in (1, None):
        raise InputError(
            "is in colour, as screens are captured, not a film; save it as PNG if it is one"
        )
    if int(dataset.Rows) * int(dataset.Columns) > Image.MAX_IMAGE_PIXELS:
        limit = Image.MAX_IMAGE_PIXELS // 1_000_000
        raise InputError(
            f"has more than {limit} million pixels, which no detector has; save it smaller or "
            "remove it"
        )
    found = {}
    for keyword in ("BitsAllocated", "BitsStored", "PixelRepresentation"):
        if dataset.get(keyword) is None:
            raise InputError(f"has no {keyword} in its header; replace it by an intact copy")
        found[keyword] = int(dataset[keyword].value)
    allocated, stored = found["BitsAllocated"], found["BitsStored"]
    high_bit = dataset.get("HighBit")
    high_bit = stored - 1 if high_bit is None else int(high_bit)
    if allocated not in (8, 16) or not 1 <= stored <= high_bit + 1 <= allocated:
        raise InputError(
            "stores its values otherwise than in 8 or 16 bits (BitsAllocated, BitsStored, "
            "HighBit); save it as 16-bit PNG"
        )
    return Words(
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high_bit,
        signed=bool(found["PixelRepresentation"]),
    )


def _read_modality(dataset: Dataset, words: Words) -> tuple[Lut | None, float, float]:
    """(table, slope, intercept)."""
    sequence = dataset.get("ModalityLUTSequence")
    if sequence:
        return _read_lut(sequence[0], dataset, is_negative=words.signed), 1.0, 0.0
    slope = _first_number(dataset, "RescaleSlope", 1.0)
    intercept = _first_number(dataset, "RescaleIntercept", 0.0)
    if slope == 0:
        raise InputError("has a RescaleSlope of zero; replace it by an intact copy")
    return None, slope, intercept


def _read_voi(dataset: Dataset, *, is_negative: bool) -> Lut | Window | None:
    sequence = dataset.get("VOILUTSequence")
    if sequence:
        return _read_lut(sequence[0], dataset, is_negative=is_negative)
    if not _numbers(dataset, "WindowCenter") or not _numbers(dataset, "WindowWidth"):
        return None
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function not in FUNCTIONS:
        raise InputError(f"has a VOILUTFunction that is none of {', '.join(FUNCTIONS)}")
    width = _first_number(dataset, "WindowWidth", 0.0)
    if width < 1 if function == "LINEAR" else width <= 0:
        raise InputError(
            "has a WindowWidth that is no width; save it as PNG with a window that shows the film"
        )
    return Window(
        center=_first_number(dataset, "WindowCenter", 0.0), width=width, function=function
    )


def _read_padding(dataset: Dataset) -> tuple[int, int] | None:
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    return int(value), int(value if limit is None else limit)


def _read_lut(item: Dataset, dataset: Dataset, *, is_negative: bool) -> Lut:
    """A table.

    Args:
      item: of its sequence.
      dataset: around it, which knows the order of bytes.
      is_negative: whether the values that it maps may be negative.
    """
    count, first, bits = (int(each) for each in item.LUTDescriptor)
    count = count % 2**16 or 2**16
    first = first - 2**16 if is_negative and first >= 2**15 else first
    entries = _read_entries(item.LUTData, count, dataset)
    needed = max(int(entries.max()).bit_length(), 1)
    return Lut(first=first, bits=max(bits, needed), entries=entries)


def _read_entries(data: bytes | int | Sequence[int], count: int, dataset: Dataset) -> np.ndarray:
    """The entries as int64 [count]; those of 8 bits may lie in words or in bytes."""
    if isinstance(data, bytes):
        is_words = len(data) >= 2 * count
        order = "<" if dataset.original_encoding[1] else ">"
        entries = np.frombuffer(data, f"{order}u2" if is_words else "u1", count)
    else:
        entries = np.atleast_1d(np.array(data))[:count]
    if len(entries) < count:
        raise InputError("has a look-up table that is cut off (LUTData); replace it")
    return entries.astype(np.int64)


def _numbers(dataset: Dataset, keyword: str) -> list[float]:
    value = dataset.get(keyword)
    if value is None or value == "":
        return []
    return [float(each) for each in np.atleast_1d(np.array(value, dtype=object))]


def _first_number(dataset: Dataset, keyword: str, default: float) -> float:
    numbers = _numbers(dataset, keyword) or [default]
    if not math.isfinite(numbers[0]):
        raise InputError(f"has a {keyword} that is no number; replace it by an intact copy")
    return numbers[0]
