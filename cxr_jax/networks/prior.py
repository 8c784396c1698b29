"""Where the latents of films lie: p(z_structure), and p(z_class | z_structure, f's answer).

The generator is trained on latents of films, and these are far from N(0, I): their means are not
zero, neighbours go together, and most directions hardly vary. So chests are drawn from a Gaussian
with the mean and the covariance of the encoded films, whose first principal coordinates a flow
bends to where those of films are. Directions of z_class are drawn likewise, given the lungs and
what f shall say; their radius is that answer's.
"""

from collections.abc import Callable

import flax
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import scipy.linalg
from jaxtyping import Float

from cxr_jax.models.flow import VelocityField
from cxr_jax.models.model import Model
from cxr_jax.networks import grading
from cxr_jax.networks.build import make_gan_networks
from cxr_jax.networks.grading import Scale
from cxr_jax.runtime.streams import Stream, fold_keys
from cxr_jax.types import AnyArray, Count, Index, Keys, Margin, Params, ZClass, ZStructure

LONGEST = 2.0  # times its radius, a finding that f answers less than is wanted
NUM_HALVINGS = 7  # of the way to it
LEAST_SPREAD = 1e-4  # of the largest: an axis along which films vary less is none


def fit_axes(
    codes: Float[np.ndarray, "b n"], num_axes: int
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "k n"]]:
    """Mean and principal axes of some codes: as many of the widest as are asked for.

    Each axis is as long as codes deviate along it; those that there are not are zero.
    """
    mean = codes.mean(axis=0, dtype=np.float64)
    apart = np.float64(codes) - mean
    rows, columns = apart.shape
    by_rows = rows < columns  # the smaller of both products has the same eigenvalues
    product = (apart @ apart.T if by_rows else apart.T @ apart) / max(rows - 1, 1)
    kept = min(num_axes, len(product))
    values, vectors = scipy.linalg.eigh(
        product, subset_by_index=(len(product) - kept, len(product) - 1)
    )
    spread = np.sqrt(np.maximum(values[::-1], 0))
    found = spread > LEAST_SPREAD * spread[0]
    directions = vectors[:, ::-1].T[found]
    directions = directions @ apart if by_rows else directions
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    axes = np.zeros((num_axes, columns), np.float32)
    axes[: found.sum()] = spread[found, None] * directions
    return np.float32(mean), axes


def carry_noise(
    field: Callable[..., AnyArray],
    noise: Float[AnyArray, "b k"],
    context: Float[AnyArray, "b c"],
    *,
    num_steps: int,
    back: bool = False,
) -> Float[AnyArray, "b k"]:
    """Follows a field of velocities from noise (t = 0) to t = 1, by Heun's steps.

    Args:
      back: from t = 1 to 0 instead: to the noise that was carried here.
    """
    stride = (-1 if back else 1) / num_steps

    def step(number: Count, x: jax.Array) -> jax.Array:
        start = jnp.full(len(x), back + number * stride)
        first = field(x, start, context)
        second = field(x + first * stride, start + stride, context)
        return x + (first + second) * stride / 2

    return jax.lax.fori_loop(0, num_steps, step, noise)


def slerp(
    one: Float[AnyArray, "b k"], other: Float[AnyArray, "b k"], share: float
) -> Float[AnyArray, "b k"]:
    """Spherical interpolation of noise (Shoemake, 1985), a row each.

    Halfway on the straight line two rows of N(0, I) are too short by the root of two, and what is
    drawn of them is everybody's mean; on the sphere they stay as long as noise is.
    """
    lengths = (jnp.linalg.norm(row, axis=1, keepdims=True) for row in (one, other))
    units = [row / length for row, length in zip((one, other), lengths, strict=True)]
    # Of equal rows the angle is not quite zero, so that the way between them is the straight one.
    cosine = (units[0] * units[1]).sum(axis=1, keepdims=True).clip(-1 + 1e-6, 1 - 1e-6)
    angle = jnp.arccos(cosine)
    weights = jnp.sin((1 - share) * angle), jnp.sin(share * angle)
    return (weights[0] * one + weights[1] * other) / jnp.sin(angle)


