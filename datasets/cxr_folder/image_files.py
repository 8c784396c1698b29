"""One image file -> one 8-bit grey square, or an InputError that says why not.

Films arrive as 8-bit grey, but also as palette, RGBA, CMYK, rotated by an EXIF tag, or with
more than 8 bits per pixel. All become the picture that a viewer would show:

* An EXIF orientation is applied, transparent pixels lie over black, colour becomes luma; of a
  TIFF in which white is zero the negative is taken.
* More than 8 bits become 8 by a `Scale` for all films of a source, see `depth`.
* DICOM is shown as its header says, see `dicom`.
* Squares are cut from the centre (`square="crop"`) or padded with black (`"pad"`): anatomy is
  never stretched.
"""

import dataclasses
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

from cxr_jax.datasets.cxr_folder.depth import Scale, ValueRange, measure_range, own_scale
from cxr_jax.datasets.cxr_folder.dicom import read_dicom_grey, read_dicom_range
from cxr_jax.datasets.cxr_folder.dicom_files import is_dicom
from cxr_jax.datasets.cxr_folder.reading_warnings import guard
from cxr_jax.errors import InputError

MIN_SIDE = 16  # pixels; anything smaller is an icon or an accident, never a radiograph
SQUARES = ("crop", "pad")

_DEEP_MODES = {"I;16", "I;16L", "I;16B", "I;16N", "I", "F"}
# Named, so that no file can start one of Pillow's decoders that call other programs.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM")
_SAME_SHAPE = 0.02  # relative difference of two aspect ratios that a resizing's rounding explains
_FEW_VALUES = 8  # grey values of a mask whose values are names of parts: left lung, right lung
_LEAST_LUNG, _MOST_LUNG = 0.02, 0.9  # of the picture; drawn masks of 460 films have 0.17 to 0.69


def read_grey(path: Path, scale: Scale | None = None) -> Image.Image:
    """Reads an image file, or a DICOM film, as 8-bit grey ("L") at its own width and height.

    Args:
      path: of the file.
      scale: of deep films, one for all of a source; None: by this film's own values.
    """

    def convert(image: Image.Image) -> Image.Image:
        values = _oriented_grey_values(image)
        if values.dtype == np.uint8:
            return Image.fromarray(values)
        grey = (scale or own_scale(measure_range(values)))(values)
        return Image.fromarray(255 - grey if _white_is_zero(image) else grey)

    if is_dicom(path):
        image = Image.fromarray(read_dicom_grey(path, scale))
    else:
        image = _open(path, convert)
    if min(image.size) < MIN_SIDE:
        raise InputError(
            f"{path}: is {image.width}x{image.height} pixels, too small for a radiograph "
            f"(at least {MIN_SIDE}x{MIN_SIDE}); replace or remove it"
        )
    _check_not_flat(path, *image.getextrema())
    return image


def read_range(path: Path) -> ValueRange | None:
    """The values that a deep film has; None of one with 8 bits, which is read as it is.

    None, too, of a DICOM film that says how its values become 8 bits.
    """
    if is_dicom(path):
        return read_dicom_range(path)

    def measure(image: Image.Image) -> ValueRange | None:
        if image.mode not in _DEEP_MODES:
            return None
        values = _oriented_grey_values(image)
        _check_not_flat(path, values.min(), values.max())
        return measure_range(values)

    return _open(path, measure, decode=False)


@dataclasses.dataclass(frozen=True)
class LungMask:
    """A lung mask as 0/255 ("L") at the size of its film, and how it was stored."""

    image: Image.Image
    has_parts: bool  # several grey values above zero, each of them lung
    is_resized: bool


