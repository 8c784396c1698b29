"""How fast are DICOM films read, beside pydicom and scikit-image film by film?

Films of 2,000 x 2,000 pixels, 12 bits, uncompressed, with a window, become squares of 128 pixels.
Each reader is a process of its own; all are ready together and take rounds in turn, so that what
else the machine does hits them all. The files are in the disk's cache. A rate is the median of the
rounds, with the least and the most; a ratio that of the rounds' own ratios.
"""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from benchmarks.interleave import Entrant, Timed, race
from benchmarks.throughput import describe, ratio, tell
from experiments.markdown import table
from experiments.results import ROOT
from experiments.study import Flag, Options, Study

ROWS = {
    "to be explained": "films",
    "as a data set": "folder",
    "pydicom and scikit-image, film by film": "skimage",
    "pydicom and Pillow, film by film": "pillow",
}
RATIOS = {  # which row's films/s over which
    "reading_vs_skimage": ("to be explained", "pydicom and scikit-image, film by film"),
    "reading_vs_pillow": ("to be explained", "pydicom and Pillow, film by film"),
    "preparing_vs_skimage": ("as a data set", "pydicom and scikit-image, film by film"),
    "preparing_vs_pillow": ("as a data set", "pydicom and Pillow, film by film"),
}
BITS = 12


def write_film(path: Path, pixels: int, seed: int) -> None:
    """A smooth picture with grain, as a modality stores it: half of them with low values white."""
    rng = np.random.default_rng(seed)
    across = np.linspace(0, np.pi, pixels)
    smooth = 0.2 + 0.6 * np.outer(np.sin(across), np.abs(np.cos(across * (1 + seed / 50))))
    values = (2**BITS - 1) * smooth + rng.normal(0, 30, (pixels, pixels))
    film = Dataset()
    film.SOPClassUID = uid.DigitalXRayImageStorageForPresentation
    film.SOPInstanceUID = uid.generate_uid()
    film.Modality, film.PatientID, film.ViewPosition = "DX", str(seed), "PA"
    film.PatientOrientation = ["L", "F"]
    film.SamplesPerPixel, film.Rows, film.Columns = 1, pixels, pixels
    film.PhotometricInterpretation = ("MONOCHROME1", "MONOCHROME2")[seed % 2]
    film.BitsAllocated, film.BitsStored, film.HighBit = 16, BITS, BITS - 1
    film.PixelRepresentation = 0
    film.WindowCenter, film.WindowWidth = 2000, 3600
    film.PixelData = np.clip(values, 0, 2**BITS - 1).astype("<u2").tobytes()
    film["PixelData"].VR = "OW"
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    film.save_as(path, enforce_file_format=True)


def entrants(folder: Path, size: int) -> dict[str, Entrant]:
    """A process for each row."""
    module = [sys.executable, "-m", "benchmarks.film_readers"]
    return {
        row: Entrant(
            command=[*module, reader, str(folder), str(size)],
            folder=ROOT,
            environment=os.environ,
            steps=1,
        )
        for row, reader in ROWS.items()
    }


def run(options: Options) -> Iterator[dict]:
    """Writes the films, and has all read them in turn."""
    own = options.own
    with tempfile.TemporaryDirectory() as root:
        for seed in range(own["films"]):
            name = ("covid", "normal")[seed // 2 % 2]
            write_film(Path(root) / name / f"{name}{seed}.dcm", own["pixels"], seed)
        found = race(entrants(Path(root), own["size"]), own["rounds"])
    timed = {row: each for row, each in found.items() if isinstance(each, Timed)}
    devices = next(each.devices for each in timed.values())
    yield {
        f"{own['films']} films of {own['pixels']} pixels to {own['size']}, {devices}": {
            "rounds": own["rounds"],
            "rows": {row: describe(each) for row, each in found.items()},
            "ratios": {
                name: ratio(timed[over], timed[under])
                for name, (over, under) in RATIOS.items()
                if {over, under} <= timed.keys()
            },
        }
    }


def cells(row: Mapping) -> list[str]:
    """A row without its name; of a reader that cannot run here, why not."""
    if "reason" in row:
        return [row["reason"], "–", "–", "–"]
    busy = 1000 * row["cores"] / row["images_per_second"]["median"]
    return [
        *(tell(row["images_per_second"]), f"{row['cores']:g}", f"{busy:.0f}"),
        f"{row['peak_gib']:g}",
    ]


def to_markdown(results: Mapping[str, Mapping]) -> str:
    """Rates, and ratios."""
    parts = []
    for name, group in results.items():
        head = [name, "films/s", "busy cores", "processor's ms a film", "peak memory, GiB"]
        rows = [[row, *cells(each)] for row, each in group["rows"].items()]
        ratios = [[f"`{name}`", tell(each)] for name, each in group["ratios"].items()]
        parts += [table(head, rows), table(["ratio", "median [least, most]"], ratios)]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


STUDY = Study(
    name="reading",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    configs=lambda options: dict(options.own),
    flags=(
        Flag(name="films", default=24, help="How many are read in a round."),
        Flag(name="pixels", default=2000, help="Of a film's side."),
        Flag(name="size", default=128, help="Of a square's side."),
        Flag(name="rounds", default=5, help="In which the readers take turns."),
    ),
)
