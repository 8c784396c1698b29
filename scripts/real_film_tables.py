"""Writes the tables by which configs/covid.py:cpu128 and configs/nih.py read real films in place.

python scripts/real_film_tables.py --root=FOLDER --out=FOLDER

ROOT holds `data` (metadata.csv, films, lung masks) and `truth` (films that radiologists have
marked), as docs/data.md describes them. Nothing is copied: the tables name films below ROOT.

covid.csv: the films of `data` in its own splits, but for those of patients in `truth`.
nih.csv: the films of `truth/nih` against the No Finding films of `data`, all of one hospital; where
`truth` has them.
Patients with boxes are tested, and half of those whose boxes are kept back, so that there are
patients for both whom nobody has learned from. All other splits are by a hash of the patient.
"""

import argparse
import csv
import hashlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

Row = Mapping[str, str]

COLUMNS = ("filename", "label", "patient", "split", "source", "lung_mask")
NO_BOXES = ("", "[]")
# Of patient 191 in truth/covid, as pacemaker and catheters tell; no list has them.
UNLISTED = ("covid/cxnet_228.png", "covid/cxnet_229.png")
OF_ANNOTATIONS = ("filename", "patient_id", "rsna_boxes", "nih_boxes", "truth", "shared_film")
OF_DATA = ("filename", "label", "source", "patient_id", "group_id", "split", "has_lung_mask")
TESTED_WITHHELD = 0.5  # of the patients whose boxes are kept back
TESTED_NEGATIVE = 0.2  # of those without a positive film
VALIDATED = 0.125  # of all others


def stop(line: str) -> NoReturn:
    """Ends as every command here does: one line, status 2."""
    print(f"{Path(__file__).name}: {line}", file=sys.stderr)
    raise SystemExit(2)


def read_rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of a table that has these columns; ends in a line where it does not."""
    if not path.is_file():
        stop(f"{path} is missing; see docs/data.md")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    for column in columns:
        if column not in (reader.fieldnames or ()):
            stop(f"{path} has no column {column!r}; see docs/data.md")
    return rows


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)


def covid_rows(data: Sequence[Row], excluded: set[str]) -> list[Row]:
    """The films of `data` that are not excluded; groups are what must not be torn apart."""
    return [
        {
            "filename": f"data/{row['filename']}",
            "label": row["label"],
            "patient": row["group_id"] or row["patient_id"],
            "split": row["split"],
            "source": row["source"],
            "lung_mask": f"data/lung_masks/{row['filename']}"
            if row["has_lung_mask"] == "1"
            else "",
        }
        for row in data
        if row["filename"] not in excluded
    ]


def nih_rows(annotations: Sequence[Row]) -> list[Row]:
    """Films of one hospital, positive (of `truth`) and negative (of `data`), split by patient."""
    positive = [row for row in annotations if row["filename"]]
    negative = [row for row in annotations if row["shared_film"] and not row["filename"]]
    columns = ("rsna_boxes", "nih_boxes")
    boxed = {r["patient_id"] for r in positive if any(r[c] not in NO_BOXES for c in columns)}
    withheld = {row["patient_id"] for row in positive if row["truth"] == "withheld"}
    ill = {row["patient_id"] for row in positive}

    def split(patient: str) -> str:
        if patient in boxed:
            return "test"
        tested = TESTED_WITHHELD if patient in withheld else 0.0
        tested = tested if patient in ill else TESTED_NEGATIVE
        if share_of(patient) < tested:
            return "test"
        return "val" if share_of(f"{patient} validates") < VALIDATED else "train"

    return [
        {
            "filename": f"truth/nih/{row['filename']}"
            if label == "pneumonia"
            else f"data/{row['shared_film']}",
            "label": label,
            "patient": row["patient_id"],
            "split": split(row["patient_id"]),
            "source": "NIH",
        }
        for label, rows in (("pneumonia", positive), ("no_finding", negative))
        for row in rows
    ]


def share_of(text: str) -> float:
    """A number in [0, 1) that is the same wherever the text is hashed."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, type=Path, help="holds data and truth")
    parser.add_argument("--out", required=True, type=Path, help="folder of the tables")
    given = parser.parse_args(argv)
    data, truth = given.root / "data", given.root / "truth"
    listed = truth / "exclude_from_training.txt"
    if not listed.is_file():
        stop(f"{listed} is missing; write an empty one if none is to go")
    lines = listed.read_text().splitlines()
    excluded = {line.strip() for line in lines if line.strip()} | {*UNLISTED}
    tables = {"covid.csv": covid_rows(read_rows(data / "metadata.csv", OF_DATA), excluded)}
    if (truth / "nih").is_dir():
        annotations = read_rows(truth / "nih" / "annotations.csv", OF_ANNOTATIONS)
        tables["nih.csv"] = nih_rows(annotations)
    given.out.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        write_rows(given.out / name, rows)
        print(f"{given.out / name}: {len(rows)} films")


if __name__ == "__main__":
    main(sys.argv[1:])
