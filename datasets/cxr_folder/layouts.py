"""What the folders that a file lies in say of it: class, split, patient, picture or mask.

By names alone, in any case and with any separators; each rule is told where it was used:

    CLASS/film.png               a film of the class
    train|val|test/CLASS/…       the split, where every folder at the top is one; val may be missing
    CLASS/images/film.png        `images` (image, img, films) is no patient
    CLASS/masks/film.png         the film's lung mask (masks, mask, lung_masks)
    CLASS/PATIENT/STUDY/film.png any other sub-folder of a class is a patient, whatever lies below
    lung_masks/CLASS/film.png    the film's lung mask, beside the classes
"""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from cxr_jax.errors import InputError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
IMAGE_FOLDERS = {"images", "image", "imgs", "img", "films", "film", "xrays", "xray"}
LUNG_MASK_FOLDERS = {"lungmasks", "lungmask"}
MASK_FOLDERS = LUNG_MASK_FOLDERS | {"masks", "mask"}  # inside a class
DEEPEST = 8  # folders in folders; a link to a folder above would never end


@dataclasses.dataclass(frozen=True)
class Place:
    """What a film's folders say of it; the patient is empty, the split None, if they do not."""

    class_name: str
    patient: str = ""
    split: str | None = None


@dataclasses.dataclass(frozen=True)
class ClassFolder:
    """One folder of films of one class; of one split too, where folders are splits."""

    path: Path
    split: str | None

    @property
    def name(self) -> str:
        return self.path.name


@dataclasses.dataclass(frozen=True)
class TopLevel:
    """The folders from which everything is read, and the names of what is not used.

    Attributes:
      classes: of the classes that count.
      masks: of lung masks.
      ignored: names that are not used.
      found: names of all folders that might be classes.
    """

    classes: tuple[ClassFolder, ...]
    masks: tuple[Path, ...]
    ignored: tuple[str, ...]
    found: tuple[str, ...]


def squash(name: str) -> str:
    """A name without case and separators: `Lung_Masks`, `lung masks` and `LungMasks` are one."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def is_junk(name: str) -> bool:
    """Archivers and editors leave files and folders such as __MACOSX and .ipynb_checkpoints."""
    return name.startswith((".", "__"))


def sort_top_level(
    folder: Path, positive_class: str, negative_classes: Sequence[str], known: Sequence[str]
) -> TopLevel:
    """Sorts the folder's entries.

    Args:
      folder: the user's folder.
      positive_class: name of the class folder with label 1.
      negative_classes: names of those with label 0; empty: all others.
      known: names of files that are read otherwise.

    Raises:
      InputError: if folders of splits stand beside others.
    """
    folders, masks, ignored = _sort_entries(folder, known)
    splits = [path for path in folders if squash(path.name) in SPLIT_NAMES]
    if splits and positive_class not in {path.name for path in folders}:
        others = [path.name for path in folders if path not in splits]
        if others and not negative_classes:
            raise InputError(
                f"{folder}: {splits[0].name}/ is named as a split but stands beside {others[0]}/; "
                "put the classes into train/, val/ and test/ and everything else elsewhere, or "
                "name the negative classes (data.negative_classes)"
            )
        ignored += [f"{name}/" for name in others]
        classes = []
        for path in splits:
            inner, inner_masks, left = _sort_entries(path, ())
            split = SPLIT_NAMES[squash(path.name)]
            classes += [ClassFolder(inner_path, split) for inner_path in inner]
            masks += inner_masks
            ignored += [f"{path.name}/{name}" for name in left]
    else:
        classes = [ClassFolder(path, None) for path in folders]
    found = tuple(dict.fromkeys(each.name for each in classes))
    if negative_classes:
        named = {positive_class, *negative_classes}
        unnamed = [each.path for each in classes if each.name not in named]
        ignored += [f"{path.relative_to(folder).as_posix()}/" for path in unnamed]
        classes = [each for each in classes if each.name in named]
    _check_no_split_is_a_class(folder, classes, positive_class, negative_classes)
    return TopLevel(tuple(classes), tuple(masks), tuple(ignored), found)


def _check_no_split_is_a_class(
    folder: Path,
    classes: Sequence[ClassFolder],
    positive_class: str,
    negative_classes: Sequence[str],
) -> None:
    for each in classes:
        chosen = each.name == positive_class or each.name in negative_classes
        if each.split is None and squash(each.name) in SPLIT_NAMES and not chosen:
            raise InputError(
                f"{folder}: {each.name}/ is named as a split but stands beside the class "
                f"{positive_class!r}; put all classes into train/, val/ and test/, or name the "
                "negative classes (data.negative_classes)"
            )


def _sort_entries(folder: Path, known: Sequence[str]) -> tuple[list[Path], list[Path], list[str]]:
    """Returns (folders, mask folders, names of what is not used)."""
    folders, masks, ignored = [], [], []
    for path in list_entries(folder):
        if path.name in known:
            continue
        if not path.is_dir() or is_junk(path.name):
            ignored.append(path.name)
        elif squash(path.name) in LUNG_MASK_FOLDERS:
            masks.append(path)
        else:
            folders.append(path)
    return folders, masks, ignored


def list_entries(folder: Path) -> list[Path]:
    """What lies directly in a folder, sorted.

    Raises:
      InputError: if it cannot be read.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        _refuse(error)


def walk_files(root: Path) -> Iterator[Path]:
    """All files below a folder, sorted by path; also those behind links.

    Raises:
      InputError: if folders are nested without end.
    """
    for parent, folders, files in os.walk(root, followlinks=True, onerror=_refuse):
        folders.sort()
        if len(Path(parent).relative_to(root).parts) > DEEPEST:
            raise InputError(
                f"{parent}: folders are nested more than {DEEPEST} deep; move the films up, or "
                "remove a link that leads back"
            )
        yield from (Path(parent) / name for name in sorted(files))


def _refuse(error: OSError) -> None:
    raise InputError(
        f"{error.filename}: cannot be opened ({error.strerror}); allow reading it or remove it"
    ) from error


def is_mask_place(inside: PurePosixPath) -> bool:
    """Whether a path inside a class lies in a folder of masks."""
    return any(squash(part) in MASK_FOLDERS for part in inside.parts[:-1])


def patient_of(inside: PurePosixPath) -> str:
    """The patient that a path inside a class tells: its first folder that holds not just images."""
    folders = [part for part in inside.parts[:-1] if squash(part) not in IMAGE_FOLDERS]
    return folders[0] if folders else ""
