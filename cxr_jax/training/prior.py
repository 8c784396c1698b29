"""Task `prior`: where the latents of films lie, so that chests can be drawn as there are.

All training films are encoded. A Gaussian is fitted to their latents, and two fields of velocities
are trained that carry its first principal coordinates to those of films: of z_structure where f
finds nothing, and of the directions of z_class where it does, given z_structure and f's answer. See
`cxr_jax/networks/prior.py`.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import flax
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Float

from cxr_jax.data.arrays import Arrays, to_unit_range
from cxr_jax.networks.grading import Scale
from cxr_jax.networks.prior import CodePrior, LatentPrior, fit_axes, make_prior
from cxr_jax.networks.restore import TrainedModels, has_prior, load_without_prior
from cxr_jax.runtime import parallel, precision
from cxr_jax.runtime.workdir import is_done, mark_done
from cxr_jax.training import samples, supervised
from cxr_jax.training.supervised import Loss
from cxr_jax.types import AnyArray, Each, Keys, Margin, Params, Pixels, ZClass, ZStructure

logger = logging.getLogger(__name__)

SEED = 5  # added to the run's: f and h have 0 and 1, evaluators 2 to 4
ENCODED_AT_ONCE = 128


@flax.struct.dataclass(kw_only=True)
class Codes:
    """What the encoder finds in films: the means of their latents.

    Attributes:
      direction: of z_class at the full radius.
      margin: f on the films.
    """

    z_structure: ZStructure
    direction: ZClass
    margin: Margin


def encode_films(models: TrainedModels, pixels: Pixels) -> Codes:
    """The codes of stored images [N, h, w, 1] uint8, as arrays on the host."""

    def encode(models: TrainedModels, pixels: Pixels) -> Codes:
        image = to_unit_range(pixels)
        (z_structure, _), (direction, _) = models.encoder(image)
        return Codes(z_structure=z_structure, direction=direction, margin=models.classify(image))

    return parallel.in_batches(encode, ENCODED_AT_ONCE, "encoding")(models, pixels)


def fit_gaussians(prior: LatentPrior, codes: Codes) -> LatentPrior:
    """The prior with mean and axes of these codes; its fields stay what they are."""

    def fit(drawn: CodePrior, codes: np.ndarray) -> CodePrior:
        mean, axes = fit_axes(codes, len(drawn.axes))
        return drawn.replace(mean=mean, axes=axes)

    return LatentPrior(
        structure=fit(prior.structure, codes.z_structure[codes.margin <= 0]),
        direction=fit(prior.direction, codes.direction[codes.margin > 0]),
    )


def flow_arrays(prior: LatentPrior, codes: Codes, scale: Scale) -> Arrays:
    """Of each film what the fields are taught: the coordinates that they carry noise to.

    `positive` is 1 where f calls it so: such films teach directions, and the others lungs.
    """
    arrays = {
        "structure": prior.structure.coordinates(codes.z_structure),
        "direction": prior.direction.coordinates(codes.direction),
        "context": prior.context(codes.z_structure, codes.margin, scale=scale),
        "positive": codes.margin > 0,
    }
    return {name: np.asarray(array, np.float32) for name, array in arrays.items()}


def flow_loss(prior: LatentPrior) -> Loss:
    """The mean squared error of both fields' velocities, each over the films of its decision."""

    def error(name: str, params: Params, batch: Arrays, noise: AnyArray) -> Each:
        drawn: CodePrior = getattr(prior, name)
        return velocity_error(
            drawn.flow.replace(params=params[name]),
            batch[name],
            batch["context"] if name == "direction" else batch["context"][:, :0],
            noise=noise,
            weights=drawn.weights,
        )

    def loss(params: Params, batch: Arrays, keys: Keys, step: jax.Array) -> jax.Array:
        del step
        shape = (2, prior.structure.num_bent + 1)
        noise = jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
        taught = {"structure": 1 - batch["positive"], "direction": batch["positive"]}
        return sum(
            mean_over(films, error(name, params, batch, noise[:, number]))
            for number, (name, films) in enumerate(taught.items())
        )

    return loss


def mean_over(films: Each, values: Each) -> jax.Array:
    """The mean of values over some films, 1 where one is meant, of the batch of all devices."""
    share = parallel.mean(films.mean())
    return (films * values).mean() / jnp.maximum(share, 1e-6)


def velocity_error(
    field: Callable[..., AnyArray],
    coordinates: Float[AnyArray, "b k"],
    context: Float[AnyArray, "b c"],
    *,
    noise: Float[AnyArray, "b _"],
    weights: Float[AnyArray, " k"],
) -> Float[AnyArray, " b"]:
    """How far a field is from moving noise straight to each row's coordinates, at one time.

    Times in the middle of the way are drawn more often (Esser et al., ICML 2024).

    Args:
      noise: N(0, 1); the last column is the time's.
    """
    start, time = noise[:, :-1], jax.nn.sigmoid(noise[:, -1])
    point = (1 - time[:, None]) * start + time[:, None] * coordinates
    velocity = coordinates - start
    error = jnp.square(field(point, time, context) - velocity)
    return error @ weights / len(weights)


def train_flows(
    section: ml_collections.ConfigDict,
    prior: LatentPrior,
    arrays: Arrays,
    *,
    seed: int,
    directory: Path,
) -> LatentPrior:
    """Trains both fields, resuming where a killed run was.

    Args:
      section: `config.prior`.
      arrays: of `flow_arrays`.
    """

    def with_flows(flows: Params) -> LatentPrior:
        arrays = {name: each | {"flow": flows[name]} for name, each in prior.arrays.items()}
        return prior.with_arrays(arrays)

    flows = supervised.train_params(
        section,
        {name: each["flow"] for name, each in prior.arrays.items()},
        flow_loss(prior),
        arrays=arrays,
        seed=seed,
        directory=directory,
        saved=lambda flows: with_flows(flows).arrays,
    )
    return with_flows(flows)


@precision.exactly
def run(config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]) -> None:
    """Fits the prior to the training films, trains its fields and draws a sheet of chests."""
    directory, section = workdir / "prior", config.prior
    if is_done(directory):
        logger.info("prior: complete, skipped")
        return
    if not has_prior(config):
        logger.info("prior: the paper's is N(0, I)")
        directory.mkdir(parents=True, exist_ok=True)
        mark_done(directory, steps=0)
        return
    seed = config.seed + SEED
    models = load_without_prior(config, workdir)
    codes = encode_films(models, splits["train"]["image"])
    prior = fit_gaussians(make_prior(config, seed), codes)
    arrays = flow_arrays(prior, codes, models.scale)
    prior = train_flows(section, prior, arrays, seed=seed, directory=directory)
    if parallel.is_first():
        samples.draw_chests(directory / "samples.png", models.replace(prior=prior))
    mark_done(directory, steps=section.num_steps)
