"""Pneumothorax: air between chest wall and lung, which is pulled in from it and ends in a line."""

import dataclasses

import numpy as np

from cxr_jax.datasets.cxr_phantom.canvas import Canvas, bump, ramp
from cxr_jax.datasets.cxr_phantom.chest import Chest
from cxr_jax.datasets.cxr_phantom.finding import Finding
from cxr_jax.datasets.cxr_phantom.lungs import inner_border, lung_height, outer_border
from cxr_jax.datasets.cxr_phantom.patient import Patient

HILUM_Y = -0.10  # towards which the lung shrinks
DARKER = 0.30  # of the lungs' air: what is lost with the tissue that is no longer there
DENSER = 0.15  # of what left the air, what the rest of the lung gains in tissue
PLEURA_WIDTH = 0.006  # film units
PLEURA = 0.45  # nepers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pneumothorax(Finding):
    """One part, on one side.

    Attributes:
      side: -1.0 for the patient's right, 1.0 for the left.
      gap: between chest wall and lung beside the apex, in film units.
      taper: share of that which is gone at the diaphragm.
    """

    reshapes = True
    side: float
    gap: float
    taper: float

    @property
    def begun(self) -> np.ndarray:
        """The lung is one, bool [1]."""
        return np.ones(1, bool)

    def gap_at(self, p: Patient, y: np.ndarray) -> np.ndarray:
        """The gap at body level y, any shape: air rises, and the lung hangs on its root below."""
        return self.gap * (1.0 - self.taper * ramp(y - p.lung_apex, lung_height(p)))

    def reshape(self, chest: Chest, on: np.ndarray) -> Chest:
        """The chest with air beside a lung that has shrunk."""
        if not on.any():
            return chest
        p, lungs = chest.patient, chest.lungs
        beside, left = self.side * chest.x, float(self.side > 0)
        inwards = depth(p, beside, chest.y) - self.gap_at(p, chest.y)
        here = ramp(beside - inner_border(p, chest.y, left) + 0.02, 0.06)
        outside = here * ramp(-inwards, 0.012)
        line = PLEURA * thin_line(chest.canvas, inwards) * here * lungs.interior
        shrunk = DENSER * self.gap / (p.chest_width - p.mediastinum_width)
        air = lungs.air * (1.0 + DARKER * outside - shrunk * here * (1.0 - outside))
        return dataclasses.replace(
            chest,
            lungs=dataclasses.replace(
                lungs,
                air=air,
                edge=lungs.edge * (1.0 - outside),
                markings=lungs.markings * (1.0 - outside),
            ),
            pleura=chest.pleura + line,
            moves=(*chest.moves, lambda points: self.pull(p, points)),
        )

    def pull(self, p: Patient, points: np.ndarray) -> np.ndarray:
        """Where body points [n, 2] of the healthy lung lie now."""
        x, y = points.T
        beside, left = self.side * x, float(self.side > 0)
        inner, outer = inner_border(p, y, left), outer_border(p, y)
        kept = 1.0 - self.gap_at(p, y) / np.maximum(outer - inner, 0.2)
        pulled = inner + np.maximum(kept, 0.2) * (beside - inner)
        above = np.minimum(y - HILUM_Y, 0.0)
        down = min(self.gap / (HILUM_Y - p.lung_apex), 0.6)
        moved = np.stack([self.side * pulled, y - down * above], axis=-1)
        return np.where((beside > inner)[:, None], moved, points)


def depth(p: Patient, beside: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far from chest wall and apex a place is, [size, size]; round where they meet."""
    wall, tip = outer_border(p, y) - beside, y - p.lung_apex
    return -0.06 * np.logaddexp(wall * (-1.0 / 0.06), tip * (-1.0 / 0.06))


def thin_line(canvas: Canvas, distance: np.ndarray) -> np.ndarray:
    """A line where `distance` is zero; thinner than a pixel it keeps its integral across."""
    drawn = float(np.hypot(PLEURA_WIDTH, 0.4 * canvas.pixel))
    return (PLEURA_WIDTH / drawn) * bump(distance, drawn)


def draw_pneumothorax(rng: np.random.Generator, chest: Chest, severity: float) -> Pneumothorax:
    """From a rim of air at the apex to a lung that has shrunk to half its width."""
    del chest
    side = (-1.0, 1.0)[rng.integers(2)]
    gap = 0.03 + rng.uniform(0.30, 0.36) * severity
    return Pneumothorax(side=side, gap=gap, taper=rng.uniform(0.45, 0.8))
