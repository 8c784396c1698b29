"""Pleural effusion: fluid that hides diaphragm and costophrenic angle, and rises at the wall."""

import dataclasses

import numpy as np

from cxr_jax.datasets.cxr_phantom.canvas import ramp
from cxr_jax.datasets.cxr_phantom.chest import Chest
from cxr_jax.datasets.cxr_phantom.finding import Finding
from cxr_jax.datasets.cxr_phantom.lungs import dome, inner_border, outer_border

BOTH_SIDES = 0.3  # share of patients with fluid on either side
FILM_OF_FLUID = 0.10  # over which it thins out upwards, in film units
CLING = 0.13  # how far from the wall its surface still rises


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effusion(Finding):
    """One part for each side that has fluid.

    Attributes:
      side: -1.0 for the patient's right and 1.0 for the left [parts].
      height: of the fluid's surface over the angle between diaphragm and chest wall [parts].
      rise: how much higher it stands at the wall [parts].
    """

    reshapes = True
    side: np.ndarray
    height: np.ndarray
    rise: np.ndarray

    @property
    def begun(self) -> np.ndarray:
        """Fluid is there from the beginning, bool [parts]."""
        return np.ones(len(self.side), bool)

    def reshape(self, chest: Chest, on: np.ndarray) -> Chest:
        """The chest with fluid in the place of air; what it surrounds is no longer seen."""
        for number in np.flatnonzero(on):
            left = 1.0 - self.fluid(chest, number)
            lungs = dataclasses.replace(
                chest.lungs,
                air=chest.lungs.air * left,
                edge=chest.lungs.edge * left,
                interior=chest.lungs.interior * left,
                markings=chest.lungs.markings * left,
            )
            chest = dataclasses.replace(chest, lungs=lungs)
        return chest

    def fluid(self, chest: Chest, number: int) -> np.ndarray:
        """Share [size, size] of the air that one part replaces."""
        p, side = chest.patient, float(self.side[number])
        height, rise = float(self.height[number]), float(self.rise[number])
        is_left = float(side > 0)
        beside = side * chest.x
        from_wall = np.maximum(outer_border(p, chest.y) - beside, 0.0)
        from_heart = np.maximum(beside - inner_border(p, chest.y, is_left), 0.0)
        angle = float(dome(p, np.array(p.chest_width), is_left))
        climb = np.exp(from_wall * (-1.0 / CLING)) + 0.3 * np.exp(from_heart * (-1.0 / CLING))
        surface = angle - height - rise * climb
        return ramp(chest.y - surface, FILM_OF_FLUID) * ramp(beside - 0.02, 0.25)


def draw_effusion(rng: np.random.Generator, chest: Chest, severity: float) -> Effusion:
    """From a blunted angle to fluid that fills the lower half of a side."""
    del chest
    first = (-1.0, 1.0)[rng.integers(2)]
    is_on_both = rng.random() < BOTH_SIDES
    share = np.array([1.0, rng.uniform(0.3, 0.9)])[: 1 + is_on_both]
    height = rng.uniform(0.44, 0.56) * severity * share
    return Effusion(
        side=np.array([first, -first])[: 1 + is_on_both],
        height=0.05 + height,
        rise=0.05 + 0.22 * severity * share,
    )
