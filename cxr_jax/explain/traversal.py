"""Latent traversal: paths through the class latent, z_structure held fixed, and walks along them.

A path is a sequence of points z_0 ... z_K in z_class. Some are given by their ends (`linear`,
`geodesic`), the others by a field that says at each point where to go, which `march` follows. One,
`pixel`, leaves the latent space. Distances are between images: the root mean square difference of
pixels on the [-1, 1] scale.
"""

from collections.abc import Callable, Sequence

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Bool, Float, Int

from cxr_jax.types import AnyArray, Classify, Each, Image, Scalar, ZClass

Points = Float[AnyArray, "k b n"]
Frames = Float[AnyArray, "k b h w 1"]
Draw = Callable[[ZClass], Image]  # the generator with z_structure bound
Field = Callable[[ZClass], ZClass]  # where to go from a point; its length is of no account

TINY = 1e-8
PROBE = 1e-2  # in z_class, whose components are of order 1


def distance(
    image: Float[AnyArray, "*batch h w 1"], other: Float[AnyArray, "*#batch h w 1"]
) -> Float[AnyArray, "*batch"]:
    """Root mean square difference of each image."""
    return jnp.sqrt(jnp.square(image - other).mean(axis=(-3, -2, -1)))


def each_frame(fn: Callable, points: Float[AnyArray, "k ..."]) -> Float[AnyArray, "k ..."]:
    """Applies `fn` to the steps of a walk in turn: memory does not grow with its length."""
    return jax.lax.map(fn, points)


# 1. Paths.


def linear(start: ZClass, end: ZClass, num_steps: int) -> Points:
    """The straight segment from start to end."""
    t = jnp.linspace(0.0, 1.0, num_steps + 1).reshape(-1, 1, 1)
    return start[None] + t * (end - start)[None]


def geodesic(
    points: Points,
    draw: Draw,
    embed: Callable[[Image], Float[AnyArray, "b ..."]],
    *,
    num_steps: int,
    learning_rate: float,
) -> Points:
    """A shorter path between the same ends: least energy sum_k |phi(G(z_k+1)) - phi(G(z_k))|^2.

    The discrete geodesic of the generator's pull-back metric (Shao et al., 2018), in the features
    phi; by Adam on the points between the ends.

    Args:
      points: where to start from, usually `linear`.
      embed: phi.
    """
    ends = points[:1], points[-1:]

    def energy(inner: Points) -> Scalar:
        path = jnp.concatenate([ends[0], inner, ends[1]])
        seen = each_frame(lambda z: embed(draw(z)), path)
        return jnp.square(seen[1:] - seen[:-1]).sum()

    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, max(num_steps, 1)))

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        inner, state = carry
        updates, state = optimizer.update(jax.grad(energy)(inner), state)
        return (optax.apply_updates(inner, updates), state), None

    inner = points[1:-1]
    (inner, _), _ = jax.lax.scan(step, (inner, optimizer.init(inner)), length=num_steps)
    return jnp.concatenate([ends[0], inner, ends[1]])


def margin_gradient(draw: Draw, classify: Classify, towards: Each) -> Field:
    """Field of path `aligned`: +-d f(G(z)) / dz, the direction that f reacts to most.

    Args:
      towards: +1 where the margin is to rise, -1 where it is to fall.
    """

    def field(z: ZClass) -> ZClass:
        return towards[:, None] * jax.grad(lambda z: classify(draw(z)).sum())(z)

    return field


def constant(direction: ZClass) -> Field:
    """Field of the straight paths `ray`, `global` and `random`: the same direction everywhere."""
    return lambda z: direction


def natural_gradient(gradient: Field, draw: Draw, *, damping: float, num_products: int) -> Field:
    """Field of path `natural`: (J^T J + lambda I)^-1 g, steepest in the image, not in the latent.

    J is the generator's Jacobian, which is never formed: conjugate gradients ask for its products
    alone (Martens, 2010).

    Args:
      gradient: the field to be preconditioned.
      damping: lambda, in units of the curvature g^T J^T J g / g^T g along the gradient.
      num_products: conjugate gradient steps.
    """

    def field(z: ZClass) -> ZClass:
        g = unit(gradient(z))
        image, pull_back = jax.vjp(draw, z)

        def metric(v: ZClass) -> ZClass:
            return pull_back((draw(z + PROBE * v) - image) / PROBE)[0]

        curvature = _dot(g, metric(g))
        return _solve(lambda v: metric(v) / (curvature + TINY) + damping * v, g, num_products)

    return field


