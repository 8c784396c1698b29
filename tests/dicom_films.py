"""DICOM files as modalities and archives write them, made on the fly."""

from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)
ENCODERS = {  # of words of so many bits
    uid.JPEGBaseline8Bit: lambda words, bits: imagecodecs.jpeg8_encode(words, 100),
    uid.JPEGExtended12Bit: lambda words, bits: imagecodecs.jpeg8_encode(
        words, 100, bitspersample=bits
    ),
    uid.JPEGLossless: lambda words, bits: imagecodecs.jpeg8_encode(
        words, lossless=True, predictor=4, bitspersample=bits
    ),
    uid.JPEGLosslessSV1: lambda words, bits: imagecodecs.jpeg8_encode(
        words, lossless=True, predictor=1, bitspersample=bits
    ),
    uid.JPEGLSLossless: lambda words, bits: imagecodecs.jpegls_encode(words),
    uid.JPEGLSNearLossless: lambda words, bits: imagecodecs.jpegls_encode(words, level=1),
    uid.JPEG2000Lossless: lambda words, bits: imagecodecs.jpeg2k_encode(
        words, level=0, codecformat="j2k", reversible=True, bitspersample=bits
    ),
    uid.JPEG2000: lambda words, bits: imagecodecs.jpeg2k_encode(
        words, level=80, codecformat="j2k", reversible=False, bitspersample=bits
    ),
    uid.HTJ2KLossless: lambda words, bits: imagecodecs.htj2k_encode(words, reversible=True),
}


def gradient(bits: int, *, height: int = 48, width: int = 56, signed: bool = False) -> np.ndarray:
    """Values over nearly the whole range of so many bits, every row and column different."""
    rows, columns = np.mgrid[0:height, 0:width]
    unit = (0.5 * rows / height + 0.4 * columns / width) * 0.98 + 0.1 * np.sin(rows * columns / 40)
    values = np.clip(unit, 0, 1) * (2**bits - 1)
    return np.rint(values).astype(np.int64) - (2 ** (bits - 1) if signed else 0)


def lut(first: int, entries: np.ndarray, bits: int, *, as_bytes: bool = False) -> Dataset:
    """An item of a sequence of look-up tables."""
    item = Dataset()
    vr = "SS" if first < 0 else "US"
    item.add_new("LUTDescriptor", vr, [len(entries) % 2**16, first, bits])
    if as_bytes:
        item.add_new("LUTData", "OW", entries.astype("u1").tobytes())
    else:
        item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return item


def write_dicom(
    path: Path,
    values: np.ndarray,
    *,
    bits: int,
    allocated: int = 0,
    signed: bool = False,
    syntax: str = uid.ExplicitVRLittleEndian,
    high_bits: int = 0,
    preamble: bool = True,
    without: tuple[str, ...] = (),
    **elements: object,
) -> Path:
    """Writes a film.

    Args:
      values: as stored [height, width].
      bits: stored.
      allocated: bits; 0: 8 or 16, as needed.
      signed: PixelRepresentation.
      syntax: transfer syntax.
      high_bits: what lies in the bits above those stored, as old overlays do.
      preamble: whether the file begins as the standard has it.
      without: elements that it lacks.
      **elements: further ones, by keyword; LUT sequences as items.
    """
    allocated = allocated or (8 if bits <= 8 else 16)
    dtype = f"u{allocated // 8}"
    words = (values & (2**bits - 1)).astype(dtype) | np.array(high_bits << bits, dtype)
    dataset = Dataset()
    dataset.SOPClassUID = uid.DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = uid.generate_uid(entropy_srcs=[path.name])
    dataset.Modality, dataset.PatientID, dataset.PatientName = "DX", path.stem, "Nobody^Known"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = words.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    for keyword, value in elements.items():
        if keyword.startswith("PixelPadding"):
            dataset.add_new(keyword, "SS" if value < 0 else "US", value)
        else:
            value = Sequence([value]) if isinstance(value, Dataset) else value
            setattr(dataset, keyword, value)
    _set_pixels(dataset, words, syntax, bits=bits)
    for keyword in without:
        delattr(dataset, keyword)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    if not preamble:
        path.write_bytes(path.read_bytes()[132:])
    return path


def _set_pixels(dataset: Dataset, words: np.ndarray, syntax: str, *, bits: int) -> None:
    syntax = uid.UID(syntax)
    if syntax == uid.RLELossless:
        dataset.PixelData = words.tobytes()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        dataset.compress(uid.RLELossless, generate_instance_uid=False)
    elif syntax.is_encapsulated:
        dataset.PixelData = encapsulate([bytes(ENCODERS[syntax](words, bits))])
        dataset["PixelData"].VR = "OB"
    else:
        data = words.tobytes() + b"\0" * (words.nbytes % 2)
        if not syntax.is_little_endian:
            data = np.frombuffer(data, "u2").byteswap().tobytes()
        dataset.PixelData = data
        dataset["PixelData"].VR = "OW"


def rewrite(path: Path, pixels: bytes, syntax: str, *, vr: str = "OB") -> Path:
    """Puts other pixels into a file, as they lie there."""
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = pixels
    dataset["PixelData"].VR = vr
    dataset["PixelData"].is_undefined_length = uid.UID(syntax).is_encapsulated
    dataset.save_as(path)
    return path
