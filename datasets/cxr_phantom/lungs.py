"""The two lungs: their borders, the air they hold, the places inside them, their vessels."""

import dataclasses

import numpy as np

from cxr_jax.datasets.cxr_phantom.canvas import Canvas, bump, ramp, splat
from cxr_jax.datasets.cxr_phantom.patient import Patient, body_to_film

APEX_X = 0.27  # where the lung's tip stands beside the midline
HEART_Y = 0.24  # level of the widest heart
RIGHT_SHARE = 0.4  # of what the left border of an enlarged heart is displaced by
HILAR_RADIUS = 0.024  # of a vessel where it enters the lung


@dataclasses.dataclass(frozen=True)
class Lungs:
    """What the lungs are on the film; the part that the heart hides does not count as lung.

    Attributes, each [size, size]:
      air: attenuation that the air in the lungs takes away, in nepers, >= 0.
      mask: bool, True in the lungs.
      edge: 0 outside the lungs, rising to 1 at once inside: what lesions are cut with.
      interior: the same, rising slowly: where bone lies against air.
      markings: where vessels and the like are seen: the interior, but for air beside the lung.
      chest: 1 inside the rib cage, whatever lies in front of the lungs; 0 outside.
    """

    air: np.ndarray
    mask: np.ndarray
    edge: np.ndarray
    interior: np.ndarray
    markings: np.ndarray
    chest: np.ndarray


def lung_height(p: Patient) -> float:
    """From apex to the top of the right dome."""
    return 0.28 + 0.22 * p.inspiration - p.lung_apex