def _dot(one: ZClass, other: ZClass) -> Float[AnyArray, "b 1"]:
    return (one * other).sum(axis=-1, keepdims=True)


def _solve(matrix: Callable[[ZClass], ZClass], right: ZClass, num_products: int) -> ZClass:
    """Conjugate gradients for each row's own system, from zero.

    `jax.scipy.sparse.linalg.cg` takes a batch for one system and shares its steps among the rows.
    """

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        solution, residual, direction = carry
        size, product = _dot(residual, residual), matrix(direction)
        share = size / (_dot(direction, product) + TINY)
        solution, residual = solution + share * direction, residual - share * product
        direction = residual + _dot(residual, residual) / (size + TINY) * direction
        return (solution, residual, direction), None

    start = jnp.zeros_like(right), right, right
    return jax.lax.scan(step, start, length=num_products)[0][0]


def unit(direction: ZClass) -> ZClass:
    """Each row divided by its length."""
    return direction / (jnp.linalg.norm(direction, axis=-1, keepdims=True) + TINY)


def march(
    start: ZClass, field: Field, draw: Draw, *, step_length: Scalar, num_steps: int
) -> Points:
    """Follows a field so that the image moves at unit speed: dz/ds = v / |J v|.

    Args:
      step_length: distance between neighbouring frames.
    """

    def step(z: ZClass, _: None) -> tuple[ZClass, ZClass]:
        direction = unit(field(z))
        # |J v| by a finite difference: `jax.jvp` of the generator inside this scan, compiled for a
        # CPU, was seen to return zeros or NaN for 32 films and 24 steps (JAX 0.10.2).
        speed = distance(draw(z + PROBE * direction), draw(z))[:, None] / PROBE
        z = z + step_length * direction / (speed + TINY)
        return z, z

    _, points = jax.lax.scan(step, start, length=num_steps)
    return jnp.concatenate([start[None], points])


def pixel(
    image: Image,
    towards: Each,
    classify: Classify,
    *,
    step_length: Scalar,
    num_steps: int,
) -> Frames:
    """The adversarial control: gradient steps on the pixels themselves, as frames (Madry, 2018)."""

    def step(x: Image, _: None) -> tuple[Image, Image]:
        gradient = jax.grad(lambda x: classify(x).sum())(x)
        size = distance(gradient, 0 * gradient)
        move = towards * step_length / (size + TINY)
        x = jnp.clip(x + move[:, None, None, None] * gradient, -1.0, 1.0)
        return x, x

    _, frames = jax.lax.scan(step, image, length=num_steps)
    return jnp.concatenate([image[None], frames])


def at_unit_speed(
    points: Points, draw: Draw, num_steps: int
) -> Float[AnyArray, "{num_steps}+1 b n"]:
    """The same polyline as `num_steps` + 1 points, spread evenly by image distance along it."""
    frames = each_frame(draw, points)
    pieces = distance(frames[1:], frames[:-1])  # [k, b]
    travelled = jnp.concatenate([jnp.zeros_like(pieces[:1]), jnp.cumsum(pieces, axis=0)])
    wanted = jnp.linspace(0.0, 1.0, num_steps + 1)[:, None] * travelled[-1:]
    place = jax.vmap(_interpolate_index, in_axes=1, out_axes=1)(wanted, travelled)  # [k, b]
    below = jnp.clip(jnp.floor(place).astype(jnp.int32), 0, len(points) - 2)
    share = (place - below)[..., None]
    rows = jnp.arange(points.shape[1])
    return (1 - share) * points[below, rows] + share * points[below + 1, rows]


def _interpolate_index(
    wanted: Float[AnyArray, " k"], travelled: Float[AnyArray, " m"]
) -> Float[AnyArray, " k"]:
    return jnp.interp(wanted, travelled, jnp.arange(len(travelled), dtype=travelled.dtype))


# 2. The walk: frames, the change carried onto the real image, and what f and h say of it.


