"""A whole folder -> encoded squares by split, and a report of all that was left out.

Everything is read and checked here, before anything is written. The price is memory for one
PNG-encoded copy of the squares (not of the films): about 3 KB each at 64 pixels.
"""

import collections
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cxr_jax.datasets.cxr_folder.depth import Scale, ValueRange, choose_scales
from cxr_jax.datasets.cxr_folder.dicom import DicomHeader
from cxr_jax.datasets.cxr_folder.dicom_notes import (
    LATERAL_VIEWS,
    DicomFilms,
    find_lateral,
    may_be_deep,
    read_headers,
    refuse_lateral,
)
from cxr_jax.datasets.cxr_folder.film_checks import find_redrawn, is_mask_like, make_thumbnail
from cxr_jax.datasets.cxr_folder.folder_listing import (
    FilmListing,
    digest_files,
    digest_folder,
    list_folder,
)
from cxr_jax.datasets.cxr_folder.folder_report import make_report
from cxr_jax.datasets.cxr_folder.header_patients import add_patients, name_patients
from cxr_jax.datasets.cxr_folder.image_files import (
    SQUARES,
    fit_film,
    fit_lung_mask,
    read_grey,
    read_lung_mask,
    read_range,
)
from cxr_jax.datasets.cxr_folder.in_threads import read_each
from cxr_jax.datasets.cxr_folder.metadata import FilmTable, read_films
from cxr_jax.datasets.cxr_folder.splits import (
    SPLITS,
    Film,
    assign_splits,
    by_source,
    check_splits,
    draw_validation,
)
from cxr_jax.errors import InputError

_MOST = 0.5  # of a class's films: if more are none, its folder is no class


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """How a folder is read; an InputError if nothing can be read like that.

    Attributes:
      size: side of the squares in pixels.
      positive_class: name of the class folder with label 1.
      negative_classes: names of those with label 0; empty: all other folders.
      split_column: the metadata's column with the split; "" splits by patient.
      skip_unreadable: leave unreadable films out, and report them, instead of raising.
      square: "crop" the centre square or "pad" with black.
      bits: of the detector, for films of more than 8; 0: decided for each source, see `depth`.
      lateral_views: what becomes of DICOM films of other views, one of `LATERAL_VIEWS`.
    """

    size: int
    positive_class: str
    negative_classes: tuple[str, ...]
    split_column: str
    skip_unreadable: bool
    square: str
    bits: int
    lateral_views: str

    def __post_init__(self):
        if self.size < 1:
            raise InputError(
                f"size={self.size}: the images' side must be a positive number of pixels"
            )
        if self.square not in SQUARES:
            raise InputError(f"square={self.square!r} is unknown; use one of {', '.join(SQUARES)}")
        if self.bits and not 8 <= self.bits <= 16:
            raise InputError(
                f"bits={self.bits}: a detector has 8 to 16 bits; 0 reads them off the films"
            )
        if self.lateral_views not in LATERAL_VIEWS:
            raise InputError(
                f"lateral_views={self.lateral_views!r} is unknown; use one of "
                f"{', '.join(LATERAL_VIEWS)}"
            )


@dataclasses.dataclass(frozen=True)
class Square:
    """What one film becomes: PNG bytes of 8-bit grey squares."""

    image: bytes
    lung_mask: bytes | None  # None where the film has no mask
    enlarged: bool  # the film was smaller than the square
    thumbnail: np.ndarray  # see `make_thumbnail`
    lung_share: float  # of the square; 0 without a mask
    mask_notes: frozenset[str]  # "parts", "resized": see `LungMask`


class _MaskLike(InputError):
    """A picture with a mask's few grey values."""


@dataclasses.dataclass(frozen=True)
class FolderContents:
    """All films of a folder by split, and the report (JSON types only; see `make_report`)."""

    splits: dict[str, list[tuple[Film, Square]]]
    report: dict


def content_digest(folder: Path, positive_class: str, negative_classes: Sequence[str] = ()) -> str:
    """SHA-256 over the names and bytes of all files that are used."""
    return digest_folder(digest_files(list_folder(folder, positive_class, negative_classes)))