@flax.struct.dataclass(kw_only=True)
class CodePrior:
    """Draws codes: mean + coordinates @ axes, the first coordinates carried, the others N(0, I).

    Attributes:
      mean: [n]; `axes`: [k, n], see `fit_axes`.
      flow: a field of velocities over the first coordinates.
      num_bent: how many coordinates it carries.
      num_steps: of following it.
    """

    mean: Float[AnyArray, " n"]
    axes: Float[AnyArray, "k n"]
    flow: Model
    num_bent: int = flax.struct.field(pytree_node=False)
    num_steps: int = flax.struct.field(pytree_node=False)

    def coordinates(self, codes: Float[AnyArray, "b n"]) -> Float[AnyArray, "b m"]:
        """The first coordinates of codes, in standard deviations; zero where there is no axis."""
        return self._along(self.axes[: self.num_bent], codes)

    def _along(self, axes: Float[AnyArray, "m n"], codes: AnyArray) -> AnyArray:
        variance = jnp.square(axes).sum(axis=1)
        inverse = jnp.where(variance > 0, 1 / jnp.where(variance > 0, variance, 1), 0)
        return (codes - self.mean[None]) @ (axes * inverse[:, None]).T

    @property
    def weights(self) -> Float[AnyArray, " m"]:
        """Of the first coordinates, 1 in the mean: how far codes spread along each."""
        spread = jnp.sqrt(jnp.square(self.axes[: self.num_bent]).sum(axis=1))
        return spread / jnp.maximum(spread.mean(), 1e-6)

    def draw(self, keys: Keys, context: Float[AnyArray, "b c"]) -> Float[AnyArray, "b n"]:
        """Codes, a row for each key."""
        noise = jax.vmap(lambda key: jax.random.normal(key, (len(self.axes),)))(keys)
        return self.from_noise(noise, context)

    def from_noise(
        self, noise: Float[AnyArray, "b k"], context: Float[AnyArray, "b c"]
    ) -> Float[AnyArray, "b n"]:
        """The codes that noise stands for."""
        first, rest = noise[:, : self.num_bent], noise[:, self.num_bent :]
        first = carry_noise(self.flow, first, context, num_steps=self.num_steps)
        return self.mean[None] + jnp.concatenate([first, rest], axis=1) @ self.axes

    def to_noise(
        self, codes: Float[AnyArray, "b n"], context: Float[AnyArray, "b c"]
    ) -> Float[AnyArray, "b k"]:
        """The noise that codes come from, as far as there are axes."""
        along = self._along(self.axes, codes)
        first, rest = along[:, : self.num_bent], along[:, self.num_bent :]
        first = carry_noise(self.flow, first, context, num_steps=self.num_steps, back=True)
        return jnp.concatenate([first, rest], axis=1)

    @property
    def arrays(self) -> Params:
        """As a checkpoint and an exported run hold it."""
        return {"mean": self.mean, "axes": self.axes, "flow": self.flow.params}

    def with_arrays(self, arrays: Params) -> "CodePrior":
        """The same with such arrays in its own's stead."""
        flow = self.flow.replace(params=arrays["flow"])
        return self.replace(mean=arrays["mean"], axes=arrays["axes"], flow=flow)


@flax.struct.dataclass(kw_only=True)
class LatentPrior:
    """Draws latents as films have them.

    Attributes:
      structure: of z_structure, of films that f calls negative: in the others the encoder leaves
        something of their findings.
      direction: of z_class at the full radius, of films that f calls positive.
    """

    structure: CodePrior
    direction: CodePrior

    def draw_structure(self, keys: Keys) -> ZStructure:
        """Lungs, a row for each key."""
        return self.structure.draw(keys, jnp.zeros((len(keys), 0)))

    def draw_class(
        self, keys: Keys, z_structure: ZStructure, margin: Margin, *, scale: Scale
    ) -> ZClass:
        """A finding that suits these lungs and answers of f, a row for each key.

        The origin where the answer is negative.
        """
        direction = self.direction.draw(keys, self.context(z_structure, margin, scale=scale))
        return grading.film_radius(scale, margin)[:, None] * direction

    def context(
        self, z_structure: ZStructure, margin: Margin, *, scale: Scale
    ) -> Float[AnyArray, "b c"]:
        """What a direction of z_class is drawn by."""
        lungs = self.structure.coordinates(z_structure)
        return jnp.concatenate([lungs, margin[:, None] / scale.strong], axis=1)

    def midpoints(self, one: ZStructure, other: ZStructure) -> ZStructure:
        """Lungs halfway between two patients', row by row."""
        nothing = jnp.zeros((len(one), 0))
        ends = (self.structure.to_noise(lungs, nothing) for lungs in (one, other))
        return self.structure.from_noise(slerp(*ends, 0.5), nothing)

    @property
    def arrays(self) -> Params:
        """As a checkpoint and an exported run hold it."""
        return {"structure": self.structure.arrays, "direction": self.direction.arrays}

    def with_arrays(self, arrays: Params) -> "LatentPrior":
        """The same with such arrays in its own's stead."""
        return LatentPrior(
            structure=self.structure.with_arrays(arrays["structure"]),
            direction=self.direction.with_arrays(arrays["direction"]),
        )