@flax.struct.dataclass(kw_only=True)
class Walk:
    """A walk, frame by frame; the batch comes first, so that walks of many batches can be joined.

    Attributes:
      points: z_class [b, k, n]; n = 0 for a path that does not run through the latent space.
      drawn: frames before they are carried [b, k, h, w, 1]: the generator's, but for a path with
        frames of its own.
      carried: the change carried onto the real image, clipped to [-1, 1].
      margin, judge_margin: f and h on `carried` [b, k].
      distance: of `carried` from its first frame [b, k].
    """

    points: Float[AnyArray, "b k n"]
    drawn: Float[AnyArray, "b k h w 1"]
    carried: Float[AnyArray, "b k h w 1"]
    margin: Float[AnyArray, "b k"]
    judge_margin: Float[AnyArray, "b k"]
    distance: Float[AnyArray, "b k"]


def carry(image: Image, drawn: Frames) -> Frames:
    """x + G(z_k) - G(z_0): keeps the detail of x that the generator cannot draw."""
    return jnp.clip(image[None] + drawn - drawn[:1], -1.0, 1.0)


def follow(
    points: Points, drawn: Frames, image: Image, *, classify: Classify, judge: Classify
) -> Walk:
    """Carries the frames of a path onto the image and asks f and h about them."""
    carried = carry(image, drawn)
    walk = Walk(
        points=points,
        drawn=drawn,
        carried=carried,
        margin=each_frame(classify, carried),
        judge_margin=each_frame(judge, carried),
        distance=distance(carried, carried[:1]),
    )
    return jax.tree.map(lambda steps: jnp.moveaxis(steps, 0, 1), walk)


# 3. Where a walk stops, and where it flips; of NumPy arrays.


@flax.struct.dataclass(kw_only=True)
class StoppedWalk:
    """One walk of each film, and where it stops; N rows each.

    Attributes:
      walk: as far as it goes.
      frame: where it stops: the first at which f, on the carried image, reaches the median margin
        of the films that it decides otherwise; else the last.
      reached: whether it got there.
      flip: first frame, up to `frame`, at which f and h both have changed sign; -1 if none.
      flip_f: the same for f alone.
      change: carried(frame) - carried(0), [N, h, w, 1].
    """

    walk: Walk
    frame: Int[np.ndarray, " b"]
    reached: Bool[np.ndarray, " b"]
    flip: Int[np.ndarray, " b"]
    flip_f: Int[np.ndarray, " b"]
    change: Float[np.ndarray, "b h w 1"]

    def at_stop(self, values: np.ndarray) -> np.ndarray:
        """Of something said of every frame [N, k, ...], what is said of the stop [N, ...]."""
        return values[np.arange(len(self.frame)), self.frame]

    @staticmethod
    def concatenate(parts: Sequence["StoppedWalk"]) -> "StoppedWalk":
        """The films of several, one after the other."""
        return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)

    def rows(self, picked: np.ndarray | slice) -> "StoppedWalk":
        """Some of the films."""
        return jax.tree.map(lambda array: array[picked], self)


def stop_walk(walk: Walk, target: float, towards: int) -> StoppedWalk:
    """Stops each walk where f reaches `target`, rising (`towards` 1) or falling (-1)."""
    frame, reached = first_reached(walk.margin, target, towards)
    return StoppedWalk(
        walk=walk,
        frame=frame,
        reached=reached,
        flip=first_flip([walk.margin, walk.judge_margin], frame, towards),
        flip_f=first_flip([walk.margin], frame, towards),
        change=walk.carried[np.arange(len(frame)), frame] - walk.carried[:, 0],
    )


def first_reached(margin: np.ndarray, target: float, towards: int) -> tuple[np.ndarray, np.ndarray]:
    """The first frame of each walk [b, k] whose margin reaches `target`, else its last frame.

    Returns:
      (frame [b], whether the target was reached [b]).
    """
    reached = towards * (margin - target) >= 0
    ever = reached.any(axis=1)
    return np.where(ever, reached.argmax(axis=1), margin.shape[1] - 1), ever


def first_flip(margins: Sequence[np.ndarray], frame: np.ndarray, towards: int) -> np.ndarray:
    """The first frame, up to `frame` [b], where all given margins [b, k] have changed sign.

    A margin that has the sign `towards` at the start has nothing to change: that walk cannot flip.

    Returns:
      Frame numbers [b]; -1 where a walk does not flip.
    """
    flipped = np.logical_and.reduce([towards * margin > 0 for margin in margins])
    flipped &= np.logical_and.reduce([towards * margin[:, :1] <= 0 for margin in margins])
    flipped &= np.arange(flipped.shape[1]) <= frame[:, None]
    return np.where(flipped.any(axis=1), flipped.argmax(axis=1), -1)
