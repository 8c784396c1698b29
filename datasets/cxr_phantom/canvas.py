"""What everything is drawn on: pixel grids, soft edges, blobs, smooth noise and grain.

Film coordinates run over [-1, 1]: x to the image's right (the patient's left), y downwards,
so that one patient is the same drawing at every image size. All arrays are float32.
"""

import dataclasses
import functools

import numpy as np
from threadpoolctl import threadpool_limits

SMALLEST_SIZE = 32  # pixels; grain is refined from this size upwards by doubling


def one_thread() -> threadpool_limits:
    """While it is entered, NumPy's matrix products use one thread.

    Matrices as small as a drawing's are not worth a second, and on a busy machine wait for it: ten
    times as long where other programs kept two cores busy.
    """
    return threadpool_limits(limits=1, user_api="blas")


@dataclasses.dataclass(frozen=True)
class Canvas:
    """Pixel centres of a square film.

    Attributes:
      size: pixels a side.
      pixel: width of one pixel in film units.
      axis: [size], film coordinate of the pixel centres along either axis.
    """

    size: int
    pixel: float
    axis: np.ndarray


@functools.cache
def make_canvas(size: int) -> Canvas:
    if size < SMALLEST_SIZE or size & (size - 1):
        raise ValueError(f"size must be a power of two of at least {SMALLEST_SIZE}, got {size}")
    axis = ((np.arange(size) + 0.5) * (2.0 / size) - 1.0).astype(np.float32)
    axis.setflags(write=False)  # shared by every caller
    return Canvas(size=size, pixel=2.0 / size, axis=axis)


def ramp(distance: np.ndarray, width: float) -> np.ndarray:
    """Rise smoothly from 0 (distance <= 0) to 1 (distance >= width)."""
    t = np.maximum(np.minimum(distance * (1.0 / width), 1.0), 0.0)  # faster than np.clip
    return t * t * (3.0 - 2.0 * t)


def bump(offset: np.ndarray, width) -> np.ndarray:
    """Gaussian bump of unit height."""
    scaled = offset / width
    return np.exp(-0.5 * scaled * scaled)


def splat(canvas: Canvas, points: np.ndarray, radius: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Sum of round Gaussian blobs, [size, size].

    Blobs are separable, so that all of them cost one matrix product. A blob that is thin
    against the pixel is widened and dimmed by the same factor: thin lines then keep their
    integral across, and small images do not alias.

    Args:
      canvas: where to draw.
      points: [p, 2], (x, y) in film units.
      radius: [p], standard deviation in film units.
      weight: [p], height.
    """
    points = points.astype(np.float32)
    drawn_radius = np.hypot(radius, 0.4 * canvas.pixel).astype(np.float32)
    height = (weight * (radius / drawn_radius)).astype(np.float32)
    inverse = (np.sqrt(0.5) / drawn_radius)[:, None].astype(np.float32)
    across = (canvas.axis - points[:, :1]) * inverse  # [p, size]
    down = (canvas.axis - points[:, 1:]) * inverse
    return (np.exp(-down * down) * height[:, None]).T @ np.exp(-across * across)


@functools.cache
def interpolation_matrix(size: int, nodes: int) -> np.ndarray:
    """Cubic B-spline weights [size, nodes] of a coarse lattice at the pixel centres.

    Rows have unit Euclidean norm, so that white noise on the lattice keeps unit variance.
    """
    lattice = np.linspace(-1.0, 1.0, nodes)
    distance = np.abs(make_canvas(size).axis[:, None] - lattice) * ((nodes - 1) / 2.0)
    near = 2.0 / 3.0 - distance**2 + distance**3 / 2.0
    far = np.maximum(2.0 - distance, 0.0) ** 3 / 6.0
    weights = np.where(distance < 1.0, near, far)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    matrix = weights.astype(np.float32)
    matrix.setflags(write=False)
    return matrix


def smooth_noise(rng: np.random.Generator, size: int, nodes: int) -> np.ndarray:
    """Unit-variance noise [size, size] whose grain is a lattice of nodes x nodes."""
    weights = interpolation_matrix(size, nodes)
    lattice = rng.standard_normal((nodes, nodes), dtype=np.float32)
    return weights @ lattice @ weights.T


def blur_matrix(canvas: Canvas, radius: float) -> np.ndarray:
    """Gaussian blur along one axis as a matrix [size, size]; rows sum to one at the borders."""
    weights = bump(canvas.axis[:, None] - canvas.axis, radius)
    return weights / weights.sum(axis=1, keepdims=True)


def grain(rng: np.random.Generator, size: int, detail: float) -> np.ndarray:
    """Quantum noise [size, size] that agrees across sizes; unit variance at SMALLEST_SIZE.

    Refined by doubling: each pixel splits into four whose mean is the pixel. Three normal
    numbers a pixel with detail = 1 would give white noise; real detectors pass less of the
    fine detail (detail < 1).
    """
    field = rng.standard_normal((SMALLEST_SIZE, SMALLEST_SIZE), dtype=np.float32)
    scale = detail
    while field.shape[0] < size:
        n = field.shape[0]
        a, b, c = scale * rng.standard_normal((3, n, n), dtype=np.float32)
        finer = np.empty((n, 2, n, 2), np.float32)
        finer[:, 0, :, 0] = field + a + b + c
        finer[:, 0, :, 1] = field + a - b - c
        finer[:, 1, :, 0] = field - a + b - c
        finer[:, 1, :, 1] = field - a - b + c
        field = finer.reshape(2 * n, 2 * n)
        scale *= 2.0 * detail
    return field
