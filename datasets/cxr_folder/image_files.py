"""One image file -> one 8-bit grey square, or an InputError that says why not.

Films arrive as 8-bit grey, but also as palette, RGBA, CMYK, rotated by an EXIF tag, or with
more than 8 bits per pixel. All become the picture that a viewer would show:

* An EXIF orientation is applied, transparent pixels lie over black, colour becomes luma.
* More than 8 bits: the file does not record how many of its 16 bits the detector used, so the
  depth is read off the pixels: the smallest of 8, 10, 12, 14, 16 bits that holds their 99.9th
  percentile. Dropping the lower bits then gives exactly the 8-bit export of the same film. If
  the pixels cover less than a quarter of that range (or are floats, or negative), their 0.1-99.9
  percentiles are stretched to 0-255 instead, since dropping bits would leave nearly one grey.
* Squares are cut from the centre (`square="crop"`) or padded with black (`"pad"`): anatomy is
  never stretched.
"""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

from cxr_jax.errors import InputError

MIN_SIDE = 16  # pixels; anything smaller is an icon or an accident, never a radiograph
SQUARES = ("crop", "pad")

_DEEP_MODES = {"I;16", "I;16L", "I;16B", "I;16N", "I", "F"}
# Named, so that no file can start one of Pillow's decoders that call other programs.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM")
_DETECTOR_BITS = (8, 10, 12, 14, 16)
_DICOM_REMEDY = (
    "is a DICOM file: convert it to PNG first, for example "
    "`dcmj2pnm +on +Wm film.dcm film.png` (DCMTK; `dcm2img` in new versions)"
)


def read_grey(path: Path) -> Image.Image:
    """Reads an image file as 8-bit grey ("L") at its own width and height."""
    image = _open(path, lambda image: _to_8_bits(_oriented_grey_values(image)))
    if min(image.size) < MIN_SIDE:
        raise InputError(
            f"{path}: is {image.width}x{image.height} pixels, too small for a radiograph "
            f"(at least {MIN_SIDE}x{MIN_SIDE}); replace or remove it"
        )
    return image


def read_lung_mask(path: Path, film_size: tuple[int, int]) -> Image.Image:
    """Reads a lung mask as 0/255 ("L") at the size of its film, (width, height) in pixels.

    Lung is whatever is brighter than half of the mask's brightest pixel, so that 0/1, 0/255 and
    16-bit masks mean the same.
    """
    mask = _open(path, _oriented_grey_values)
    height, width = mask.shape
    if (width, height) != film_size:
        raise InputError(
            f"{path}: the lung mask is {width}x{height} pixels but its film is "
            f"{film_size[0]}x{film_size[1]}; save the mask at the film's size"
        )
    if mask.max() <= 0:
        raise InputError(f"{path}: the lung mask is all zero; draw the lungs or remove the file")
    return Image.fromarray((mask > mask.max() / 2).astype(np.uint8) * 255)


def is_dicom(path: Path) -> bool:
    """Whether the file says DICOM, by its ending or by the mark at byte 128."""
    if path.suffix.lower() in (".dcm", ".dicom"):
        return True
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def fit_film(film: Image.Image, size: int, square: str = "crop") -> Image.Image:
    """Makes a grey film [height, width] a square of `size` pixels, antialiased."""
    return _fit_square(film, size, square, Image.Resampling.LANCZOS)


def fit_lung_mask(mask: Image.Image, size: int, square: str = "crop") -> Image.Image:
    """Cuts a 0/255 mask exactly as its film: lung where at least half of a pixel's area is."""
    covered = _fit_square(mask, size, square, Image.Resampling.BOX)
    return covered.point(lambda value: 255 if value > 127 else 0)


