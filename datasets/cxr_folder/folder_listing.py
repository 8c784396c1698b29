"""What lies in a user's folder: films by class, lung masks, and what is left aside.

    folder/covid/x.png  folder/normal/y.png      one sub-folder per class, films directly in it
    folder/metadata.csv                          optional, see `metadata`
    folder/lung_masks/covid/x.png                optional, the film's relative name

Everything else is ignored, and listed so that it can be reported.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

from cxr_jax.datasets.cxr_folder.image_files import is_dicom
from cxr_jax.errors import InputError

METADATA_NAME = "metadata.csv"
LUNG_MASKS_NAME = "lung_masks"
FILM_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pgm",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class FolderListing:
    """The files of a folder, by what they are for; names are relative with forward slashes."""

    folder: Path
    films: tuple[str, ...]  # sorted
    lung_masks: frozenset[str]  # the films that have a mask
    ignored: tuple[str, ...]  # files and folders that are not used, to be reported
    has_metadata: bool

    def film_path(self, film: str) -> Path:
        return self.folder / film

    def lung_mask_path(self, film: str) -> Path:
        return self.folder / LUNG_MASKS_NAME / film

    @property
    def metadata_path(self) -> Path:
        return self.folder / METADATA_NAME


def list_folder(folder: Path, positive_class: str) -> FolderListing:
    """Finds films, masks and metadata; an InputError where no two classes can be had."""
    _check_is_folder(folder)
    class_folders, ignored = _sort_top_level(folder)
    _check_classes(folder, [path.name for path in class_folders], positive_class)
    films: list[str] = []
    for class_folder in class_folders:
        found, left_aside = _list_class(class_folder)
        films += found
        ignored += left_aside
    lung_masks, unmatched = _list_lung_masks(folder, frozenset(films))
    return FolderListing(
        folder=folder,
        films=tuple(sorted(films)),
        lung_masks=lung_masks,
        ignored=tuple(sorted(ignored + unmatched)),
        has_metadata=(folder / METADATA_NAME).is_file(),
    )


def digest_files(listing: FolderListing) -> dict[str, str]:
    """Returns the SHA-256 of every file that is used, by its relative name."""
    used = [(name, listing.film_path(name)) for name in listing.films]
    used += [
        (f"{LUNG_MASKS_NAME}/{name}", listing.lung_mask_path(name))
        for name in sorted(listing.lung_masks)
    ]
    if listing.has_metadata:
        used.append((METADATA_NAME, listing.metadata_path))
    return {name: _digest_file(path) for name, path in used}


def digest_folder(file_digests: Mapping[str, str]) -> str:
    """One digest for names and contents: equal exactly when the prepared data would be."""
    lines = "".join(f"{digest} {name}\0" for name, digest in sorted(file_digests.items()))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def _digest_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "unreadable"  # reading the film will say so, or skip it, by the user's choice


def _check_is_folder(folder: Path) -> None:
    if not folder.exists():
        raise InputError(f"{folder}: no such folder; check the path")
    if not folder.is_dir():
        raise InputError(
            f"{folder}: is a file, not a folder; give a folder with one sub-folder per class "
            "(an archive must be unpacked first)"
        )


def _sort_top_level(folder: Path) -> tuple[list[Path], list[str]]:
    """Splits the folder's entries into class folders and names that are not used."""
    class_folders, ignored = [], []
    for path in sorted(folder.iterdir()):
        if path.name in (METADATA_NAME, LUNG_MASKS_NAME):
            continue
        # Archivers and editors leave folders such as __MACOSX and .ipynb_checkpoints.
        if path.is_dir() and not path.name.startswith((".", "__")):
            class_folders.append(path)
        else:
            ignored.append(path.name)
    return class_folders, ignored


def _check_classes(folder: Path, names: list[str], positive_class: str) -> None:
    found = ", ".join(names) or "none"
    if positive_class not in names:
        raise InputError(
            f"{folder}: has no class folder {positive_class!r} (sub-folders found: {found}); "
            "rename the folder of positive films or set positive_class"
        )
    if len(names) < 2:
        raise InputError(
            f"{folder}: has only the class {positive_class!r}; add a folder of negative films "
            "beside it, such as normal"
        )


def _list_class(class_folder: Path) -> tuple[list[str], list[str]]:
    """Returns (films, files left aside) of one class, as names relative to the whole folder."""
    films, ignored = [], []
    for path in sorted(class_folder.iterdir()):
        name = f"{class_folder.name}/{path.name}"
        _check_name(name)
        if path.name.startswith((".", "__")):
            ignored.append(name)
        elif path.is_dir():
            # Not walked into: public archives keep masks in such sub-folders.
            raise InputError(
                f"{path}: is a folder inside a class folder; move its films up into "
                f"{class_folder.name}/ (or out of the data, if they are masks)"
            )
        elif path.suffix.lower() in FILM_SUFFIXES or is_dicom(path):
            films.append(name)
        else:
            ignored.append(name)
    if not films:
        raise InputError(
            f"{class_folder}: holds no image ({_some(ignored)}); put films in it, as PNG or JPEG, "
            "or remove the folder"
        )
    return films, ignored


def _some(names: list[str]) -> str:
    """Says how many other files there are, with one as an example."""
    return f"{len(names)} other files" + (f", such as {names[0]}" if names else "")


def _check_name(name: str) -> None:
    """Names become text in the records and in one-line messages."""
    if not name.isprintable():  # control characters, or bytes that are not UTF-8
        raise InputError(f"{name!r}: has unreadable characters in its name; rename the file")


def _list_lung_masks(folder: Path, films: frozenset[str]) -> tuple[frozenset[str], list[str]]:
    """Returns (films that have a mask, mask files that belong to no film)."""
    root = folder / LUNG_MASKS_NAME
    if not root.is_dir():
        return frozenset(), []
    names = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    if names and not names & films:
        raise InputError(
            f"{root}: none of its {len(names)} files has a film's name; name each mask as its "
            f"film, such as {LUNG_MASKS_NAME}/{min(films)}"
        )
    return frozenset(names & films), [f"{LUNG_MASKS_NAME}/{name}" for name in names - films]