def read_lung_mask(path: Path, film_size: tuple[int, int]) -> LungMask:
    """Reads a lung mask for a film of (width, height) pixels.

    Of a few grey values every one above zero is lung, so that 0/1, 0/255, 0/1/2 and 0/127/255 mean
    both lungs. Of more, as JPEG and resizing make them, whatever is brighter than a quarter of the
    brightest. A mask of another size is resized.

    Raises:
      InputError: if its shape is not its film's, or it covers too little or too much for lungs.
    """
    if is_dicom(path):
        raise InputError(f"{path}: is a DICOM file; save the lung mask as PNG")
    values = _open(path, _oriented_grey_values)
    num_values = len(np.unique(values))
    few = num_values <= _FEW_VALUES
    lung = values > (0 if few else values.max() / 4)
    height, width = lung.shape
    if abs(width * film_size[1] / (height * film_size[0]) - 1) > _SAME_SHAPE:
        raise InputError(
            f"{path}: the lung mask is {width}x{height} pixels but its film is "
            f"{film_size[0]}x{film_size[1]}; save the mask in the film's shape"
        )
    if not lung.any():
        raise InputError(f"{path}: the lung mask is all zero; draw the lungs or remove the file")
    if not _LEAST_LUNG <= lung.mean() <= _MOST_LUNG:
        raise InputError(
            f"{path}: the lung mask covers {lung.mean():.1%} of the picture, which lungs do not "
            f"({_LEAST_LUNG:.0%} to {_MOST_LUNG:.0%}); draw the lungs or remove the file"
        )
    mask = Image.fromarray(lung.astype(np.uint8) * 255)
    return LungMask(
        image=mask.resize(film_size, Image.Resampling.NEAREST),
        has_parts=few and num_values > 2,
        is_resized=mask.size != tuple(film_size),
    )


def fit_film(film: Image.Image, size: int, square: str = "crop") -> Image.Image:
    """Makes a grey film [height, width] a square of `size` pixels, antialiased."""
    return _fit_square(film, size, square, Image.Resampling.LANCZOS)


def fit_lung_mask(mask: Image.Image, size: int, square: str = "crop") -> Image.Image:
    """Cuts a 0/255 mask exactly as its film: lung where at least half of a pixel's area is."""
    covered = _fit_square(mask, size, square, Image.Resampling.BOX)
    return covered.point(lambda value: 255 if value > 127 else 0)


def square_box(size: tuple[int, int], square: str) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a film's square, within it ("crop") or around it ("pad").

    Args:
      size: width and height of the film.
    """
    width, height = size
    if square == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
    else:
        side = max(width, height)
        left, top = -((side - width) // 2), -((side - height) // 2)
    return left, top, left + side, top + side


def _fit_square(
    image: Image.Image, size: int, square: str, resampling: Image.Resampling
) -> Image.Image:
    """Resizes the centre square ("crop"), or the whole over black ("pad"), to `size` pixels."""
    left, top, right, bottom = square_box(image.size, square)
    if square == "crop":
        return image.resize((size, size), resampling, box=(left, top, right, bottom))
    canvas = Image.new("L", (right - left, bottom - top), 0)
    canvas.paste(image, (-left, -top))
    return canvas.resize((size, size), resampling)


def _open(path: Path, convert, decode: bool = True):
    """Returns convert(image); every failure becomes an InputError.

    Args:
      path: of the file.
      convert: of an open image.
      decode: read the pixels first; else `convert` reads them, if it needs them.
    """
    data = _read_bytes(path)
    try:
        # Pillow only warns between one and two times its limit; the guard has both refused.
        with guard, Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            _check_single_picture(path, image)
            _check_byte_order(path, image)
            if decode:
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
    return data


def _what_it_is_instead(data: bytes) -> str:
    """Says what bytes that are no image look like, and what to do."""
    try:
        data[:1024].decode("ascii")
    except UnicodeDecodeError:
        return "is not an image that can be read here; save it as PNG or JPEG, or remove it"
    return "is text, not an image, whatever its name says; replace it by the image or remove it"


def _check_not_flat(path: Path, low: float, high: float) -> None:
    if low == high:
        raise InputError(
            f"{path}: has the one grey value {low:g} everywhere; replace it by the film, or remove "
            "it"
        )


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


def _white_is_zero(image: Image.Image) -> bool:
    """Whether a deep TIFF is stored as a negative; Pillow turns those of 8 bits itself."""
    if image.format != "TIFF" or image.mode not in _DEEP_MODES:
        return False
    return image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0


def _check_byte_order(path: Path, image: Image.Image) -> None:
    """Refuses compressed TIFFs whose bytes Pillow (12.3) would take in the wrong order."""
    if image.format != "TIFF" or image.mode not in ("I", "F"):
        return
    if image.tag_v2.prefix == b"MM" and image.info.get("compression", "raw") != "raw":
        raise InputError(
            f"{path}: is a compressed big-endian TIFF of {image.mode} values, which cannot be read "
            "here; save it as 16-bit PNG, or as TIFF without compression"
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
