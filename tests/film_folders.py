"""Folders of films as users have them, and what the builder makes of them."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_jax.datasets.cxr_folder import make_builder

SIZE = 16  # pixels, of the prepared squares
FILM_SIDE = 32  # pixels, of the files written here


def picture(seed: int = 0, height: int = FILM_SIDE, width: int = FILM_SIDE) -> np.ndarray:
    """A grey picture, uint8 [height, width], with every row and column different."""
    rows, columns = np.mgrid[0:height, 0:width]
    return ((rows * 5 + columns * 3 + seed * 7) % 200 + 20).astype(np.uint8)


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def make_folder(root: Path, per_class: int = 10) -> Path:
    """A good folder without metadata: `per_class` films in covid/ and in normal/."""
    for c, name in enumerate(("covid", "normal")):
        for i in range(per_class):
            save(root / name / f"{i:02d}.png", picture(100 * c + i))
    return root


def write_metadata(folder: Path, rows: list[dict]) -> Path:
    path = folder / "metadata.csv"
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def metadata_rows(per_class: int = 10) -> list[dict]:
    """Rows for `make_folder`: two films a patient, 6/2/2 films a class."""
    splits = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    return [
        {
            "filename": f"{name}/{i:02d}.png",
            "label": name,
            "patient_id": f"{name}-{i // 2}",
            "split": splits[i],
        }
        for name in ("covid", "normal")
        for i in range(per_class)
    ]


def prepare(folder: Path, data_dir: Path, **fields):
    builder = make_builder(folder, data_dir, **{"size": SIZE, **fields})
    builder.download_and_prepare()
    return builder


def examples(builder) -> dict[str, list[dict]]:
    """{split: examples}, with the bytes of texts decoded."""
    found = {}
    for split in ("train", "validation", "test"):
        found[split] = [
            {k: v.decode() if isinstance(v, bytes) else v for k, v in example.items()}
            for example in builder.as_data_source(split)
        ]
    return found


def filenames(builder) -> dict[str, set[str]]:
    return {split: {e["filename"] for e in rows} for split, rows in examples(builder).items()}


def assert_one_line_naming(error: pytest.ExceptionInfo, *words: str) -> None:
    message = str(error.value)
    assert "\n" not in message and message.strip() == message
    for word in words:
        assert word in message, f"{word!r} is not in: {message}"
