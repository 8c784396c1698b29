"""A picture of every finding that the phantom can draw: findings.png, one row a finding."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from cxr_jax import plots
from cxr_jax.configs.findings import FINDINGS
from cxr_jax.data.arrays import to_unit_range
from cxr_jax.datasets.cxr_phantom.phantom import PhantomSpec, draw

FILE = "findings.png"
SIZE = 128
SEVERITIES = {"faint": 0.2, "medium": 0.55, "strong": 1.0}
# Patients on whose films the findings lie apart from ribs and look-alikes, chosen by eye.
SEED = 7
PATIENTS = {
    "nodule": 1,
    "effusion": 1,
    "pneumothorax": 0,
    "cardiomegaly": 2,
    "reticular": 1,
    "opacity": 0,
}
LIMIT = 0.6  # of a difference, on the [-1, 1] scale
STEP = 4  # grey levels that the file tells apart, which is the smaller for it


def draw_row(finding: str) -> list[np.ndarray]:
    """Twin, then film and difference at each severity, [size, size] on the [-1, 1] scale."""
    patient, spec = PATIENTS[finding], PhantomSpec(size=SIZE, finding=finding)
    panels = []
    for severity in SEVERITIES.values():
        film = draw(SEED, patient, spec, label=1, severity=severity, lookalikes=False)
        image, twin = (to_unit_range(film[name])[..., 0] for name in ("image", "twin"))
        panels += [image, image - twin]
    return [twin, *panels]


def draw_figure() -> Figure:
    """All rows under their titles."""
    titles = [title for name in SEVERITIES for title in (name, "difference")]
    figure = plots.image_grid(np.array([draw_row(name) for name in FINDINGS]), ["twin", *titles])
    panels = np.reshape(figure.axes, (len(FINDINGS), -1))
    for name, row in zip(FINDINGS, panels, strict=True):
        row[0].set_ylabel(name, fontsize="medium")
        for panel in row[2::2]:
            panel.images[0].set(cmap="RdBu_r", clim=(-LIMIT, LIMIT))
    return figure


def run(out: Path) -> None:
    """Draws every finding of the phantom from faint to strong, beside its twin."""
    pixels = plots.to_rgb(draw_figure())
    coarse = np.minimum(np.round(pixels / STEP) * STEP, 255).astype(np.uint8)
    Image.fromarray(coarse).save(out / FILE, optimize=True)
    print(out / FILE)
