"""A patient's chest before the beam: what findings may reshape before the film is exposed."""

import dataclasses
from collections.abc import Callable

import numpy as np

from cxr_jax.datasets.cxr_phantom.canvas import Canvas
from cxr_jax.datasets.cxr_phantom.lungs import Lungs
from cxr_jax.datasets.cxr_phantom.patient import Patient

Move = Callable[[np.ndarray], np.ndarray]  # of body points [n, 2]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chest:
    """The chest of one patient, healthy or with a finding that is no mere addition.

    Attributes:
      patient: who stands before the beam; the heart may be larger than the healthy one.
      x, y: body coordinates of the pixels, each [size, size].
      lungs: with the air that is left in them.
      vessels: dots along the pulmonary vessels [n, 2], in body coordinates; `radii`: theirs [n].
      tissue: how uneven the soft tissue is, [size, size].
      pleura: attenuation [size, size] of pleura that is seen from its edge, in nepers.
      moves: what a collapsed lung takes along: where a point of the healthy lung now lies.
    """

    patient: Patient
    canvas: Canvas
    x: np.ndarray
    y: np.ndarray
    lungs: Lungs
    vessels: np.ndarray
    radii: np.ndarray
    tissue: np.ndarray
    pleura: np.ndarray | np.float32 = np.float32(0.0)
    moves: tuple[Move, ...] = ()

    def inner(self, points: np.ndarray) -> np.ndarray:
        """Where body points [n, 2] of the healthy lungs lie in these."""
        for move in self.moves:
            points = move(points)
        return points
