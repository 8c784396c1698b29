"""What is no film, and what is a film's negative, though it can be read."""

import collections
from collections.abc import Iterable, Mapping

import numpy as np
from PIL import Image

THUMBNAIL = 16  # pixels a side, enough for lungs darker than what is around them
# Correlation with the mean film of the other classes. Of 1,412 films two in a hundred were below
# 0.34, one was below 0.
_NEGATIVE = -0.5
_REDRAWN = 0.97  # correlation of two pictures of one film; 500,000 pairs of two had 0.966 at most
_NEAR = 8  # grey levels that JPEG adds to a mask's values
_BRIGHT = 64  # grey levels; a mask's values lie apart
_NEARLY_ALL = 0.97  # of the pixels; of 1,412 films at most 0.54 are so near those values


def is_mask_like(image: Image.Image) -> bool:
    """Whether a grey picture ("L") has a mask's few values: black, white and perhaps one between.

    Those that JPEG and resizing blur are known by nearly all pixels being near such a value.
    """
    counts = np.array(image.histogram())
    values = np.flatnonzero(counts)
    if len(values) <= 3:
        return True
    top, levels = values[-1], np.arange(256)
    distance = np.min([np.abs(levels - value) for value in (0, top / 2, top)], axis=0)
    return bool(top >= _BRIGHT and counts[distance <= _NEAR].sum() >= _NEARLY_ALL * counts.sum())


def make_thumbnail(image: Image.Image) -> np.ndarray:
    """A grey square as [256] float32 of mean 0 and length 1."""
    small = image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    values = np.asarray(small, np.float32).ravel()
    values = values - values.mean()
    return values / max(float(np.linalg.norm(values)), 1e-6)


def find_negatives(
    thumbnails: Mapping[str, np.ndarray], class_of: Mapping[str, str]
) -> dict[str, list[str]]:
    """Returns {class: films that look like a negative of the other classes' mean film}."""
    by_class = collections.defaultdict(list)
    for name in thumbnails:
        by_class[class_of[name]].append(name)
    found = {}
    for class_name, names in by_class.items():
        others = [thumbnails[name] for name in thumbnails if class_of[name] != class_name]
        if not others:
            continue
        mean = np.mean(others, axis=0)
        mean = mean / max(float(np.linalg.norm(mean)), 1e-6)
        negatives = [name for name in names if float(thumbnails[name] @ mean) < _NEGATIVE]
        if negatives:
            found[class_name] = negatives
    return found


def find_redrawn(
    thumbnails: Mapping[str, np.ndarray], pairs: Iterable[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Those pairs of names whose pictures show one film: a drawing over it, or an enhanced copy."""
    return [
        (one, other)
        for one, other in pairs
        if float(thumbnails[one] @ thumbnails[other]) > _REDRAWN
    ]
