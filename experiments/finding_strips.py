"""finding_strips.png: of each run of `findings` the most certain positive along its walk.

Film, frames up to the stop with f under each, then what has changed, what should have changed, and
the twin. Reads the runs below runs/findings.
"""

import dataclasses
from pathlib import Path

import ml_collections
import numpy as np
from matplotlib.figure import Figure

from cxr_jax import plots
from cxr_jax.data.arrays import phantom_spec, to_unit_range
from cxr_jax.datasets.cxr_phantom.phantom import PhantomSpec, draw, find_patient
from cxr_jax.errors import InputError
from cxr_jax.runtime.workdir import read_json
from experiments.reading import check_done, read_report

FILE = "finding_strips.png"
RUNS = Path("runs/findings")
FRAMES = 4  # up to the stop, the film among them
LIMIT = 0.6  # of a difference, on the [-1, 1] scale
WALK = "pos_to_neg"
SIZE = 0.85  # of a sheet's usual one: the file is kept with the results


@dataclasses.dataclass(frozen=True, kw_only=True)
class Strip:
    """One film.

    Attributes:
      finding: the label's.
      frames: [FRAMES, h, w], the film first; `margin`: f on them [FRAMES].
      twin: [h, w].
    """

    finding: str
    frames: np.ndarray
    margin: np.ndarray
    twin: np.ndarray

    def panels(self) -> list[np.ndarray]:
        """Every picture of the row [h, w]."""
        film = self.frames[0]
        return [*self.frames, self.frames[-1] - film, self.twin - film, self.twin]


def read_strip(workdir: Path) -> Strip:
    """The positive of a finished run of which f is most certain, along the path of map `latent`."""
    config = ml_collections.ConfigDict(read_json(workdir / "config.json"))
    path = f"{WALK}/{read_report(workdir)['latent_path']}"
    with np.load(workdir / "explain" / "walks.npz") as walks:
        margin = walks[f"{path}/margin"]
        row = int(margin[:, 0].argmax())
        shown = np.linspace(0, walks[f"{path}/frame"][row], FRAMES).round().astype(int)
        frames = to_unit_range(walks[f"{path}/carried"][row, shown, ..., 0])
        patient = str(walks[f"{WALK}/name"][row])
    return Strip(
        finding=config.data.finding,
        frames=np.asarray(frames),
        margin=margin[row, shown],
        twin=draw_twin(patient, phantom_spec(config.data)),
    )


def draw_twin(patient: str, spec: PhantomSpec) -> np.ndarray:
    """The same patient without the label's finding [h, w]."""
    return np.asarray(to_unit_range(draw(*find_patient(patient), spec)["twin"][..., 0]))


def draw_figure(strips: list[Strip]) -> Figure:
    """A row for each."""
    titles = ["film", *[""] * (FRAMES - 2), "at its stop", "change", "to be changed", "twin"]
    figure = plots.image_grid(np.array([strip.panels() for strip in strips]), titles)
    figure.set_size_inches(SIZE * figure.get_size_inches())
    panels = np.reshape(figure.axes, (len(strips), -1))
    for strip, row in zip(strips, panels, strict=True):
        row[0].set_ylabel(strip.finding, fontsize="medium")
        for panel, margin in zip(row, strip.margin, strict=False):
            panel.set_xlabel(f"p = {plots.probability(margin):.2f}", fontsize=8)
        for panel in row[FRAMES : FRAMES + 2]:
            panel.images[0].set(cmap="RdBu_r", clim=(-LIMIT, LIMIT))
    return figure


def run(out: Path) -> None:
    """Draws a walk of each finding's run below runs/findings, beside the twin."""
    if not RUNS.is_dir():
        raise InputError(f"{RUNS} does not exist; it holds the runs of configs/findings.py")
    workdirs = sorted(folder for folder in RUNS.iterdir() if folder.is_dir())
    for workdir in workdirs:
        check_done(workdir, "explain")
    plots.save(draw_figure([read_strip(workdir) for workdir in workdirs]), out / FILE)
    print(out / FILE)
