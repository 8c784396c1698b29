"""The paths by name, bound to trained networks and compiled, over any number of films.

Every path is a function (trained, step_length, (films, towards, given)) -> Walk. `towards` [N] is
+1 where the margin is to rise, else -1. `given` [N, n] is the end of a path that has one, the
direction of `global` and `random`, and of no account to the others.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from cxr_jax import parallel, walk
from cxr_jax.films import Films, Thresholds, Trained
from cxr_jax.gan_objective import Networks
from cxr_jax.types import Classify, Image, Margin, Params, Severity
from cxr_jax.walk import Points, Walk

DIRECTIONS = {"pos_to_neg": -1, "neg_to_pos": 1}
NAMES = (
    "linear",
    "aligned",
    "natural",
    "ray",
    "global",
    "random",
    "chord",  # after `aligned`, whose ends it joins
    "geodesic",
    "geodesic_pixel",
    "pixel",
)
GEODESICS = ("geodesic", "geodesic_pixel")  # in robust features, in pixels


class Guide(NamedTuple):
    """What paths need that is not the film's own, from training and validation films.

    Attributes:
      step_length: between the frames of a path without an end.
      ends: z_class of training positives [e, n], where linear walks from a negative end.
      direction: of path `global` towards positive [n].
    """

    step_length: float
    ends: Severity
    direction: Severity


class Bound(NamedTuple):
    """The networks as functions of class latents and images; z_structure is the films'."""

    draw: walk.Draw
    classify: Classify
    judge: Classify
    robust_features: Callable[[Image], jax.Array]


def bind(
    networks: Networks, judge: nn.Module, robust: nn.Module | None, trained: Trained, films: Films
) -> Bound:
    """Binds the networks to their parameters and to the films' lungs."""

    def draw(severity: Severity) -> Image:
        return networks.generator.apply({"params": trained.generator}, films.structure, severity)

    def ask(network: nn.Module, params: Params) -> Classify:
        return lambda image: network.apply({"params": params}, image)[0]

    def robust_features(image: Image) -> jax.Array:
        _, features = robust.apply({"params": trained.robust}, image)
        return features[max(features)].reshape(len(image), -1)

    return Bound(
        draw,
        ask(networks.classifier, trained.classifier),
        ask(judge, trained.judge),
        robust_features,
    )


def latent_path(
    name: str,
    bound: Bound,
    start: Severity,
    towards: Margin,
    given: Severity,
    step_length: jax.Array,
    section: ml_collections.ConfigDict,
) -> Points:
    """The points of a path through the class latent; `section` is `config.explain`."""
    draw, steps = bound.draw, section.walk_steps
    if name in ("linear", "chord"):
        return walk.at_unit_speed(walk.linear(start, given, steps), draw, steps)
    if name in GEODESICS:
        points = walk.linear(start, given, section.geodesic.num_points - 1)
        embed = bound.robust_features if name == "geodesic" else lambda image: image
        points = walk.geodesic(
            points, draw, embed, section.geodesic.num_steps, section.geodesic.learning_rate
        )
        return walk.at_unit_speed(points, draw, steps)
    gradient = walk.margin_gradient(draw, bound.classify, towards)
    field = {
        "aligned": gradient,
        "natural": walk.natural_gradient(gradient, draw, **section.natural),
        "ray": walk.constant(gradient(start)),
        "global": walk.constant(given),
        "random": walk.constant(given),
    }[name]
    return walk.march(start, field, draw, step_length, steps)


def make_path(
    name: str,
    networks: Networks,
    judge: nn.Module,
    robust: nn.Module | None,
    section: ml_collections.ConfigDict,
) -> Callable[..., Walk]:
    """The pure function that walks a batch of films by one path; `section` is `config.explain`."""

    def path(trained: Trained, step_length: jax.Array, batch: tuple) -> Walk:
        films, towards, given = batch
        bound = bind(networks, judge, robust, trained, films)
        if name == "pixel":
            drawn = walk.pixel(
                films.image, towards, bound.classify, step_length, section.walk_steps
            )
            points = drawn[:, :, 0, 0, :0]
        else:
            points = latent_path(name, bound, films.severity, towards, given, step_length, section)
            drawn = walk.each_frame(bound.draw, points)
        return walk.follow(points, drawn, films.image, bound.classify, bound.judge)

    return path


def make_paths(
    networks: Networks,
    judge: nn.Module,
    robust: nn.Module | None,
    section: ml_collections.ConfigDict,
) -> dict[str, Callable[..., Walk]]:
    """The paths that `config.explain` asks for, in the order of NAMES, over any number of films."""
    return {
        name: parallel.in_batches(
            make_path(name, networks, judge, robust, section), 2, section.batch_size
        )
        for name in NAMES
        if name in section.paths
    }


def unit_gradient(networks: Networks, judge: nn.Module) -> Callable[[Trained, Films], Severity]:
    """A function (trained, films) -> the unit gradients of f(G(z)) at the films [b, n]."""

    def gradient(trained: Trained, films: Films) -> Severity:
        bound = bind(networks, judge, None, trained, films)
        up = jnp.ones(len(films.margin))
        return walk.unit(walk.margin_gradient(bound.draw, bound.classify, up)(films.severity))

    return gradient


def walk_films(
    paths: Mapping[str, Callable[..., Walk]],
    trained: Trained,
    guide: Guide,
    films: Films,
    towards: int,
    thresholds: Thresholds,
    seed: int,
) -> dict[str, list[Walk]]:
    """Walks films of one decision towards the other, by every path.

    Returns:
      The walks of each path: several only for `linear` from a negative, one to each end.
    """
    walks = {}
    sign = np.full(len(films.margin), towards, np.float32)
    for name, path in paths.items():
        if name == "random" and towards > 0:
            continue  # from the origin every direction is away from it
        walks[name] = [
            path(trained, jnp.float32(guide.step_length), (films, sign, given))
            for given in _given(name, guide, films, towards, walks, thresholds, seed)
        ]
    return walks


def _given(
    name: str,
    guide: Guide,
    films: Films,
    towards: int,
    walks: Mapping[str, list[Walk]],
    thresholds: Thresholds,
    seed: int,
) -> Sequence[Severity]:
    """The ends, or directions, that a path is given; one walk for each."""
    origin = np.zeros_like(films.severity)
    if name == "chord":
        aligned = walks["aligned"][0]
        frame, _ = walk.stop(aligned.margin, thresholds.target(towards), towards)
        return [aligned.points[np.arange(len(frame)), frame]]
    if name == "linear" and towards > 0:
        return [origin + end for end in guide.ends]
    if name in GEODESICS and towards > 0:
        return [origin + guide.ends[0]]
    if name == "global":
        return [origin + towards * guide.direction]
    if name == "random":
        noise = np.random.Generator(np.random.Philox(seed)).standard_normal(origin.shape)
        return [noise.astype(origin.dtype)]
    return [origin]
