"""The stored words of a DICOM film's one frame, whatever the transfer syntax.

Compressed ones are decoded by imagecodecs: one package for all of them, permissively licensed, and
it lets other threads run meanwhile.
"""

from collections.abc import Callable

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import UID, ImplicitVRLittleEndian, UID_dictionary

from cxr_jax.errors import InputError

_JPEG, _JPEG_LS = "jpeg8_decode", "jpegls_decode"
_JPEG_2000, _HTJ2K = "jpeg2k_decode", "htj2k_decode"
_CODECS = {
    "1.2.840.10008.1.2.4.50": _JPEG,  # baseline
    "1.2.840.10008.1.2.4.51": _JPEG,  # extended: 8 and 12 bits
    "1.2.840.10008.1.2.4.57": _JPEG,  # lossless
    "1.2.840.10008.1.2.4.70": _JPEG,  # lossless, first predictor
    "1.2.840.10008.1.2.4.80": _JPEG_LS,
    "1.2.840.10008.1.2.4.81": _JPEG_LS,  # near-lossless
    "1.2.840.10008.1.2.4.90": _JPEG_2000,  # lossless
    "1.2.840.10008.1.2.4.91": _JPEG_2000,
    "1.2.840.10008.1.2.4.201": _HTJ2K,  # lossless
    "1.2.840.10008.1.2.4.202": _HTJ2K,  # lossless, by resolutions
    "1.2.840.10008.1.2.4.203": _HTJ2K,
}
_RLE = "1.2.840.10008.1.2.5"
_END = b"\xff\xd9"  # of every codestream but RLE's


def read_words(dataset: Dataset, *, is_little_endian: bool) -> np.ndarray:
    """The words of the frame as they are stored [rows, columns], uint8 or uint16.

    Args:
      dataset: with its pixels, one sample each, of 8 or 16 allocated bits.
      is_little_endian: of words that are not compressed.

    Raises:
      InputError: without the file's name: if they are fewer than the header says, or compressed in
        a way that is not read here.
    """
    shape = (int(dataset.Rows), int(dataset.Columns))
    dtype = np.dtype(f"u{int(dataset.BitsAllocated) // 8}")
    syntax = syntax_of(dataset)
    if syntax.is_encapsulated:
        return _decode(syntax, get_frame(dataset.PixelData, 0, number_of_frames=1), shape, dtype)
    data, count = dataset.PixelData, shape[0] * shape[1]
    if len(data) < count * dtype.itemsize:
        raise InputError("its pixels are cut off")
    if is_little_endian or (dtype.itemsize == 1 and dataset["PixelData"].VR == "OB"):
        return np.frombuffer(data, dtype, count).reshape(shape)
    # Of a big-endian file single bytes, too, are written as words of two.
    words = np.frombuffer(data, ">u2", len(data) // 2).astype("<u2")
    return words.view(dtype)[:count].reshape(shape)


def syntax_of(dataset: Dataset) -> UID:
    """The transfer syntax; the oldest where a file has no header of its own."""
    meta = getattr(dataset, "file_meta", {})
    return UID(meta.get("TransferSyntaxUID") or ImplicitVRLittleEndian)


def _decode(syntax: UID, frame: bytes, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """The words of one compressed frame."""
    known = UID_dictionary.get(syntax)  # a UID of somebody's own is not repeated
    name = known[0] if known else "an unknown transfer syntax"
    if syntax == _RLE:
        words = np.frombuffer(imagecodecs.dicomrle_decode(frame, dtype), dtype)
        if words.size < shape[0] * shape[1]:
            raise InputError("its pixels are cut off")
        return words[: shape[0] * shape[1]].reshape(shape)
    if syntax not in _CODECS:
        raise InputError(
            f"is compressed as {name}, which is not read here; decompress it first, for example "
            "with `dcmdjpeg` or `gdcmconv --raw`"
        )
    if not frame.rstrip(b"\0\xff").endswith(_END):  # filled up to an even length
        raise InputError("its compressed pixels are cut off")
    try:
        decode = getattr(imagecodecs, _CODECS[syntax])
        return _decode_stream(decode, frame, shape, itemsize=dtype.itemsize)
    except ImportError:
        raise InputError(
            f"is compressed as {name}, for which this installation has no decoder; "
            "`pip install imagecodecs`"
        ) from None


def _decode_stream(
    decode: Callable, frame: bytes, shape: tuple[int, int], *, itemsize: int
) -> np.ndarray:
    """Into an array of the header's size, so that no stream can ask for more memory."""
    for size in range(
        itemsize, 0, -1
    ):  # values of few bits come in one byte, whatever is allocated
        try:
            words = np.empty(shape, f"u{size}")
            return decode(frame, out=words).astype(f"u{itemsize}", copy=False)
        except ValueError:
            continue
    raise InputError("its compressed picture is not of the size and kind that its header says")
