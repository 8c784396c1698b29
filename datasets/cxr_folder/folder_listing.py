"""What lies in a user's folder: films by class, lung masks, and what is left aside.

    folder/covid/x.png  folder/normal/y.png      one sub-folder per class; see `layouts` for others
    folder/metadata.csv                          optional, see `metadata`
    folder/lung_masks/covid/x.png                optional, see `lung_masks`

Everything else is ignored, and listed so that it can be reported.
"""

import collections
import dataclasses
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from cxr_jax.datasets.cxr_folder.dicom_files import INDEX_NAME, is_dicom
from cxr_jax.datasets.cxr_folder.in_threads import read_each
from cxr_jax.datasets.cxr_folder.layouts import (
    ClassFolder,
    Place,
    is_junk,
    is_mask_place,
    list_entries,
    patient_of,
    sort_top_level,
    walk_files,
)
from cxr_jax.datasets.cxr_folder.lung_masks import bare_stem, is_mask_name, match_masks
from cxr_jax.errors import InputError

METADATA_NAME = "metadata.csv"
FILM_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pgm",
)  # fmt: skip
_ALIKE = 0.5  # of the smaller of two folders: names that both have beyond this are no accident


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilmListing:
    """The films and masks to be read, however they were found; names are relative to the folder."""

    folder: Path
    films: Mapping[str, Place]  # sorted by name, with forward slashes
    lung_masks: Mapping[str, str]  # {film: its mask}
    ignored: tuple[str, ...] = ()  # files and folders that are not used, to be reported
    namesakes: tuple[tuple[str, str], ...] = ()  # films of two classes that share a number as name
    tables: Mapping[str, Path]  # {name: file} of all that says which films are read, and as what

    def film_path(self, film: str) -> Path:
        return self.folder / film

    def lung_mask_path(self, film: str) -> Path:
        return self.folder / self.lung_masks[film]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FolderListing(FilmListing):
    """The files of a folder with one sub-folder for each class."""

    metadata_path: Path  # whether or not it is there

    @property
    def has_metadata(self) -> bool:
        return bool(self.tables)


def list_folder(
    folder: Path, positive_class: str, negative_classes: Sequence[str] = ()
) -> FolderListing:
    """Finds films, masks and metadata; an InputError where no two classes can be had.

    Args:
      folder: the user's folder.
      positive_class: name of the class folder with label 1.
      negative_classes: names of those with label 0; empty: all others.
    """
    _check_is_folder(folder)
    metadata_path = _find_metadata(folder)
    top = sort_top_level(folder, positive_class, negative_classes, (metadata_path.name,))
    _check_classes(folder, top.found, positive_class, negative_classes)
    films: dict[str, Place] = {}
    masks = [name for root in top.masks for name in _list_masks(folder, root)]
    ignored = list(top.ignored)
    for class_folder in top.classes:
        found, class_masks, left_aside = _list_class(folder, class_folder)
        films |= found
        masks += class_masks
        ignored += left_aside
    namesakes = () if negative_classes else _check_names_differ(folder, films)
    lung_masks, unmatched = match_masks(films, masks, str(folder))
    return FolderListing(
        folder=folder,
        films=dict(sorted(films.items())),
        lung_masks=lung_masks,
        ignored=tuple(sorted(ignored + unmatched)),
        metadata_path=metadata_path,
        namesakes=namesakes,
        tables={METADATA_NAME: metadata_path} if metadata_path.is_file() else {},
    )


def is_film_file(path: Path) -> bool:
    """Whether a file is a picture by its ending, or DICOM with or without one."""
    if path.name.casefold() == INDEX_NAME:
        return False
    return path.suffix.lower() in FILM_SUFFIXES or is_dicom(path)


def digest_files(listing: FilmListing) -> dict[str, str]:
    """Returns the SHA-256 of every file that is used, by its relative name."""
    paths = {name: listing.film_path(name) for name in listing.films}
    paths |= {mask: listing.folder / mask for mask in sorted(listing.lung_masks.values())}
    paths |= listing.tables
    return dict(read_each(lambda name: _digest_file(paths[name]), list(paths), "checksums"))


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


def _find_metadata(folder: Path) -> Path:
    """The table, whatever the case of its name."""
    found = [path for path in list_entries(folder) if path.name.casefold() == METADATA_NAME]
    if len(found) > 1:
        raise InputError(f"{found[0]}: stands beside {found[1].name}; keep one of them")
    return found[0] if found else folder / METADATA_NAME


