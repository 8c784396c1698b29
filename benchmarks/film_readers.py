"""A reader of films in a process of its own, that reads them when it is told to; see `protocol.py`.

python -m benchmarks.film_readers NAME FOLDER SIZE

FOLDER has films of two classes, `covid` and `normal`. Ours read them with all checks: `films` as
they are read to be explained, `folder` as a data set is prepared (digests before and after, splits
and the report). `skimage` and `pillow` are what a tutorial writes: film by film by pydicom, its
lookups applied, and resized by scikit-image or by Pillow.
"""

import functools
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from benchmarks.protocol import WARM_UPS, say, serve
from cxr_jax import api
from cxr_jax.cores import count_cores
from cxr_jax.datasets.cxr_folder import make_config
from cxr_jax.datasets.cxr_folder.folder_contents import read_contents


def read_films(folder: Path, size: int) -> np.ndarray:
    """Squares of the films, as they are read to be explained."""
    return np.concatenate([api.read_films(folder / name, size)[0] for name in ("covid", "normal")])


def read_folder(folder: Path, size: int) -> dict:
    """The squares of a data set by split, as they are written."""
    config = make_config(folder, size=size)
    return read_contents(folder, config.reading, config.digest).splits


def film_by_film(folder: Path, size: int, resize: Callable) -> np.ndarray:
    """Squares [n, size, size] uint8, by `resize(values, size)`."""
    return np.stack(
        [to_byte(resize(shown_values(path), size)) for path in sorted(folder.rglob("*.dcm"))]
    )


def shown_values(path: Path) -> np.ndarray:
    """A film's values after both lookups, upright, cut to a square."""
    film = pydicom.dcmread(path)
    values = apply_voi_lut(apply_modality_lut(film.pixel_array, film), film)
    if film.PhotometricInterpretation == "MONOCHROME1":
        values = values.max() - values
    side = min(values.shape)
    top, left = (length - side for length in values.shape)
    return values[top // 2 : top // 2 + side, left // 2 : left // 2 + side]


def to_byte(values: np.ndarray) -> np.ndarray:
    """From the least to the greatest, as 0 to 255."""
    return np.rint((values - values.min()) * (255 / np.ptp(values))).astype(np.uint8)


def by_skimage(values: np.ndarray, size: int) -> np.ndarray:
    """As scikit-image's documentation makes pictures smaller."""
    transform = importlib.import_module("skimage.transform")
    return transform.resize(values, (size, size), anti_aliasing=True)


def by_pillow(values: np.ndarray, size: int) -> np.ndarray:
    """Of the 8-bit picture, as ours."""
    picture = Image.fromarray(to_byte(values))
    return np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS), float)


READERS = {
    "films": read_films,
    "folder": read_folder,
    "skimage": functools.partial(film_by_film, resize=by_skimage),
    "pillow": functools.partial(film_by_film, resize=by_pillow),
}


def main(argv: Sequence[str]) -> None:
    """Reads all films twice, and then again whenever it is told to."""
    name, folder, size = argv
    films = len(list(Path(folder).rglob("*.dcm")))
    step = functools.partial(READERS[name], Path(folder), int(size))
    try:
        for _ in range(WARM_UPS):
            step()
    except ModuleNotFoundError as missing:
        say({"ready": False, "reason": f"{missing.name} is not installed: {missing}"})
        return
    say({"ready": True, "images": films, "repeats": 1, "devices": f"{count_cores()} cores"})
    serve(step, sys.stdin)


if __name__ == "__main__":
    main(sys.argv[1:])
