"""Pulmonary nodules: small, round, of soft tissue; also behind the heart and the diaphragm.

What tells them from calcified look-alikes: they are larger, and less dense.
"""

import dataclasses

import numpy as np

from cxr_jax.datasets.cxr_phantom.canvas import splat
from cxr_jax.datasets.cxr_phantom.chest import Chest
from cxr_jax.datasets.cxr_phantom.finding import Finding
from cxr_jax.datasets.cxr_phantom.lungs import HEART_Y, dome, inner_border, place_in_lung
from cxr_jax.datasets.cxr_phantom.patient import Patient, body_to_film

MOST_NODULES = 3
HIDDEN = 0.25  # share that lies behind the heart or below the dome of the diaphragm
DOTS = 48  # that make one nodule
GOLDEN = np.pi * (3.0 - np.sqrt(5.0))  # radians, from one dot to the next


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nodules(Finding):
    """One part for each nodule, n in number.

    Attributes:
      centre: body points [n, 2].
      radius: in film units [n]; `weight`: attenuation in the middle, in nepers [n].
      shape: dots on a disc of unit radius [n, DOTS, 2], a little out of round.
    """

    centre: np.ndarray
    radius: np.ndarray
    weight: np.ndarray
    shape: np.ndarray

    @property
    def begun(self) -> np.ndarray:
        """All are there from the beginning, bool [n]."""
        return np.ones(len(self.radius), bool)

    def attenuation(self, chest: Chest, on: np.ndarray) -> np.ndarray:
        """Attenuation [size, size] of the nodules that are on [n] bool, in nepers."""
        p = chest.patient
        centre = chest.inner(self.centre)
        points = centre[:, None] + self.radius[:, None, None] * self.shape
        reach = 0.30 * self.radius * p.scale
        # Dots of this reach, so many on a disc, add up to one in its middle.
        height = self.weight * on / (2.0 * 0.30**2 * DOTS)
        return splat(
            chest.canvas,
            body_to_film(p, points.reshape(-1, 2)),
            np.repeat(reach, DOTS),
            np.repeat(height, DOTS),
        )


def place_nodules(rng: np.random.Generator, p: Patient) -> np.ndarray:
    """Body points [MOST_NODULES, 2] anywhere in the lungs, in front of the abdomen or the heart."""
    left = rng.integers(0, 2, MOST_NODULES)
    height, lateral = rng.uniform(0.08, 0.95, (2, MOST_NODULES))
    centre = place_in_lung(p, left, height, 0.05 + 0.9 * lateral)
    # The lower lobes reach behind the heart, and deeper than the top of the diaphragm.
    x = rng.uniform(0.12, 0.8, MOST_NODULES) * inner_border(p, np.full(MOST_NODULES, HEART_Y), left)
    behind_heart = np.stack([np.where(left > 0, x, -x), rng.uniform(0.08, 0.34, MOST_NODULES)], -1)
    x = rng.uniform(0.25, 0.55, MOST_NODULES)
    below = dome(p, x, left) + rng.uniform(0.03, 0.10, MOST_NODULES)
    below_dome = np.stack([np.where(left > 0, x, -x), below], axis=-1)
    chance = rng.random(MOST_NODULES)[:, None]
    hidden = np.where(chance < 0.6 * HIDDEN, behind_heart, below_dome)
    return np.where(chance < HIDDEN, hidden, centre)


def draw_nodules(rng: np.random.Generator, chest: Chest, severity: float) -> Nodules:
    """One to three, the larger and denser the higher the severity."""
    count = 1 + int(rng.integers(MOST_NODULES))
    centre = place_nodules(rng, chest.patient)
    size, density = rng.uniform(0.85, 1.15, (2, MOST_NODULES))
    turn = GOLDEN * np.arange(DOTS) + rng.uniform(0.0, 2.0 * np.pi, (MOST_NODULES, 1))
    out_of_round = 1.0 + 0.12 * np.cos(2.0 * turn + rng.uniform(0.0, 6.3, (MOST_NODULES, 1)))
    out_of_round += 0.06 * np.cos(3.0 * turn + rng.uniform(0.0, 6.3, (MOST_NODULES, 1)))
    distance = out_of_round * np.sqrt((np.arange(DOTS) + 0.5) / DOTS)
    shape = np.stack([distance * np.cos(turn), distance * np.sin(turn)], axis=-1)
    return Nodules(
        centre=centre[:count],
        radius=((0.036 + 0.044 * severity) * size)[:count],
        weight=((0.25 + 1.05 * severity) * density)[:count],
        shape=shape[:count],
    )
