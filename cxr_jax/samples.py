"""Sample sheets: what a generator in training draws, one z_structure a row.

The first column has no class latent; each of the others lends one, at two strengths.
"""

import functools
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cxr_jax import grading, plots
from cxr_jax.data import Arrays, to_unit_range
from cxr_jax.gan_objective import Networks
from cxr_jax.grading import Scale
from cxr_jax.types import Image, Params, Pixels, Severity, Structure

NUM_PRIOR = 3  # chests from N(0, I)
NUM_FILMS = 3  # of each class
STRENGTHS = (0.5, 1.0)


def draw_films(
    path: Path, networks: Networks, average: Params, frozen: tuple[Params, Scale], films: Arrays
) -> None:
    """Rows: chests from N(0, I), then of the first negative films; class latents: of positives.

    Args:
      average: parameters of {"generator", "encoder"}.
      frozen: the classifier's, and its scale.
      films: `image` and `label`.
    """
    negative, positive = (films["image"][films["label"] == label][:NUM_FILMS] for label in (0, 1))
    num_structure, _ = networks.generator.latent_sizes
    prior = jax.random.normal(jax.random.key(0), (NUM_PRIOR, num_structure))
    lungs, _ = _encode(networks, average["encoder"], frozen, negative)
    _, severity = _encode(networks, average["encoder"], frozen, positive)
    structure = jnp.concatenate([prior, lungs])
    _draw(path, networks, average, structure, severity, "film")


def draw_prior(path: Path, networks: Networks, average: Params) -> None:
    """The same from N(0, I) alone, for an objective that knows nothing else."""
    keys = jax.random.split(jax.random.key(0))
    num_structure, num_severity = networks.generator.latent_sizes
    structure = jax.random.normal(keys[0], (2 * NUM_PRIOR, num_structure))
    severity = jax.random.normal(keys[1], (NUM_PRIOR, num_severity))
    _draw(path, networks, average, structure, severity, "draw")


@functools.partial(jax.jit, static_argnums=0)
def _encode(
    networks: Networks, encoder: Params, frozen: tuple[Params, Scale], pixels: Pixels
) -> tuple[Structure, Severity]:
    (classifier, scale), image = frozen, to_unit_range(pixels)
    margin, _ = networks.classifier.apply({"params": classifier}, image)
    (structure, _), (direction, _) = networks.encoder.apply({"params": encoder}, image)
    return structure, grading.film_radius(scale, margin)[:, None] * direction


@functools.partial(jax.jit, static_argnums=0)
def _generate(generator: nn.Module, params: Params, *latents: jax.Array) -> Image:
    return generator.apply({"params": params}, *latents)


def _draw(
    path: Path,
    networks: Networks,
    average: Params,
    structure: Structure,
    lent: Severity,
    title: str,
) -> None:
    severity = jnp.stack([0 * lent[0], *(share * z for z in lent for share in STRENGTHS)])
    rows, columns = len(structure), len(severity)
    sheet = _generate(
        networks.generator,
        average["generator"],
        jnp.repeat(structure, columns, axis=0),
        jnp.tile(severity, (rows, 1)),
    )
    sheet = np.asarray(sheet).reshape(rows, columns, *sheet.shape[1:3])
    titles = ["z_class = 0"]
    titles += [f"{title} {i + 1}, t = {share}" for i in range(len(lent)) for share in STRENGTHS]
    path.parent.mkdir(parents=True, exist_ok=True)
    plots.save(plots.image_grid(sheet, titles), path)
