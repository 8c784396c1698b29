"""What every finding is: parts, of which any can be drawn or left out of one and the same patient.

A part is whatever changes the picture, given the others: fluid and air reshape the chest before
the beam, opacities and nodules are attenuation that is added to it.
"""

import abc
import dataclasses
from typing import ClassVar

import numpy as np

from cxr_jax.datasets.cxr_phantom.chest import Chest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding(abc.ABC):
    """One finding of one patient at one severity."""

    reshapes: ClassVar[bool] = False  # whether the chest has to be recorded anew

    @property
    @abc.abstractmethod
    def begun(self) -> np.ndarray:
        """Which parts there are at this severity, bool [parts]."""

    def reshape(self, chest: Chest, on: np.ndarray) -> Chest:
        """The chest with those parts that are on [parts] bool."""
        del on
        return chest

    def attenuation(self, chest: Chest, on: np.ndarray) -> np.ndarray:
        """What those parts that are on add to the recorded chest, nepers [size, size]."""
        del on
        return np.zeros_like(chest.x)