def read_contents(folder: Path, reading: Reading, expected_digest: str) -> FolderContents:
    """Reads and checks the folder; raises InputError at the first thing that cannot be used.

    Args:
      folder: the user's folder, see `folder_listing`.
      reading: how.
      expected_digest: the `content_digest` under which the result will be stored.
    """
    listing = list_folder(folder, reading.positive_class, reading.negative_classes)
    table = read_films(listing, reading.positive_class, reading.split_column)
    where = str(listing.metadata_path if listing.has_metadata else folder)
    return read_listed(listing, table, reading, where=where, expected_digest=expected_digest)


def read_listed(
    listing: FilmListing,
    table: FilmTable,
    reading: Reading,
    *,
    where: str,
    expected_digest: str,
) -> FolderContents:
    """Reads and checks the listed films, however they were found.

    Args:
      listing: films and masks.
      table: what is known of the films.
      reading: how.
      where: what says so, for messages.
      expected_digest: the `digest_folder` of the listing when it was first made.
    """
    positive_class = reading.positive_class
    table, dicom = _read_headers(listing, table, lateral_views=reading.lateral_views)
    films = draw_validation(table.films)
    # Checked before the pixels, which take long, and again for what skipping left.
    check_splits(assign_splits(films), where, positive_class)
    used = [film.filename for film in films]
    ranges = _read_ranges(listing, used, dicom.headers)
    scales = _choose_scales(listing.folder, films, ranges, bits=reading.bits)
    squares, skipped = _read_squares(listing, used, reading, scales=scales, headers=dicom.headers)
    _check_no_drawings(listing, squares)
    if skipped and not reading.skip_unreadable:
        raise InputError(_describe_unreadable(list(skipped.values())))
    kept = assign_splits([film for film in films if film.filename in squares])
    check_splits(kept, where, positive_class)
    digests = digest_files(listing)
    if digest_folder(digests) != expected_digest:
        raise InputError(
            f"{listing.folder}: was changed while it was read; run again when it is complete"
        )
    splits = {
        split: [(film, squares[film.filename]) for film in kept if film.split == split]
        for split in SPLITS
    }
    report = make_report(
        listing,
        table,
        kept,
        positive_class=positive_class,
        squares=squares,
        skipped=skipped,
        digests=digests,
        ranges=ranges,
        scales=scales,
        dicom=dicom,
    )
    return FolderContents(splits, report)


def _read_headers(
    listing: FilmListing, table: FilmTable, *, lateral_views: str
) -> tuple[FilmTable, DicomFilms]:
    """The table without films that are left out, with the headers' patients; and the headers."""
    headers = read_headers({name: listing.film_path(name) for name in listing.films})
    left_out = find_lateral(headers) if lateral_views == "leave_out" else []
    patients, one_for_all = name_patients(headers)
    films = [film for film in table.films if film.filename not in left_out]
    return (
        dataclasses.replace(table, films=add_patients(films, patients)),
        DicomFilms(headers=headers, left_out=left_out, one_patient_for_all=one_for_all),
    )


def _read_ranges(
    listing: FilmListing, names: Sequence[str], headers: Mapping[str, DicomHeader]
) -> dict[str, ValueRange]:
    """Of the deep films that can be read, the grey values that they have."""
    # Reading the pixels of those that cannot will say why, and stop or count it.
    asked = may_be_deep(names, headers)
    found = read_each(lambda name: read_range(listing.film_path(name)), asked, "grey values")
    return {name: of_film for name, of_film in found if isinstance(of_film, ValueRange)}


def _choose_scales(
    folder: Path, films: Iterable[Film], ranges: Mapping[str, ValueRange], *, bits: int
) -> dict[str, Scale]:
    """Returns {filename: scale} of the deep films, see `choose_scales`."""
    scales = {}
    for source, of_source in by_source(films, ranges).items():
        where = f"{folder}, source {source!r}" if source else str(folder)
        scales |= choose_scales(of_source, where, bits=bits)
    return scales