def _check_classes(
    folder: Path, names: Sequence[str], positive_class: str, negative_classes: Sequence[str]
) -> None:
    found = ", ".join(names) or "none"
    if positive_class not in names:
        raise InputError(
            f"{folder}: has no class folder {positive_class!r} (sub-folders found: {found}); "
            "rename the folder of positive films or set positive_class"
        )
    for name in negative_classes:
        if name not in names or name == positive_class:
            raise InputError(
                f"{folder}: has no folder of negative films {name!r} (sub-folders found: {found}, "
                f"of which {positive_class!r} is positive); correct negative_classes"
            )
    if len(names) < 2:
        raise InputError(
            f"{folder}: has only the class {positive_class!r}; add a folder of negative films "
            "beside it, such as normal"
        )


def _list_masks(folder: Path, root: Path) -> list[str]:
    names = [path.relative_to(folder).as_posix() for path in walk_files(root)]
    for name in names:
        _check_name(name)
    return [name for name in names if not is_junk(PurePosixPath(name).name)]


def _list_class(
    folder: Path, class_folder: ClassFolder
) -> tuple[dict[str, Place], list[str], list[str]]:
    """Returns (films, masks, files left aside) of one class, named relative to the whole folder."""
    films: dict[str, Place] = {}
    masks, ignored = [], []
    for path in walk_files(class_folder.path):
        name = path.relative_to(folder).as_posix()
        inside = PurePosixPath(path.relative_to(class_folder.path).as_posix())
        _check_name(name)
        if any(is_junk(part) for part in inside.parts):
            ignored.append(name)
        elif not is_film_file(path):
            ignored.append(name)
        elif is_mask_place(inside):
            masks.append(name)
        else:
            films[name] = Place(class_folder.name, patient_of(inside), class_folder.split)
    masks += _masks_beside_films(films)
    films = {name: place for name, place in films.items() if name not in masks}
    if not films:
        raise InputError(
            f"{class_folder.path}: holds no image ({_some(ignored)}); put films in it, as PNG, "
            "JPEG or DICOM, or remove the folder, or name the classes that count "
            "(data.negative_classes)"
        )
    _check_patients_are_no_copies(folder, class_folder.path, films)
    return films, masks, ignored


def _masks_beside_films(films: Mapping[str, Place]) -> list[str]:
    """Those named as the mask of a film in the same folder: `x_mask.png` beside `x.png`."""
    keys = {
        (str(PurePosixPath(name).parent), PurePosixPath(name).stem.casefold()) for name in films
    }
    return [
        name
        for name in films
        if is_mask_name(name) and (str(PurePosixPath(name).parent), bare_stem(name)) in keys
    ]


def _check_patients_are_no_copies(
    folder: Path, class_path: Path, films: Mapping[str, Place]
) -> None:
    """Refuses a sub-folder that repeats the names of films of no patient: drawings over them.

    Not of DICOM films: see `_check_names_differ`.
    """
    direct = {bare_stem(name) for name, place in films.items() if not place.patient}
    for name, place in films.items():
        if place.patient and bare_stem(name) in direct and not is_dicom(folder / name):
            raise InputError(
                f"{class_path / place.patient}: {PurePosixPath(name).name} has the name of a film "
                "outside this folder, so it is no patient's folder; call it masks if it holds "
                "lung masks, or move it out of the data"
            )


def _check_names_differ(folder: Path, films: Mapping[str, Place]) -> tuple[tuple[str, str], ...]:
    """Refuses two classes whose films have the same names: masks and drawings are named as films.

    Numbers alone say nothing, nor do names of DICOM films; returns the pairs of films that have one
    in common.
    """
    films_of = collections.defaultdict(dict)
    for name, place in films.items():
        films_of[place.class_name].setdefault(bare_stem(name), name)
    namesakes = []
    for one, other in itertools.combinations(sorted(films_of), 2):
        shared = sorted(films_of[one].keys() & films_of[other].keys())
        # Every patient's first film may be called IM000001; nobody draws in DICOM.
        words = [
            name
            for name in shared
            if any(letter.isalpha() for letter in name)
            and not is_dicom(folder / films_of[one][name])
        ]
        smaller = min(len(films_of[one]), len(films_of[other]))
        if words and len(words) >= _ALIKE * smaller:
            raise InputError(
                f"{folder}: {one}/ and {other}/ have {len(words)} film names in common, such as "
                f"{words[0]}; if one holds masks or drawings move it out (lung masks into "
                "lung_masks/), or name the negative classes (data.negative_classes)"
            )
        namesakes += [(films_of[one][name], films_of[other][name]) for name in shared]
    return tuple(namesakes)


def _some(names: list[str]) -> str:
    """Says how many other files there are, with one as an example."""
    return f"{len(names)} other files" + (f", such as {names[0]}" if names else "")


def _check_name(name: str) -> None:
    """Names become text in the records and in one-line messages."""
    if not name.isprintable():  # control characters, or bytes that are not UTF-8
        raise InputError(f"{name!r}: has unreadable characters in its name; rename the file")