def draw_latents(
    drawn_by: tuple[LatentPrior, Scale, Count], films: tuple[Index, Index, Margin]
) -> tuple[ZStructure, ZClass]:
    """Both latents of patients whom nobody has seen, row by row.

    Args:
      drawn_by: the prior, the scale, and a seed, which names the population.
      films: of each its patient and its finding, by number, and what f shall answer.
    """
    prior, scale, seed = drawn_by
    patient, finding, margin = films
    lungs, lesions = (
        fold_keys(jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), number), stream)
        for number, stream in ((patient, Stream.PATIENT), (finding, Stream.FINDING))
    )
    z_structure = prior.draw_structure(lungs)
    return z_structure, prior.draw_class(lesions, z_structure, margin, scale=scale)


def draw_answered(
    drawn_by: tuple[LatentPrior, Scale, Count],
    models: tuple[Model, Model],
    films: tuple[Index, Index, Margin],
) -> tuple[ZStructure, ZClass]:
    """`draw_latents`, each finding as strong as makes f answer as wanted.

    Args:
      models: generator and classifier.
    """
    (generator, classifier), (_, _, margin) = models, films
    z_structure, z_class = draw_latents(drawn_by, films)
    answer = lambda z_class: classifier(generator(z_structure, z_class))[0]
    return z_structure, as_answered(answer, z_class, margin)


def as_answered(answer: Callable[[ZClass], Margin], z_class: ZClass, margin: Margin) -> ZClass:
    """Each finding as strong as makes f answer as wanted, by halving; at most LONGEST times.

    A radius says what f answers on average; one patient's finding is answered otherwise.

    Args:
      answer: f on what is drawn with a z_class.
    """

    def halve(_: Count, ends: tuple[Margin, Margin]) -> tuple[Margin, Margin]:
        low, high = ends
        middle = (low + high) / 2
        is_too_strong = answer(middle[:, None] * z_class) > margin
        return jnp.where(is_too_strong, low, middle), jnp.where(is_too_strong, middle, high)

    ends = jnp.zeros_like(margin), jnp.full_like(margin, LONGEST)
    low, high = jax.lax.fori_loop(0, NUM_HALVINGS, halve, ends)
    return (low + high)[:, None] / 2 * z_class


def make_prior(config: ml_collections.ConfigDict, seed: int) -> LatentPrior:
    """The prior of a config before it has seen films: no axes, and fields that move nothing."""
    section = config.prior
    field = VelocityField(width=section.width, depth=section.depth)
    noise, time = jnp.zeros((1, section.num_bent)), jnp.zeros(1)

    def make(size: int, key: jax.Array, num_context: int) -> CodePrior:
        params = field.init(key, noise, time, jnp.zeros((1, num_context)))["params"]
        return CodePrior(
            mean=np.zeros(size, np.float32),
            axes=np.zeros((section.num_axes, size), np.float32),
            flow=Model(field, params),
            num_bent=section.num_bent,
            num_steps=section.ode_steps,
        )

    num_structure, num_class = make_gan_networks(config).generator.latent_sizes
    keys = jax.random.split(jax.random.key(seed))
    return LatentPrior(
        structure=make(num_structure, keys[0], 0),
        direction=make(num_class, keys[1], section.num_bent + 1),
    )
