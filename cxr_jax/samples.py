"""Sample sheets: what a generator in training draws, one z_structure a row.

The first column has no class latent; each of the others lends one, at two strengths.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from cxr_jax import grading, plots
from cxr_jax.data import Arrays, to_unit_range
from cxr_jax.gan_objective import Networks
from cxr_jax.grading import Scale
from cxr_jax.types import Params, Severity, Structure

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
    (classifier, scale), (num_structure, _) = frozen, networks.generator.latent_sizes

    def encode(label: int) -> tuple[Structure, Severity]:
        image = to_unit_range(films["image"][films["label"] == label][:NUM_FILMS])
        margin, _ = networks.classifier.apply({"params": classifier}, image)
        (structure, _), (direction, _) = networks.encoder.apply(
            {"params": average["encoder"]}, image
        )
        return structure, grading.film_radius(scale, margin)[:, None] * direction

    prior = jax.random.normal(jax.random.key(0), (NUM_PRIOR, num_structure))
    structure = jnp.concatenate([prior, encode(0)[0]])
    _draw(path, networks, average, structure, encode(1)[1], "film")


def draw_prior(path: Path, networks: Networks, average: Params) -> None:
    """The same from N(0, I) alone, for an objective that knows nothing else."""
    keys = jax.random.split(jax.random.key(0))
    num_structure, num_severity = networks.generator.latent_sizes
    structure = jax.random.normal(keys[0], (2 * NUM_PRIOR, num_structure))
    severity = jax.random.normal(keys[1], (NUM_PRIOR, num_severity))
    _draw(path, networks, average, structure, severity, "draw")


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
    sheet = networks.generator.apply(
        {"params": average["generator"]},
        jnp.repeat(structure, columns, axis=0),
        jnp.tile(severity, (rows, 1)),
    )
    sheet = np.asarray(sheet).reshape(rows, columns, *sheet.shape[1:3])
    titles = ["z_class = 0"]
    titles += [f"{title} {i + 1}, t = {share}" for i in range(len(lent)) for share in STRENGTHS]
    path.parent.mkdir(parents=True, exist_ok=True)
    plots.save(plots.image_grid(sheet, titles), path)
