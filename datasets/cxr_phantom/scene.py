"""One patient before the film: a chest, findings, look-alikes and marker, any of them left out."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from cxr_jax.datasets.cxr_phantom.canvas import Canvas
from cxr_jax.datasets.cxr_phantom.chest import Chest
from cxr_jax.datasets.cxr_phantom.finding import Finding
from cxr_jax.datasets.cxr_phantom.lookalikes import Lookalikes
from cxr_jax.datasets.cxr_phantom.patient import Patient
from cxr_jax.datasets.cxr_phantom.thorax import record_chest


def tone_curve(p: Patient, attenuation: np.ndarray) -> np.ndarray:
    """Grey levels uint8 of the displayed film: a sigmoid, as film's own characteristic curve."""
    steepness = 1.35 * p.contrast
    level = 1.0 / (1.0 + np.exp(steepness * (1.75 - p.exposure - attenuation)))
    return (level * 255.0 + 0.5).astype(np.uint8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Body:
    """A patient with some parts of findings, before look-alikes, marker and grain.

    Attributes:
      chest: as they have reshaped it; `recorded`: its attenuation [size, size].
      added: attenuation [size, size] of what they add to that.
    """

    chest: Chest
    recorded: np.ndarray
    added: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """One patient before the film, who can be rendered with any of the components on or off.

    Attributes:
      label: 0 or 1; severity: of the label's finding, whether it is drawn or not.
      chest: the healthy one; `noise`: attenuation [size, size] of the grain.
      findings: the label's, and another one if there is one, in the order of FINDINGS.
      own: which of all their parts [parts] bool the label is about; `elsewhere`: which are of the
        same finding, but in the half that it is not about; `other`: which are of another finding.
      lead: attenuation of the marker; zero for none.
      reshaped: chests that were recorded before, by the parts that reshape them; () is healthy.
    """

    patient: Patient
    canvas: Canvas
    label: int
    severity: float
    chest: Chest
    noise: np.ndarray
    lookalikes: Lookalikes
    findings: Mapping[str, Finding]
    own: np.ndarray
    elsewhere: np.ndarray
    other: np.ndarray
    lead: np.ndarray
    reshaped: dict[tuple, tuple[Chest, np.ndarray]]

    @property
    def nothing(self) -> np.ndarray:
        """No attenuation [size, size]."""
        return np.zeros((self.canvas.size, self.canvas.size), np.float32)

    @property
    def kinds(self) -> list[str]:
        """The finding of each part."""
        return [kind for kind, finding in self.findings.items() for _ in finding.begun]

    def body(self, on: np.ndarray) -> Body:
        """The patient with those parts of findings that are on [parts] bool."""
        ends = np.cumsum([len(finding.begun) for finding in self.findings.values()])[:-1]
        parts = dict(zip(self.findings, np.split(on, ends), strict=True))
        shown = {kind: part for kind, part in parts.items() if part.any()}
        chest, recorded = self._reshape(shown)
        added = self.nothing
        for kind, part in shown.items():
            if not self.findings[kind].reshapes:
                added = added + self.findings[kind].attenuation(chest, part)
        return Body(chest=chest, recorded=recorded, added=added)

    def _reshape(self, shown: Mapping[str, np.ndarray]) -> tuple[Chest, np.ndarray]:
        """The chest with parts of findings, and its attenuation; recorded once."""
        shapes = {kind: part for kind, part in shown.items() if self.findings[kind].reshapes}
        key = tuple((kind, part.tobytes()) for kind, part in shapes.items())
        if key not in self.reshaped:
            chest = self.chest
            for kind, part in shapes.items():
                chest = self.findings[kind].reshape(chest, part)
            self.reshaped[key] = chest, record_chest(chest)
        return self.reshaped[key]

    def harmless(self, on: np.ndarray | None = None) -> np.ndarray:
        """Attenuation [size, size] of the look-alikes that are on, all for None."""
        on = np.ones(len(self.lookalikes.names), bool) if on is None else on
        return self.lookalikes.attenuation(self.canvas, on)

    def expose(
        self, body: Body, harmless: np.ndarray, lead: np.ndarray | None = None
    ) -> np.ndarray:
        """The film uint8 [size, size] of a body behind look-alikes and a marker.

        Args:
          harmless, lead: their attenuation [size, size]; None for no marker.
        """
        total = body.recorded + harmless + self.noise + body.added
        return tone_curve(self.patient, total if lead is None else total + lead)


def change(body: Body, other: Body) -> np.ndarray:
    """By how much two bodies of one patient differ in attenuation, [size, size], never negative."""
    return np.abs((body.added - other.added) + (body.recorded - other.recorded))
