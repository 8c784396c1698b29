"""Which files are DICOM, told by their first bytes; none of pydicom is needed for that."""

import zlib
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from cxr_jax.errors import InputError

DICOM_SUFFIXES = (".dcm", ".dicom", ".dic")
INDEX_NAME = "dicomdir"  # what the index of a medium is called, in any case
_MARK = b"DICM"  # at byte 128
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")  # with which a file without that mark begins
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_GROUP_LENGTH = b"\x02\x00\x00\x00UL\x04\x00"
_HEADER = 64 * 2**20  # bytes that a deflated file may hold beside its pixels
_BLOCK = 2**20


def is_dicom(path: Path) -> bool:
    """Whether a file says DICOM: by its ending, or by the mark at byte 128."""
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == _MARK
    except OSError:
        return False


def looks_like_dicom(start: bytes) -> bool:
    """Whether a file that is named so may be one, by its first 132 bytes.

    Old ones have no mark: they begin with an element of group 2 or 8 with a low number.
    """
    return start[128:132] == _MARK or (start[:2] in _FIRST_GROUPS and start[3:4] in (b"\0", b"\1"))


def check_inflates(data: Sequence[int]) -> None:
    """Refuses a deflated file that would be larger than any film's.

    Args:
      data: the whole file.

    Raises:
      InputError: without the file's name.
    """
    if _DEFLATED not in data[:4096]:
        return
    if data[132:140] != _GROUP_LENGTH:
        raise InputError("is a damaged DICOM file (deflated); replace it by an intact copy")
    start = 144 + int.from_bytes(data[140:144], "little")
    left = 2 * Image.MAX_IMAGE_PIXELS + _HEADER
    stream, waiting = zlib.decompressobj(-zlib.MAX_WBITS), data[start:]
    while waiting and not stream.eof:
        left -= len(stream.decompress(waiting, _BLOCK))
        waiting = stream.unconsumed_tail
        if left < 0:
            raise InputError("is deflated, and far larger than a film; remove it")
