"""Sample sheets: what a generator draws, one z_structure a row.

In training the first column has no class latent, and each of the others lends one, at two
strengths. Of a finished GAN both latents are drawn from its prior, for several answers of f.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from cxr_jax import plots
from cxr_jax.data.arrays import Arrays, to_unit_range
from cxr_jax.models.model import Model
from cxr_jax.networks import grading
from cxr_jax.networks.build import GanNetworks
from cxr_jax.networks.prior import draw_answered, fit_axes
from cxr_jax.networks.restore import TrainedModels
from cxr_jax.runtime import parallel
from cxr_jax.training.gan_state import FrozenInputs
from cxr_jax.types import AnyArray, Image, Margin, Params, Pixels, ZClass, ZStructure

NUM_PRIOR = 3  # chests that are no film's
NUM_ENCODED = 256  # films whose Gaussian they are drawn from
NUM_FILMS = 3  # of each class
STRENGTHS = (0.5, 1.0)
NUM_CHESTS = 6  # of a finished GAN
SEVERITIES = (0.25, 0.5, 1.0, 1.0)  # of their findings: shares of a strong positive's margin


def draw_films(
    path: Path, networks: GanNetworks, params: Params, *, frozen: FrozenInputs, films: Arrays
) -> None:
    """Rows: chests drawn alike to negative films, then the first of these; z_class: of positives.

    Args:
      params: averaged, of {"generator", "encoder"}.
      films: `image` and `label`.
    """
    negative, positive = (films["image"][films["label"] == label] for label in (0, 1))
    encoder = Model(networks.encoder, params["encoder"])
    lungs, _ = _encode(encoder, frozen, negative[:NUM_ENCODED])
    _, z_class = _encode(encoder, frozen, positive[:NUM_FILMS])
    rows = np.concatenate([_draw_alike(np.asarray(lungs)), lungs[:NUM_FILMS]])
    generator = Model(networks.generator, params["generator"])
    _draw(path, generator, rows, lent=z_class, title="film")


def _draw_alike(codes: Float[np.ndarray, "b s"]) -> Float[np.ndarray, "rows s"]:
    """From the Gaussian with the codes' mean and covariance."""
    mean, axes = fit_axes(codes, min(codes.shape))
    noise = np.random.Generator(np.random.Philox(0)).standard_normal((NUM_PRIOR, len(axes)))
    return np.float32(mean + noise @ axes)


def draw_prior(path: Path, networks: GanNetworks, params: Params) -> None:
    """The same from N(0, I) alone, for an objective that knows nothing else."""
    keys = jax.random.split(jax.random.key(0))
    num_structure, num_class = networks.generator.latent_sizes
    z_structure = jax.random.normal(keys[0], (2 * NUM_PRIOR, num_structure))
    z_class = jax.random.normal(keys[1], (NUM_PRIOR, num_class))
    generator = Model(networks.generator, params["generator"])
    _draw(path, generator, z_structure, lent=z_class, title="draw")


def draw_chests(path: Path, models: TrainedModels) -> None:
    """Rows: chests from the prior; columns: without a finding, then one that f shall answer so."""
    scale = models.scale
    wanted = np.append(scale.negative, scale.strong * np.array(SEVERITIES, np.float32))
    patient, finding = np.divmod(np.arange(NUM_CHESTS * len(wanted), dtype=np.int32), len(wanted))
    films = patient, finding, np.tile(wanted, NUM_CHESTS)

    def draw(models: TrainedModels, films: tuple) -> tuple[Image, Margin]:
        drawn_by = models.prior, models.scale, np.int32(0)
        latents = draw_answered(drawn_by, (models.generator, models.classifier), films)
        image = models.generator(*latents)
        return image, models.classify(image)

    image, margin = parallel.in_batches(draw, len(finding))(models, films)
    titles = ["no finding", *(f"wanted p = {plots.probability(each):.2f}" for each in wanted[1:])]
    sheet = image.reshape(NUM_CHESTS, len(wanted), *image.shape[1:3])
    path.parent.mkdir(parents=True, exist_ok=True)
    plots.save(plots.image_grid(sheet, titles, margin.reshape(sheet.shape[:2])), path)


@jax.jit
def _encode(encoder: Model, frozen: FrozenInputs, pixels: Pixels) -> tuple[ZStructure, ZClass]:
    image = to_unit_range(pixels)
    margin, _ = frozen.classifier(image)
    (z_structure, _), (direction, _) = encoder(image)
    return z_structure, grading.film_radius(frozen.scale, margin)[:, None] * direction


@jax.jit
def _generate(generator: Model, z_structure: ZStructure, z_class: ZClass) -> Image:
    return generator(z_structure, z_class)


def _draw(
    path: Path,
    generator: Model,
    z_structure: ZStructure,
    *,
    lent: Float[AnyArray, "lent n"],
    title: str,
) -> None:
    """A sheet with one z_structure a row, one lent z_class at two strengths a pair of columns."""
    z_class = jnp.stack([0 * lent[0], *(share * z for z in lent for share in STRENGTHS)])
    rows, columns = len(z_structure), len(z_class)
    sheet = _generate(
        generator, jnp.repeat(z_structure, columns, axis=0), jnp.tile(z_class, (rows, 1))
    )
    sheet = np.asarray(sheet).reshape(rows, columns, *sheet.shape[1:3])
    titles = ["z_class = 0"]
    titles += [f"{title} {i + 1}, t = {share}" for i in range(len(lent)) for share in STRENGTHS]
    path.parent.mkdir(parents=True, exist_ok=True)
    plots.save(plots.image_grid(sheet, titles), path)