def _read_squares(
    listing: FilmListing,
    names: Sequence[str],
    reading: Reading,
    *,
    scales: Mapping[str, Scale],
    headers: Mapping[str, DicomHeader],
) -> tuple[dict[str, Square], dict[str, str]]:
    """Returns ({filename: square}, {filename: why it cannot be used})."""
    refused = set(find_lateral(headers)) if reading.lateral_views == "refuse" else set()
    turned = {name for name, header in headers.items() if header.is_turned}

    def read(name: str) -> Square:
        if name in refused:
            raise refuse_lateral(listing.film_path(name))
        if name in turned and name in listing.lung_masks:
            raise InputError(
                f"{listing.film_path(name)}: is turned by its PatientOrientation, and whether its "
                "lung mask is too cannot be known; save both upright, as PNG"
            )
        return _read_square(listing, name, scales.get(name), reading=reading)

    squares, skipped, masks = {}, {}, collections.Counter()
    for name, square in read_each(read, names, "reading"):
        if isinstance(square, InputError):
            skipped[name] = str(square)
            masks[listing.films[name].class_name] += isinstance(square, _MaskLike)
        else:
            squares[name] = square
    _check_no_class_of_masks(listing, masks)
    return squares, skipped


def _check_no_class_of_masks(listing: FilmListing, masks: Mapping[str, int]) -> None:
    """Refuses a class whose pictures are masks, most of them."""
    counts = collections.Counter(place.class_name for place in listing.films.values())
    for class_name, number in masks.items():
        if number > _MOST * counts[class_name]:
            raise InputError(
                f"{listing.folder}: {number} of {counts[class_name]} pictures of {class_name}/ "
                "have a mask's few grey values, so it is no class of films; move it out (lung "
                "masks into lung_masks/), or name the negative classes (data.negative_classes)"
            )


def _check_no_drawings(listing: FilmListing, squares: Mapping[str, Square]) -> None:
    """Refuses two classes that show the same films under the same numbers.

    A film that is byte for byte another's copy is reported, as are copies under other names.
    """
    by_classes = collections.defaultdict(list)
    for one, other in listing.namesakes:
        if one in squares and other in squares and squares[one].image != squares[other].image:
            classes = listing.films[one].class_name, listing.films[other].class_name
            by_classes[classes].append((one, other))
    thumbnails = {name: square.thumbnail for name, square in squares.items()}
    for classes, pairs in by_classes.items():
        redrawn = find_redrawn(thumbnails, pairs)
        if len(redrawn) > _MOST * len(pairs):
            raise InputError(
                f"{listing.folder}: {classes[0]}/ and {classes[1]}/ show {len(redrawn)} films in "
                f"common, such as {redrawn[0][0]} and {redrawn[0][1]}; if one holds drawings or "
                "copies move it out, or name the negative classes (data.negative_classes)"
            )


def _read_square(
    listing: FilmListing, name: str, scale: Scale | None, *, reading: Reading
) -> Square:
    film = read_grey(listing.film_path(name), scale)
    if is_mask_like(film):
        raise _MaskLike(
            f"{listing.film_path(name)}: has a mask's few grey values; move it into lung_masks/ "
            "under its film's own path, or remove it"
        )
    size, square = reading.size, reading.square
    lung_mask, lung_share, notes = None, 0.0, []
    if name in listing.lung_masks:
        full_mask = read_lung_mask(listing.lung_mask_path(name), film.size)
        notes = ["parts"] * full_mask.has_parts + ["resized"] * full_mask.is_resized
        fitted_mask = fit_lung_mask(full_mask.image, size, square)
        lung_mask, lung_share = encode_png(fitted_mask), float(np.asarray(fitted_mask).mean() / 255)
    fitted = fit_film(film, size, square)
    return Square(
        image=encode_png(fitted),
        lung_mask=lung_mask,
        enlarged=(min(film.size) if square == "crop" else max(film.size)) < size,
        thumbnail=make_thumbnail(fitted),
        lung_share=lung_share,
        mask_notes=frozenset(notes),
    )


def encode_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _describe_unreadable(reasons: Sequence[str]) -> str:
    """One line that names the first unreadable film, and how many more there are."""
    more = f" ({len(reasons) - 1} more films cannot be read)" if len(reasons) > 1 else ""
    return f"{reasons[0]}{more}; or set skip_unreadable to leave such films out"
