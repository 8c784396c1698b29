"""Paths through the class latent, z_structure held fixed, and the walk along them.

A path is a sequence of points z_0 ... z_K in z_class. `linear` needs an end; `aligned` follows the
classifier's gradient from the start. Distances are between images: the root mean square difference
of pixels on the [-1, 1] scale.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cxr_jax.types import Classify, Image, Severity

Points = Float[Array, "k b n"]
Frames = Float[Array, "k b h w 1"]
Draw = Callable[[Severity], Image]  # the generator with z_structure bound

TINY = 1e-8
PROBE = 1e-2  # in z_class, whose components are of order 1


def distance(image: Image, other: Image) -> Float[Array, "b"]:
    """Root mean square difference of each image."""
    return jnp.sqrt(jnp.square(image - other).mean(axis=(-3, -2, -1)))


def each_frame(fn: Callable, points: Float[Array, "k ..."]) -> Float[Array, "k ..."]:
    """Applies `fn` to the steps of a walk in turn: memory does not grow with its length."""
    return jax.lax.map(fn, points)


# 1. Paths.


def linear(start: Severity, end: Severity, num_steps: int) -> Points:
    """The straight segment from start to end."""
    t = jnp.linspace(0.0, 1.0, num_steps + 1).reshape(-1, 1, 1)
    return start[None] + t * (end - start)[None]


def aligned(
    start: Severity,
    towards: Float[Array, "b"],
    draw: Draw,
    classify: Classify,
    step_length: Float[Array, ""],
    num_steps: int,
) -> Points:
    """Gradient flow of f o G: at each point the direction that the classifier reacts to most.

    dz/ds = towards * g / |J g|, with g the gradient of f(G(z)) and J the Jacobian of G, so that the
    image moves at unit speed.

    Args:
      towards: +1 where the margin is to rise, -1 where it is to fall.
      step_length: distance between neighbouring frames.
    """

    def step(z: Severity, _: None) -> tuple[Severity, Severity]:
        gradient = jax.grad(lambda z: classify(draw(z)).sum())(z)
        direction = gradient / (jnp.linalg.norm(gradient, axis=-1, keepdims=True) + TINY)
        # |J d| by a finite difference: `jax.jvp` of the generator inside this scan, compiled for a
        # CPU, was seen to return zeros or NaN for 32 films and 24 steps (JAX 0.10.2).
        speed = distance(draw(z + PROBE * direction), draw(z))[:, None] / PROBE
        z = z + towards[:, None] * step_length * direction / (speed + TINY)
        return z, z

    _, points = jax.lax.scan(step, start, length=num_steps)
    return jnp.concatenate([start[None], points])


def at_unit_speed(points: Points, draw: Draw) -> Points:
    """The same polyline with its points spread evenly by image distance along it."""
    frames = each_frame(draw, points)
    pieces = distance(frames[1:], frames[:-1])  # [k, b]
    travelled = jnp.concatenate([jnp.zeros_like(pieces[:1]), jnp.cumsum(pieces, axis=0)])
    wanted = jnp.linspace(0.0, 1.0, len(points))[:, None] * travelled[-1:]
    place = jax.vmap(_interpolate_index, in_axes=1, out_axes=1)(wanted, travelled)  # [k, b]
    below = jnp.clip(jnp.floor(place).astype(jnp.int32), 0, len(points) - 2)
    share = (place - below)[..., None]
    rows = jnp.arange(points.shape[1])
    return (1 - share) * points[below, rows] + share * points[below + 1, rows]


def _interpolate_index(
    wanted: Float[Array, "k"], travelled: Float[Array, "k"]
) -> Float[Array, "k"]:
    return jnp.interp(wanted, travelled, jnp.arange(len(travelled), dtype=travelled.dtype))


# 2. The walk: frames, the change carried onto the real image, and what f and h say of it.


class Walk(NamedTuple):
    """A walk, frame by frame; the batch comes first, so that walks of many batches can be joined.

    Attributes:
      points: z_class [b, k, n].
      drawn: the generator's frames [b, k, h, w, 1].
      carried: the change carried onto the real image, clipped to [-1, 1].
      margin: f on `carried` [b, k].
      judged: h on `carried`.
      drawn_margin: f on `drawn`.
      distance: of `carried` from its first frame [b, k].
    """

    points: Float[Array, "b k n"]
    drawn: Float[Array, "b k h w 1"]
    carried: Float[Array, "b k h w 1"]
    margin: Float[Array, "b k"]
    judged: Float[Array, "b k"]
    drawn_margin: Float[Array, "b k"]
    distance: Float[Array, "b k"]


def carry(image: Image, drawn: Frames) -> Frames:
    """x + G(z_k) - G(z_0): keeps the detail of x that the generator cannot draw."""
    return jnp.clip(image[None] + drawn - drawn[:1], -1.0, 1.0)


def follow(points: Points, image: Image, draw: Draw, classify: Classify, judge: Classify) -> Walk:
    """Draws the frames of a path and asks f and h about them."""
    drawn = each_frame(draw, points)
    carried = carry(image, drawn)
    return Walk(
        *(
            jnp.moveaxis(array, 0, 1)
            for array in (
                points,
                drawn,
                carried,
                each_frame(classify, carried),
                each_frame(judge, carried),
                each_frame(classify, drawn),
                distance(carried, carried[:1]),
            )
        )
    )


# 3. Where a walk ends, and where it flips.


def stop(margin: np.ndarray, target: float, towards: int) -> tuple[np.ndarray, np.ndarray]:
    """The first frame of each walk [b, k] whose margin reaches `target`, else its last frame.

    Returns:
      (frame [b], whether the target was reached [b]).
    """
    reached = towards * (margin - target) >= 0
    return np.where(reached.any(axis=1), reached.argmax(axis=1), margin.shape[1] - 1), reached.any(
        axis=1
    )


def first_flip(margins: Sequence[np.ndarray], frame: np.ndarray, towards: int) -> np.ndarray:
    """The first frame, up to `frame` [b], where all given margins [b, k] have the sign `towards`.

    Returns:
      Frame numbers [b]; -1 where a walk does not flip.
    """
    flipped = np.logical_and.reduce([towards * margin > 0 for margin in margins])
    flipped &= np.arange(flipped.shape[1]) <= frame[:, None]
    return np.where(flipped.any(axis=1), flipped.argmax(axis=1), -1)
