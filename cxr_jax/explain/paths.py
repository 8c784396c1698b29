"""The paths by name, each a small record in one registry; compiled, for any number of films.

A new path is one `register(Path(...))`: the checks of a config, the walks, the tables and the
figures go by this registry.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import flax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Array, Float

from cxr_jax import necessity
from cxr_jax.explain import traversal
from cxr_jax.explain.films import Films, Thresholds
from cxr_jax.explain.traversal import Frames, Points, StoppedWalk, Walk, stop_walk
from cxr_jax.networks.restore import TrainedModels
from cxr_jax.runtime import parallel
from cxr_jax.types import AnyArray, Each, Image, Margin, Scalar, ZClass

DIRECTIONS = {"pos_to_neg": -1, "neg_to_pos": 1}


# 1. What a path is given, and what it is.


@flax.struct.dataclass(kw_only=True)
class Guide:
    """What paths need that is not the film's own, from training and validation films.

    Attributes:
      step_length: between the frames of a path without an end.
      ends: z_class of training positives [e, n], where linear walks from a negative end.
      end_structures: z_structure of the same films [e, s].
      direction: of path `global` towards positive [n]; zeros where that path is not walked.
    """

    step_length: Scalar
    ends: Float[np.ndarray, "e n"]
    end_structures: Float[np.ndarray, "e s"]
    direction: Float[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PathInputs:
    """A batch of films as a path sees it, inside the compiled program.

    Attributes:
      towards: +1 where the margin is to rise, else -1 [b].
      given: what `Path.given` says of each film [b, n].
      section: `config.explain`.
    """

    models: TrainedModels
    films: Films
    towards: Each
    given: ZClass
    step_length: Scalar
    section: ml_collections.ConfigDict

    def draw(self, z_class: ZClass) -> Image:
        """The generator with the films' z_structure."""
        return self.models.generator(self.films.z_structure, z_class)

    def robust_features(self, image: Image) -> Float[AnyArray, "b p"]:
        """The deepest feature map of the adversarially trained classifier."""
        _, features = self.models.robust(image)
        return features[self.models.robust.network.last_stage].reshape(len(image), -1)

    def gradient(self) -> traversal.Field:
        """The classifier's, towards the other decision."""
        return traversal.margin_gradient(self.draw, self.models.classify, self.towards)

    def march(self, field: traversal.Field) -> Points:
        """Follows a field from the films, at unit speed."""
        return traversal.march(
            self.films.z_class,
            field,
            self.draw,
            step_length=self.step_length,
            num_steps=self.section.walk_steps,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class GivenInputs:
    """Films about to be walked, outside the compiled program.

    Attributes:
      towards: +1 or -1, of all of them.
      walks: by the paths walked before.
    """

    films: Films
    towards: int
    guide: Guide
    walks: Mapping[str, StoppedWalk]
    seed: int

    @property
    def origin(self) -> ZClass:
        """The class latent of a negative film, for each."""
        return np.zeros_like(self.films.z_class)


def nothing(inputs: GivenInputs) -> ZClass:
    """For a path that finds its own way."""
    return inputs.origin


@dataclasses.dataclass(frozen=True, kw_only=True)
class Path:
    """One way to walk a film from its decision towards the other.

    Attributes:
      name: in configs and results.
      title: as people write it; "" for the name.
      points: traced; z_class along the way. Those of a path outside the latent space have n = 0.
      frames: traced; the images along the way from `points`, where they are not the generator's.
      is_latent: whether it runs through the latent space.
      given: the end or the direction that each film is given [N, n].
      straight: the path that is the straight line between the same ends, for `length_gain`.
      stops_at_end: whether that line ends where this path stops, not at its last frame.
      after: paths that must be walked before.
      evaluators: networks of `config.evaluators.names` that it needs.
      directions: in which it is walked.
    """

    name: str
    title: str = ""
    points: Callable[[PathInputs], Points]
    frames: Callable[[PathInputs, Points], Frames] | None = None
    is_latent: bool = True
    given: Callable[[GivenInputs], ZClass] = nothing
    straight: str = ""
    stops_at_end: bool = False
    after: tuple[str, ...] = ()
    evaluators: tuple[str, ...] = ()
    directions: tuple[str, ...] = tuple(DIRECTIONS)


PATHS: dict[str, Path] = {}


def register(path: Path) -> Path:
    """Enters a path under its name, after those that it needs."""
    PATHS[path.name] = path
    return path


def needed_evaluators(names: Sequence[str]) -> set[str]:
    """Of `config.evaluators.names`, what these paths need."""
    return {needed for name in names for needed in PATHS[name].evaluators}


# 2. The paths.


def _straight(inputs: PathInputs) -> Points:
    """The segment to the given end."""
    steps = inputs.section.walk_steps
    points = traversal.linear(inputs.films.z_class, inputs.given, steps)
    return traversal.at_unit_speed(points, inputs.draw, steps)


def _geodesic(inputs: PathInputs, embed: Callable[[Image], Array]) -> Points:
    """The discrete geodesic to the given end in the features `embed`."""
    section = inputs.section.geodesic
    points = traversal.geodesic(
        traversal.linear(inputs.films.z_class, inputs.given, section.num_points - 1),
        inputs.draw,
        embed,
        num_steps=section.num_steps,
        learning_rate=section.learning_rate,
    )
    return traversal.at_unit_speed(points, inputs.draw, inputs.section.walk_steps)


def _natural(inputs: PathInputs) -> Points:
    section = inputs.section.natural
    return inputs.march(
        traversal.natural_gradient(
            inputs.gradient(),
            inputs.draw,
            damping=section.damping,
            num_products=section.num_products,
        )
    )


def _felt_frames(inputs: PathInputs, points: Points) -> Frames:
    """The generator's, with the part of the walk's change that f feels, and more of that.

    The generator draws a finding weaker than it is: by a gain the walk goes on where it would end.
    """
    drawn = traversal.each_frame(inputs.draw, points)
    carried = traversal.carry(inputs.films.image, drawn)
    change = carried[-1] - carried[0]
    found = necessity.evidence_on_the_way(inputs.models.classify, carried[0], change)
    section = inputs.section.necessary
    kept = section.gain * necessity.felt(found, change, least=section.least_felt)
    return drawn[:1] + kept[None] * (drawn - drawn[:1])


def _pixel_frames(inputs: PathInputs, points: Points) -> Frames:
    del points  # it leaves the latent space
    return traversal.pixel(
        inputs.films.image,
        inputs.towards,
        inputs.models.classify,
        step_length=inputs.step_length,
        num_steps=inputs.section.walk_steps,
    )


def _no_points(inputs: PathInputs) -> Points:
    steps, rows = inputs.section.walk_steps + 1, len(inputs.films.image)
    return jnp.zeros((steps, rows, 0))


def _nearest_end(inputs: GivenInputs) -> ZClass:
    """The origin towards negative; towards positive the end of the guide's film most like each.

    Films of other lungs have their findings in other places: one end for all would be one pattern
    for all. Alike are films whose z_structure are near each other.
    """
    if inputs.towards < 0:
        return inputs.origin
    apart = inputs.films.z_structure[:, None] - inputs.guide.end_structures[None]
    nearest = np.square(apart).sum(axis=-1).argmin(axis=1)
    return inputs.origin + inputs.guide.ends[nearest]


def _aligned_stop(inputs: GivenInputs) -> ZClass:
    """Where `aligned` stopped."""
    aligned = inputs.walks["aligned"]
    return aligned.at_stop(aligned.walk.points)


def _guide_direction(inputs: GivenInputs) -> ZClass:
    direction = inputs.guide.direction
    if not direction.any():
        raise ValueError("the guide was made without path `global`: it has no direction")
    return inputs.origin + inputs.towards * direction


def _random_direction(inputs: GivenInputs) -> ZClass:
    noise = np.random.Generator(np.random.Philox(inputs.seed)).standard_normal(inputs.origin.shape)
    return noise.astype(inputs.origin.dtype)


register(Path(name="linear", points=_straight, given=_nearest_end))
register(
    Path(
        name="aligned",
        points=lambda inputs: inputs.march(inputs.gradient()),
        straight="chord",
        stops_at_end=True,
    )
)
register(Path(name="natural", points=_natural))
register(
    Path(
        name="ray",  # Latent Shift (Cohen et al., 2021)
        points=lambda inputs: inputs.march(
            traversal.constant(inputs.gradient()(inputs.films.z_class))
        ),
    )
)
register(
    Path(
        name="global",
        points=lambda inputs: inputs.march(traversal.constant(inputs.given)),
        given=_guide_direction,
    )
)
register(
    Path(
        name="random",
        points=lambda inputs: inputs.march(traversal.constant(inputs.given)),
        given=_random_direction,
        directions=("pos_to_neg",),  # from the origin every direction is away from it
    )
)
register(Path(name="chord", points=_straight, given=_aligned_stop, after=("aligned",)))
register(
    Path(
        name="geodesic",
        title="geodesic (robust features)",
        points=lambda inputs: _geodesic(inputs, inputs.robust_features),
        given=_nearest_end,
        straight="linear",
        evaluators=("robust",),
    )
)
register(
    Path(
        name="geodesic_pixel",
        title="geodesic (pixels)",
        points=lambda inputs: _geodesic(inputs, lambda image: image),
        given=_nearest_end,
        straight="linear",
    )
)
register(Path(name="pixel", points=_no_points, frames=_pixel_frames, is_latent=False))
register(
    Path(
        name="necessary",  # the necessary part of `linear`
        points=_straight,
        frames=_felt_frames,
        given=_nearest_end,
    )
)


# 3. Walking them.


def make_walk(
    path: Path, section: ml_collections.ConfigDict
) -> Callable[[tuple[TrainedModels, Array], tuple], Walk]:
    """The pure function ((models, step length), (films, towards, given)) -> walk of a batch.

    Args:
      section: `config.explain`.
    """

    def walk(frozen: tuple[TrainedModels, Array], batch: tuple[Films, Margin, ZClass]) -> Walk:
        models, step_length = frozen
        films, towards, given = batch
        inputs = PathInputs(
            models=models,
            films=films,
            towards=towards,
            given=given,
            step_length=step_length,
            section=section,
        )
        points = path.points(inputs)
        if path.frames:
            drawn = path.frames(inputs, points)
        else:
            drawn = traversal.each_frame(inputs.draw, points)
        return traversal.follow(
            points, drawn, films.image, classify=models.classify, judge=models.judge_margin
        )

    return walk


def unit_gradient(models: TrainedModels, films: Films) -> ZClass:
    """The unit gradients of f(G(z)) at the films [b, n]."""
    draw = lambda z_class: models.generator(films.z_structure, z_class)
    up = jnp.ones(len(films.margin))
    field = traversal.margin_gradient(draw, models.classify, up)
    return traversal.unit(field(films.z_class))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Walker:
    """The paths that a config asks for, compiled, over any number of films.

    Attributes:
      walks: by name, in the registry's order: functions as of `make_walk`, of NumPy arrays.
    """

    models: TrainedModels
    walks: Mapping[str, Callable[[tuple, tuple], Walk]]
    seed: int

    def only(self, *names: str) -> "Walker":
        """The same along these paths, and along those that they need."""
        wanted = {needed for name in names for needed in (name, *PATHS[name].after)}
        walks = {name: walk for name, walk in self.walks.items() if name in wanted}
        return dataclasses.replace(self, walks=walks)

    def __call__(
        self, films: Films, guide: Guide, thresholds: Thresholds, *, towards: int
    ) -> dict[str, StoppedWalk]:
        """Walks films of one decision towards the other, once by every path."""
        stopped: dict[str, StoppedWalk] = {}
        sign = np.full(len(films.margin), towards, np.float32)
        frozen = self.models, jnp.float32(guide.step_length)
        (direction,) = (name for name, sense in DIRECTIONS.items() if sense == towards)
        for name, walk in self.walks.items():
            if direction not in PATHS[name].directions:
                continue
            inputs = GivenInputs(
                films=films, towards=towards, guide=guide, walks=stopped, seed=self.seed
            )
            walked = walk(frozen, (films, sign, PATHS[name].given(inputs)))
            stopped[name] = stop_walk(walked, thresholds.target(towards), towards)
        return stopped


def make_walker(models: TrainedModels, section: ml_collections.ConfigDict, seed: int) -> Walker:
    """Compiles, when they are first walked, the paths of `config.explain`."""
    walks = {
        name: parallel.in_batches(make_walk(path, section), section.batch_size, f"path {name}")
        for name, path in PATHS.items()
        if name in section.paths
    }
    return Walker(models=models, walks=walks, seed=seed)