def inner_border(p: Patient, y: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Distance of the mediastinal border from the midline at body level y.

    Args:
      p: the patient.
      y: body level, any shape.
      left: 1 on the patient's left side (positive x), 0 on the right; the shape of y.
    """
    heart_reach = np.where(y < HEART_Y, 0.20, 0.16)
    left_side = (
        p.aortic_knob * bump(y + 0.40, 0.07)
        + p.pulmonary_trunk * bump(y + 0.20, 0.08)
        + p.heart_width * bump(y - HEART_Y, heart_reach)
    )
    right_side = p.right_atrium * bump(y - 0.18, 0.18) + 0.02 * bump(y + 0.1, 0.1)
    if p.heart_enlarged:
        # All of a side bulges, from the root of the lung to below the dome: a round heart.
        height = np.minimum(np.abs(y - HEART_Y) * (1.0 / 0.44), 1.0)
        bulge = p.heart_enlarged * (1.0 - height * height) ** 1.25
        left_side, right_side = left_side + bulge, right_side + RIGHT_SHARE * bulge
    border = p.mediastinum_width + right_side + left * (left_side - right_side)
    below_tip = np.clip((y - p.lung_apex) * (1.0 / 0.22), 0.0, 1.0)
    roundness = 1.0 - np.sqrt(below_tip * (2.0 - below_tip))
    return border + (APEX_X - border) * roundness


def outer_border(p: Patient, y: np.ndarray) -> np.ndarray:
    """Distance of the lateral border from the midline at body level y, any shape."""
    t = np.clip((y - p.lung_apex) * (1.0 / (0.85 * lung_height(p))), 0.0, 1.0)
    rounded = np.sqrt(t * (2.0 - t))
    return APEX_X + (p.chest_width - APEX_X) * (0.85 * rounded + 0.15 * t)


def dome(p: Patient, x: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Body level of the diaphragm at x, any shape; `left` as in inner_border."""
    off_centre = np.abs(x) - 0.30
    level = p.lung_apex + lung_height(p) + left * p.left_dome_drop
    return level + p.dome_curve * off_centre * off_centre


def make_lungs(p: Patient, x: np.ndarray, y: np.ndarray) -> Lungs:
    """Lungs of patient p on body coordinates x, y [size, size]."""
    left = ramp(x + 0.08, 0.16)  # changes sides behind the heart, where no lung shows
    beside = np.abs(x)
    from_chest_wall = outer_border(p, y) - beside
    from_mediastinum = beside - inner_border(p, y, left)
    from_dome = dome(p, x, left) - y
    below_tip = y - p.lung_apex
    nearest = np.minimum(np.minimum(from_chest_wall, from_mediastinum), from_dome)
    nearest = np.minimum(nearest, below_tip)
    # Depth along the beam: the chest wall curves away slowly, the other borders are steep.
    # Some lung lies before and behind the heart, none in front of the abdomen.
    cavity = ramp(from_chest_wall + 0.02, 0.17) * ramp(from_dome + 0.01, 0.05)
    cavity *= 0.6 + 0.4 * ramp(below_tip, 0.5)
    depth = cavity * (0.25 + 0.75 * ramp(from_mediastinum + 0.015, 0.08))
    chest = ramp(from_chest_wall + 0.05, 0.03) * ramp(below_tip + 0.06, 0.05)
    interior = ramp(nearest, 0.05)
    return Lungs(
        air=p.lung_air * depth,
        mask=nearest > 0.0,
        edge=ramp(nearest, 0.012),
        interior=interior,
        markings=interior,
        chest=chest,
    )


def place_in_lung(
    p: Patient, left: np.ndarray, height: np.ndarray, lateral: np.ndarray
) -> np.ndarray:
    """Body points [n, 2] at relative places in the lungs.

    Args:
      p: the patient.
      left: [n], 1 for the left lung and 0 for the right.
      height: [n], 0 at the apex to 1 at the dome.
      lateral: [n], 0 at the mediastinal to 1 at the lateral border.
    """
    x = APEX_X + lateral * (p.chest_width - APEX_X)  # a guess, to find the dome's level there
    y = p.lung_apex + height * (dome(p, x, left) - p.lung_apex)
    inner, outer = inner_border(p, y, left), outer_border(p, y)
    x = inner + lateral * (outer - inner)
    return np.stack([np.where(left > 0, x, -x), y], axis=-1)


def grow_vessels(rng: np.random.Generator, p: Patient) -> tuple[np.ndarray, np.ndarray]:
    """Dots along the pulmonary vessels, which leave each hilum in a fan and branch in two.

    Returns:
      points: [n, 2] in body coordinates. radii: [n].
    """
    mains, generations, dots = 6, 3, 11
    side = np.repeat([-1.0, 1.0], mains)
    # 0 is lateral, positive angles point down; the fan leaves out the mediastinum.
    angle = np.tile(np.linspace(-1.35, 1.45, mains), 2) + rng.normal(0.0, 0.20, 2 * mains)
    start = np.stack([side * (p.mediastinum_width + 0.01), np.full(2 * mains, -0.10)], axis=-1)
    start[:, 1] += 0.10 * np.sin(angle) + np.where(side > 0, -0.03, 0.0)
    length = rng.uniform(0.18, 0.30, 2 * mains)
    radius = np.full(2 * mains, HILAR_RADIUS)
    points, radii = [], []
    for _ in range(generations):
        along = np.linspace(0.0, 1.0, dots)
        heading = np.stack([side * np.cos(angle), np.sin(angle)], axis=-1)
        path = start[:, None] + (along[:, None] * length[:, None, None]) * heading[:, None]
        points.append(path.reshape(-1, 2))
        radii.append((radius[:, None] * (1.0 - 0.4 * along)).ravel())
        start, side = np.repeat(path[:, -1], 2, axis=0), np.repeat(side, 2)
        fork = np.tile([-0.33, 0.33], len(angle)) + rng.normal(0.0, 0.18, len(side))
        angle = np.repeat(angle, 2) + fork
        length = np.repeat(length, 2) * rng.uniform(0.6, 0.95, len(side))
        radius = np.repeat(radius, 2) * 0.58
    return np.concatenate(points), np.concatenate(radii)


def draw_vessels(
    p: Patient, canvas: Canvas, points: np.ndarray, *, radii: np.ndarray
) -> np.ndarray:
    """Attenuation [size, size] of vessels by the dots of `grow_vessels`."""
    weights = p.vessels * (radii / HILAR_RADIUS) ** 0.6
    return splat(canvas, body_to_film(p, points), radii * p.scale, weights)
