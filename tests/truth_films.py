"""A folder of marked films, as small as it can be, of the form that experiments/truth.py reads."""

import csv
import json
from pathlib import Path

import numpy as np
from film_folders import picture, save

from experiments.truth import READERS
from experiments.truth import ZONES as ZONE_NAMES

SIDE = 32
LUNGS = np.s_[4:28, 3:13], np.s_[4:28, 19:29]  # right and left, of eight rows a third
SCORES = {"senior": "012301", "junior": "123300"}


def mask_of(*places) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for place in places:
        mask[place] = 255
    return mask


def zone_row(film: str, **cells: str) -> dict[str, str]:
    """A film with scores, lungs and an opacity; `cells` replace some."""
    scores = {
        f"{reader}_{zone}": score
        for reader in READERS
        for zone, score in zip(ZONE_NAMES, SCORES[reader], strict=True)
    }
    said = {"film": film, "patient_id": film[0], "has_opacity_mask": "1", "lungs_from": "drawn"}
    return {**said, **scores, **cells}


def box_row(filename: str, **cells: str) -> dict[str, str]:
    """A film with one box in the middle of the picture, of a quarter of it."""
    said = {"filename": filename, "patient_id": filename[-16:-8], "nih_boxes": ""}
    return {**said, "rsna_boxes": json.dumps([[256, 256, 512, 512]]), **cells}


def write_table(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def make_truth(root: Path) -> Path:
    """Four covid films of three patients, a1 and a2 of one; two films of the NIH."""
    rows = [zone_row(f"{name}.png") for name in ("a1", "a2", "b1", "c1")]
    write_table(root / "covid" / "zones.csv", rows)
    for number, row in enumerate(rows):
        save(root / "covid" / "films" / row["film"], picture(number, SIDE, SIDE))
        save(root / "covid" / "lungs" / row["film"], mask_of(*LUNGS))
        opacity = mask_of(np.s_[4 : 12 + 8 * (number % 2), 3:13])  # of a sixth, or a third
        save(root / "covid" / "opacity" / row["film"], opacity)
    names = ("pneumonia/00000007_000.png", "pneumonia/00000008_001.png")
    write_table(root / "nih" / "annotations.csv", [box_row(name) for name in names])
    for number, name in enumerate(names):
        save(root / "nih" / name, picture(10 + number, SIDE, SIDE))
    (root / "exclude_from_training.txt").write_text("covid/x.png\n\n")
    return root
