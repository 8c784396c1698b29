"""An enlarged heart: its borders are displaced, and what was lung there is heart."""

import dataclasses

import numpy as np

from cxr_jax.datasets.cxr_phantom.chest import Chest
from cxr_jax.datasets.cxr_phantom.finding import Finding
from cxr_jax.datasets.cxr_phantom.lungs import HEART_Y, make_lungs, outer_border

MOST_WIDER = 0.28  # of the heart's left border, in film units
LEAST_ROOM = 0.10  # lung that is left beside the largest heart


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cardiomegaly(Finding):
    """One part, the heart.

    Attributes:
      wider: by how much its left border is displaced, in film units.
    """

    reshapes = True
    wider: float

    @property
    def begun(self) -> np.ndarray:
        """The heart is one, bool [1]."""
        return np.ones(1, bool)

    def reshape(self, chest: Chest, on: np.ndarray) -> Chest:
        """The same chest around a larger heart; to be called before the lungs are changed."""
        if not on.any():
            return chest
        patient = dataclasses.replace(chest.patient, heart_enlarged=self.wider)
        return dataclasses.replace(
            chest, patient=patient, lungs=make_lungs(patient, chest.x, chest.y)
        )


def draw_cardiomegaly(rng: np.random.Generator, chest: Chest, severity: float) -> Cardiomegaly:
    """A heart the wider, the higher the severity; even the largest leaves some lung beside it."""
    p = chest.patient
    most = MOST_WIDER * rng.uniform(0.85, 1.0)
    wall = float(outer_border(p, np.array(HEART_Y)))
    free = wall - LEAST_ROOM - p.mediastinum_width - p.heart_width
    return Cardiomegaly(wider=severity * max(min(most, free), 0.3 * MOST_WIDER))
