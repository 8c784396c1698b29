"""A whole folder -> encoded squares by split, and a report of all that was left out.

Everything is read and checked here, before anything is written. The price is memory for one
PNG-encoded copy of the squares (not of the films): about 3 KB each at 64 pixels.
"""

import collections
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from cxr_jax.datasets.cxr_folder.folder_listing import (
    FolderListing,
    digest_files,
    digest_folder,
    list_folder,
)
from cxr_jax.datasets.cxr_folder.image_files import (
    fit_film,
    fit_lung_mask,
    read_grey,
    read_lung_mask,
)
from cxr_jax.datasets.cxr_folder.metadata import Film, read_films
from cxr_jax.datasets.cxr_folder.splits import SPLITS, assign_splits, check_splits, count_films
from cxr_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Square:
    """What one film becomes: PNG bytes of 8-bit grey squares."""

    image: bytes
    lung_mask: bytes | None  # None where the film has no mask
    enlarged: bool  # the film was smaller than the square


@dataclasses.dataclass(frozen=True)
class FolderContents:
    """All films of a folder by split, and the report (JSON types only; see `_make_report`)."""

    splits: dict[str, list[tuple[Film, Square]]]
    report: dict


def content_digest(folder: Path, positive_class: str) -> str:
    """SHA-256 over the names and bytes of all files that are used."""
    return digest_folder(digest_files(list_folder(folder, positive_class)))


def read_contents(
    folder: Path,
    *,
    size: int,
    positive_class: str,
    split_column: str,
    skip_unreadable: bool,
    square: str,
    expected_digest: str,
) -> FolderContents:
    """Reads and checks the folder; raises InputError at the first thing that cannot be used.

    Args:
      folder: the user's folder, see `folder_listing`.
      size: side of the squares in pixels.
      positive_class: name of the class folder with label 1.
      split_column: the metadata's column with the split; "" splits by patient.
      skip_unreadable: leave unreadable films out, and report them, instead of raising.
      square: "crop" or "pad", see `image_files`.
      expected_digest: the `content_digest` under which the result will be stored.
    """
    listing = list_folder(folder, positive_class)
    films = read_films(listing, positive_class, split_column)
    where = str(listing.metadata_path if listing.has_metadata else folder)
    # Checked before the pixels, which take long, and again for what skipping left.
    check_splits(assign_splits(films), where, positive_class)
    squares, skipped = _read_squares(listing, films, size, square)
    if skipped and not skip_unreadable:
        raise InputError(_describe_unreadable(list(skipped.values())))
    kept = assign_splits([film for film in films if film.filename in squares])
    check_splits(kept, where, positive_class)
    digests = digest_files(listing)
    if digest_folder(digests) != expected_digest:
        raise InputError(f"{folder}: was changed while it was read; run again when it is complete")
    splits = {
        split: [(film, squares[film.filename]) for film in kept if film.split == split]
        for split in SPLITS
    }
    return FolderContents(splits, _make_report(listing, kept, squares, skipped, digests))


def _read_squares(
    listing: FolderListing, films: Sequence[Film], size: int, square: str
) -> tuple[dict[str, Square], dict[str, str]]:
    """Returns ({filename: square}, {filename: why it cannot be read})."""
    squares, skipped = {}, {}
    for film in films:
        try:
            squares[film.filename] = _read_square(listing, film.filename, size, square)
        except InputError as error:
            skipped[film.filename] = str(error)
    return squares, skipped


def _read_square(listing: FolderListing, filename: str, size: int, square: str) -> Square:
    film = read_grey(listing.film_path(filename))
    lung_mask = None
    if filename in listing.lung_masks:
        full_mask = read_lung_mask(listing.lung_mask_path(filename), film.size)
        lung_mask = encode_png(fit_lung_mask(full_mask, size, square))
    enlarged = (min(film.size) if square == "crop" else max(film.size)) < size
    return Square(encode_png(fit_film(film, size, square)), lung_mask, enlarged)


def encode_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _describe_unreadable(reasons: Sequence[str]) -> str:
    """One line that names the first unreadable film, and how many more there are."""
    more = f" ({len(reasons) - 1} more films cannot be read)" if len(reasons) > 1 else ""
    return f"{reasons[0]}{more}; or set skip_unreadable to leave such films out"


def _make_report(
    listing: FolderListing,
    kept: Sequence[Film],
    squares: Mapping[str, Square],
    skipped: Mapping[str, str],
    digests: Mapping[str, str],
) -> dict:
    """What became of every file, for the caller to show.

    Keys:
      films: how many are used.
      splits: {split: {"negative": n, "positive": n}}.
      skipped: [{"filename", "reason"}], the unreadable ones.
      ignored: names of files that are no film of a class.
      enlarged: names of films smaller than the square.
      unknown_patient: how many films have neither patient nor group: a patient each.
      with_lung_mask: how many films have a lung mask.
      copies: names of films whose bytes equal those of a film in another split or class.
    """
    return {
        "films": len(kept),
        "splits": count_films(kept),
        "skipped": [{"filename": name, "reason": why} for name, why in skipped.items()],
        "ignored": list(listing.ignored),
        "enlarged": [film.filename for film in kept if squares[film.filename].enlarged],
        "unknown_patient": sum(film.group.startswith("file:") for film in kept),
        "with_lung_mask": sum(film.filename in listing.lung_masks for film in kept),
        "copies": _find_copies(kept, digests),
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
