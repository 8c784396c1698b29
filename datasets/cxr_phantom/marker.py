"""The planted shortcut: a lead letter or a small clip near an upper corner, outside the lungs."""

import numpy as np

from cxr_jax.datasets.cxr_phantom.canvas import Canvas, splat

# Strokes in a box of [-1, 1]: (x, y) of their ends.
LETTERS = {
    "L": [((-0.6, -1.0), (-0.6, 1.0)), ((-0.6, 1.0), (0.7, 1.0))],
    "R": [
        ((-0.6, -1.0), (-0.6, 1.0)),
        ((-0.6, -1.0), (0.4, -1.0)),
        ((0.4, -1.0), (0.7, -0.5)),
        ((0.7, -0.5), (0.4, 0.0)),
        ((0.4, 0.0), (-0.6, 0.0)),
        ((0.0, 0.0), (0.7, 1.0)),
    ],
    "clip": [((-0.8, 0.0), (0.8, 0.0)), ((-0.8, -0.5), (-0.8, 0.5)), ((0.8, -0.5), (0.8, 0.5))],
}
DOTS_PER_STROKE = 12
LEAD_ATTENUATION = 3.0  # nepers: lead is white wherever it lies


def draw_marker(rng: np.random.Generator, canvas: Canvas) -> np.ndarray:
    """Attenuation [size, size] in nepers of a marker in film coordinates."""
    strokes = np.array(LETTERS[("L", "R", "clip")[rng.integers(3)]])  # [strokes, 2 ends, 2]
    side = (-1.0, 1.0)[rng.integers(2)]
    centre = np.array([side * rng.uniform(0.78, 0.88), rng.uniform(-0.90, -0.80)])
    half_height, tilt = rng.uniform(0.055, 0.080), rng.normal(0.0, 0.08)
    along = np.linspace(0.0, 1.0, DOTS_PER_STROKE)[:, None]
    dots = strokes[:, :1] + along * (strokes[:, 1:] - strokes[:, :1])
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    points = centre + half_height * dots.reshape(-1, 2) @ turn.T
    radii, weights = np.full(len(points), 0.013), np.full(len(points), 1.6)
    sheen = splat(canvas, points, radii, weights)
    return LEAD_ATTENUATION * (1.0 - np.exp(-np.maximum(sheen - 0.15, 0.0)))


def marker_mask(attenuation: np.ndarray) -> np.ndarray:
    """Where the marker stands, bool [size, size]."""
    return attenuation > 0.1 * LEAD_ATTENUATION