def _fit_square(
    image: Image.Image, size: int, square: str, resampling: Image.Resampling
) -> Image.Image:
    """Resizes the centre square ("crop"), or the whole over black ("pad"), to `size` pixels."""
    width, height = image.size
    if square == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        box = (left, top, left + side, top + side)
        return image.resize((size, size), resampling, box=box)
    side = max(width, height)
    canvas = Image.new("L", (side, side), 0)
    canvas.paste(image, ((side - width) // 2, (side - height) // 2))
    return canvas.resize((size, size), resampling)


def _open(path: Path, convert):
    """Decodes the file and returns convert(image); every failure becomes an InputError."""
    data = _read_bytes(path)
    try:
        with warnings.catch_warnings():
            # Pillow only warns between one and two times its limit; here both are refused.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                _check_single_picture(path, image)
                image.load()
                _check_16_bit_colour(path, image, data)
                return convert(image)
    except InputError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        limit = Image.MAX_IMAGE_PIXELS // 1_000_000
        raise InputError(
            f"{path}: has more than {limit} million pixels, which no detector has; "
            "save it smaller or remove it"
        ) from None
    except Image.UnidentifiedImageError:
        raise InputError(f"{path}: {_what_it_is_instead(data)}") from None
    except Exception as error:  # Pillow's decoders raise nearly any type on broken bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path}: is damaged ({reason}); replace it by an intact copy or remove it"
        ) from error


def _read_bytes(path: Path) -> bytes:
    """Reads the whole file, refusing what Pillow would describe badly."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be opened ({error.strerror}); restore or remove it"
        ) from error
    if not data:
        raise InputError(f"{path}: is empty (0 bytes); replace it by an intact copy or remove it")
    if is_dicom(path):
        raise InputError(f"{path}: {_DICOM_REMEDY}")
    return data


def _what_it_is_instead(data: bytes) -> str:
    """Says what bytes that are no image look like, and what to do."""
    try:
        data[:1024].decode("ascii")
    except UnicodeDecodeError:
        return "is not an image that can be read here; save it as PNG or JPEG, or remove it"
    return "is text, not an image, whatever its name says; replace it by the image or remove it"


def _check_single_picture(path: Path, image: Image.Image) -> None:
    """Refuses stacks; a phone's MPO is a JPEG whose further pictures are previews."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise InputError(
            f"{path}: holds {frames} pictures; save the one radiograph as a file of its own"
        )


def _check_16_bit_colour(path: Path, image: Image.Image, data: bytes) -> None:
    """Refuses 16-bit colour files that do not use their upper bits.

    Pillow keeps only the upper 8 of 16 bits of colour, so 12-bit values would come out almost
    black. Those that use the full range are read rightly.
    """
    bits_per_channel = 8
    if image.format == "PNG":
        bits_per_channel = data[24]  # the header's bit depth
    elif image.format == "TIFF":
        bits_per_channel = max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (8,)))
    if bits_per_channel != 16 or image.mode in _DEEP_MODES:
        return
    brightest = max(high for _, high in image.convert("RGB").getextrema())
    if brightest < 64:
        raise InputError(
            f"{path}: is a 16-bit colour image that uses few of its bits, which cannot be read "
            "without loss; save it as 16-bit or 8-bit grey"
        )


def _oriented_grey_values(image: Image.Image) -> np.ndarray:
    """Returns the grey values [height, width], upright, in the depth the file has."""
    image = ImageOps.exif_transpose(image)
    if image.mode in _DEEP_MODES:
        return np.asarray(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    elif image.mode not in ("1", "L", "P", "RGB"):
        image = image.convert("RGB")
    return np.asarray(image.convert("L"))


def _to_8_bits(values: np.ndarray) -> Image.Image:
    """Turns grey values of any depth [height, width] into an "L" image."""
    if values.dtype == np.uint8:
        return Image.fromarray(values)
    if not np.isfinite(values).all():
        raise ValueError("pixels that are not finite numbers")
    low, high = np.percentile(values, (0.1, 99.9))
    bits = next((bits for bits in _DETECTOR_BITS if high < 2**bits), None)
    is_integer = np.issubdtype(values.dtype, np.integer)
    fills_range = bits is not None and low >= 0 and high - low >= 2**bits / 4
    if is_integer and (fills_range or low == high):
        grey = np.clip(values >> ((bits or 16) - 8), 0, 255)
    else:
        grey = np.clip(np.rint((values - low) * (255 / ((high - low) or 1))), 0, 255)
    return Image.fromarray(grey.astype(np.uint8))
