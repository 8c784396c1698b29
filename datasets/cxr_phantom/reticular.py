"""Reticular pattern: a network of fine lines, from the bases and the periphery of both lungs up.

The lines are borders of cells about seeds (Voronoi, 1908), as thickened septa are of lobules.
"""

import dataclasses

import numpy as np
from scipy.spatial import Voronoi

from cxr_jax.datasets.cxr_phantom.canvas import ramp, splat
from cxr_jax.datasets.cxr_phantom.chest import Chest
from cxr_jax.datasets.cxr_phantom.finding import Finding
from cxr_jax.datasets.cxr_phantom.lungs import dome, inner_border, lung_height, outer_border
from cxr_jax.datasets.cxr_phantom.patient import Patient, body_to_film

CELL = 0.055  # film units, from one seed to the next
DOTS = 4  # along one border of a cell
LINE = 0.006  # standard deviation across, film units


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reticular(Finding):
    """One part for each lung, right and left.

    Attributes:
      points: dots along the lines, body points [n, 2]; `owner`: of which part each is [n].
      weight: of each, in nepers [n].
    """

    points: np.ndarray
    owner: np.ndarray
    weight: np.ndarray

    @property
    def begun(self) -> np.ndarray:
        """Both lungs are affected from the beginning, bool [2]."""
        return np.ones(2, bool)

    def attenuation(self, chest: Chest, on: np.ndarray) -> np.ndarray:
        """Attenuation [size, size] of the lines in the lungs that are on [2] bool, in nepers."""
        p, drawn = chest.patient, on[self.owner] & (self.weight > 0)
        points = body_to_film(p, chest.inner(self.points[drawn]))
        radius = np.full(len(points), LINE * p.scale)
        return splat(chest.canvas, points, radius, self.weight[drawn]) * chest.lungs.markings


def draw_reticular(rng: np.random.Generator, chest: Chest, severity: float) -> Reticular:
    """The higher the severity, the denser the lines, and the higher up they reach."""
    p = chest.patient
    across, down = np.meshgrid(
        np.arange(-0.95, 0.96, CELL), np.arange(p.lung_apex - 0.1, 0.75, CELL)
    )
    seeds = np.stack([across.ravel(), down.ravel()], axis=-1)
    cells = Voronoi(seeds + CELL * rng.uniform(-0.6, 0.6, seeds.shape))
    ends = np.array([pair for pair in cells.ridge_vertices if -1 not in pair])
    strength = np.maximum(rng.uniform(-0.25, 1.0, len(ends)), 0.0)
    first, last = cells.vertices[ends[:, 0]], cells.vertices[ends[:, 1]]
    near = (np.abs(first) < 1.2).all(axis=1) & (np.abs(last) < 1.2).all(axis=1)
    first, last, strength = first[near], last[near], strength[near]
    along = ((np.arange(DOTS) + 0.5) / DOTS)[:, None]
    points = (first[:, None] + along * (last - first)[:, None]).reshape(-1, 2)
    # Dots of a longer border lie further apart: the line is as dense for all that.
    spacing = np.linalg.norm(last - first, axis=1) / DOTS
    weight = strength * np.minimum(spacing / (np.sqrt(2.0 * np.pi) * LINE), 1.5)
    reached = ramp(liability(p, points) - (1.0 - severity) * 0.8, 0.3)
    return Reticular(
        points=points,
        owner=(points[:, 0] > 0).astype(int),
        weight=(0.12 + 0.48 * severity) * np.repeat(weight, DOTS) * reached,
    )


def liability(p: Patient, points: np.ndarray) -> np.ndarray:
    """How early body points [n, 2] are affected: from 0 in the apex to about 1 at the base."""
    x, y = np.abs(points[:, 0]), points[:, 1]
    left = (points[:, 0] > 0).astype(float)
    height = np.clip((y - p.lung_apex) / lung_height(p), 0.0, 1.0)
    inner, outer = inner_border(p, y, left), outer_border(p, y)
    lateral = np.clip((x - inner) / np.maximum(outer - inner, 0.1), 0.0, 1.0)
    inside = (x > inner - 0.05) & (x < outer + 0.05) & (y < dome(p, x, left) + 0.05)
    return np.where(inside, 0.65 * height + 0.35 * lateral, -1.0)
