"""Which latent governs f's answer, and which the lungs."""

import numpy as np

from cxr_jax import metrics
from cxr_jax.data.film_parameters import LUNGS, lung_geometry


def variance_table(values: np.ndarray) -> dict[str, float | None]:
    """Sobol' shares of values [structures, class latents] by the latent that they are due to."""
    names = ("z_structure", "z_class", "both")
    shares = metrics.variance_shares(values)
    return {
        n: share if np.isfinite(share) else None for n, share in zip(names, shares, strict=True)
    }


def disentanglement(margin: np.ndarray, masks: np.ndarray | None) -> dict:
    """Which latent governs what.

    Args:
      margin: f on the images of every pair [structures, class latents].
      masks: their lungs [structures, class latents, h, w, 1] bool, if a segmenter was trained.
    """
    table = {"margin": variance_table(margin)}
    if masks is not None:
        shape = margin.shape
        geometry = lung_geometry(masks.reshape(-1, *masks.shape[2:])).reshape(*shape, -1)
        table |= {name: variance_table(geometry[..., i]) for i, name in enumerate(LUNGS)}
    return table


def severity_ranks(
    rise: np.ndarray, margin: np.ndarray, severity: np.ndarray
) -> dict[str, float | None]:
    """Does the distance along z_class, as f sees it, rank films by how severe they are?

    No class latent can grade what f does not: f's own rank correlation stands beside.

    Args:
      rise: f(G(z_structure, z_class)) - f(G(z_structure, 0)) of each film [N].
      margin: f on it.
      severity: the truth.
    """
    rank, some = metrics.spearman, margin > 0
    return {
        "severity_spearman": rank(rise, severity),
        "severity_spearman_of_f": rank(margin, severity),
        "severity_spearman_among_positives": rank(rise[some], severity[some]),
        "severity_spearman_of_f_among_positives": rank(margin[some], severity[some]),
    }
