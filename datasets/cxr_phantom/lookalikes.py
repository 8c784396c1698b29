"""Harmless bright things that both classes carry: nodules, nipples, ports, monitor leads."""

import dataclasses

import numpy as np

from cxr_jax.datasets.cxr_phantom.canvas import Canvas, splat
from cxr_jax.datasets.cxr_phantom.lungs import place_in_lung
from cxr_jax.datasets.cxr_phantom.patient import Patient, body_to_film

# Independent of each other and of the label; together 60% of images carry at least one.
NODULE_PROBABILITY = 0.30
NIPPLE_PROBABILITY = 0.25
DEVICE_PROBABILITY = 0.25
MASK_ATTENUATION = 0.08  # nepers: fainter than this nothing is seen


def curve(control: np.ndarray, count: int) -> np.ndarray:
    """Points [count, 2] on the quadratic Bezier curve of three control points [3, 2]."""
    t = np.linspace(0.0, 1.0, count)[:, None]
    return (1 - t) ** 2 * control[0] + 2 * t * (1 - t) * control[1] + t**2 * control[2]


def nodules(rng: np.random.Generator, p: Patient) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One or two calcified nodules: (points, radii, weights) of their blobs."""
    count = int(rng.integers(1, 3))
    left = rng.integers(0, 2, 2)
    centre = place_in_lung(p, left, rng.uniform(0.15, 0.9, 2), rng.uniform(0.1, 0.9, 2))
    radius = rng.uniform(0.012, 0.024, 2)
    weight = rng.uniform(0.7, 1.3, 2)
    return centre[:count], radius[:count], weight[:count]


def nipples(rng: np.random.Generator, p: Patient) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A faint small disc low in one or both lungs."""
    sides = [np.array([-1.0, 1.0]), np.array([-1.0]), np.array([1.0])][rng.integers(3)]
    x, y = rng.uniform(0.38, 0.52), rng.uniform(0.02, 0.22)
    centre = np.stack([sides * x, np.full(len(sides), y)], axis=-1)
    return (
        centre,
        np.full(len(sides), rng.uniform(0.020, 0.030)),
        np.full(len(sides), rng.uniform(0.3, 0.6)),
    )


def port(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A port below the clavicle, with a catheter that ends above the heart."""
    side = rng.choice([-1.0, 1.0])
    seat = np.array([side * rng.uniform(0.36, 0.52), rng.uniform(-0.42, -0.26)])
    tip = np.array([-0.08, rng.uniform(-0.12, 0.02)])
    bend = np.array([side * rng.uniform(0.05, 0.2), rng.uniform(-0.85, -0.7)])
    line = curve(np.stack([seat, bend, tip]), 90)
    turn = np.linspace(0.0, 2.0 * np.pi, 24, endpoint=False)
    ring = seat + 0.045 * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    points = np.concatenate([line, ring, seat[None]])
    radii = np.concatenate([np.full(90, 0.008), np.full(24, 0.010), [0.030]])
    weights = np.concatenate([np.full(90, 0.35), np.full(24, 0.55), [0.7]])
    return points, radii, weights


def lead(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A monitor lead across the chest, ending in an electrode."""
    side = rng.choice([-1.0, 1.0])
    electrode = np.array([side * rng.uniform(0.25, 0.60), rng.uniform(-0.35, 0.15)])
    far_end = np.array([side * rng.uniform(0.2, 0.9), 1.0])
    bend = np.array([side * rng.uniform(0.5, 1.0), rng.uniform(0.1, 0.6)])
    line = curve(np.stack([electrode, bend, far_end]), 140)
    points = np.concatenate([line, electrode[None]])
    radii = np.concatenate([np.full(140, 0.007), [0.028]])
    weights = np.concatenate([np.full(140, 0.35), [0.9]])
    return points, radii, weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lookalikes:
    """The look-alikes of one patient, of which those can be drawn that are on.

    Attributes:
      names: of each: "nodule", "nipple" or "device".
      points, radii, weights: of their blobs, film points and film units.
      owner: to which of them each blob belongs.
    """

    names: tuple[str, ...]
    points: np.ndarray
    radii: np.ndarray
    weights: np.ndarray
    owner: np.ndarray

    def attenuation(self, canvas: Canvas, on: np.ndarray) -> np.ndarray:
        """Attenuation [size, size] in nepers of those that are on; exactly zero where nothing is.

        Args:
          on: bool, one for each of `names`.
        """
        if not self.names:
            return np.zeros((canvas.size, canvas.size), np.float32)
        sheen = splat(canvas, self.points, self.radii, self.weights * on[self.owner])
        return np.where(sheen > 0.02, sheen, np.float32(0.0))


def draw_lookalikes(rng: np.random.Generator, p: Patient) -> Lookalikes:
    """Each kind is there or not, independently of the others and of the label."""
    present = rng.random(3) < (NODULE_PROBABILITY, NIPPLE_PROBABILITY, DEVICE_PROBABILITY)
    device = port(rng) if rng.random() < 0.5 else lead(rng)
    kinds = {"nodule": nodules(rng, p), "nipple": nipples(rng, p), "device": device}
    names, blobs, owner = [], [], []
    for (name, drawn), here in zip(kinds.items(), present, strict=True):
        if here:
            # Of the first two every blob is one of its own; a device is one of many.
            each = np.zeros(len(drawn[0]), int) if name == "device" else np.arange(len(drawn[0]))
            owner.append(len(names) + each)
            blobs.append(drawn)
            names += [name] * (int(each.max()) + 1)
    if not blobs:
        blobs, owner = [(np.zeros((0, 2)), np.zeros(0), np.zeros(0))], [np.zeros(0, int)]
    points, radii, weights = (np.concatenate(column) for column in zip(*blobs, strict=True))
    return Lookalikes(
        names=tuple(names),
        points=body_to_film(p, points),
        radii=radii * p.scale,
        weights=weights,
        owner=np.concatenate(owner),
    )


def lookalike_mask(attenuation: np.ndarray) -> np.ndarray:
    """Where a look-alike is seen, bool [size, size]."""
    return attenuation > MASK_ATTENUATION
