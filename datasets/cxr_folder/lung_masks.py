"""Which lung mask belongs to which film: told by names.

A mask has its film's own path, or the same path but for folders `images` and `masks`, the ending,
and a suffix such as `_mask`; or, where masks lie together in one folder, its film's name alone.
"""

import collections
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from cxr_jax.datasets.cxr_folder.layouts import IMAGE_FOLDERS, MASK_FOLDERS, squash
from cxr_jax.errors import InputError

_SUFFIX = re.compile(r"[ _\-.]*(lungs?)?[ _\-.]*masks?$", re.IGNORECASE)


def bare_stem(name: str) -> str:
    """The last part of a path without its ending and without a mask's suffix, in lower case."""
    stem = PurePosixPath(name).stem
    return (_SUFFIX.sub("", stem) or stem).casefold()


def is_mask_name(name: str) -> bool:
    """Whether a file is named as a mask: `x_mask.png`."""
    return bare_stem(name) != PurePosixPath(name).stem.casefold()


def match_masks(
    films: Iterable[str], masks: Iterable[str], where: str
) -> tuple[dict[str, str], list[str]]:
    """Returns ({film: mask}, masks of no film), all as paths relative to the user's folder.

    Raises:
      InputError: if a mask may belong to several films, or a film has several masks, or there are
        masks and none has a film.
    """
    masks = sorted(masks)
    by_path, by_name = _index(films, _film_key), _index(films, bare_stem)
    found: dict[str, str] = {}
    unmatched = []
    for mask in masks:
        film = _film_of(mask, by_path, by_name)
        if film is None:
            unmatched.append(mask)
            continue
        if film in found:
            raise InputError(
                f"{where}/{mask}: {film} has another mask, {found[film]}; one mask holds both "
                "lungs, so join them or keep one"
            )
        found[film] = mask
    if masks and not found:
        raise InputError(
            f"{where}: none of its {len(masks)} masks, such as {masks[0]}, has a film's name; name "
            f"each mask as its film, such as lung_masks/{min(films)}"
        )
    return found, unmatched


def _film_of(
    mask: str, by_path: Mapping[str, list[str]], by_name: Mapping[str, list[str]]
) -> str | None:
    key = _film_key(mask)
    candidates = by_path.get(key, [])
    if not candidates and "/" not in key:  # masks of all classes in one folder
        candidates = by_name.get(key, [])
    exact = [film for film in candidates if PurePosixPath(film).name == PurePosixPath(mask).name]
    candidates = exact or candidates
    if len(candidates) > 1:
        raise InputError(
            f"{mask}: may be the mask of {candidates[0]} or of {candidates[1]}; put it into "
            "lung_masks/ under its film's own path"
        )
    return candidates[0] if candidates else None


def _index(films: Iterable[str], key) -> dict[str, list[str]]:
    index = collections.defaultdict(list)
    for film in films:
        index[key(film)].append(film)
    return index


def _film_key(name: str) -> str:
    """A path without folders of images and masks, without ending and suffix."""
    folders = [
        part
        for part in PurePosixPath(name).parts[:-1]
        if squash(part) not in IMAGE_FOLDERS | MASK_FOLDERS
    ]
    return "/".join([*folders, bare_stem(name)])
