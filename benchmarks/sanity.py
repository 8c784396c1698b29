"""Do the maps depend on what the classifier learned? (Adebayo et al., 2018)

A GAN is trained in the loop of a classifier that learned shuffled labels. If its maps of a film
resemble the true classifier's as much as the maps of two GANs of the true classifier resemble each
other, they show the films and not the classifier. `fidelity.py` runs this; its figure stands under
`maps.latent.sanity`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks import runs
from cxr_jax import metrics

LATENT_ONLY = ("--config.explain.paths=('linear',)", "--config.explain.maps=('latent',)")
AIR = -0.95  # on the [-1, 1] scale; pixels above it are of the body


def run_controls(config: str, base: Path, second: Path, chosen: Sequence[str]) -> tuple[Path, Path]:
    """The second GAN on the first one's films, and a GAN of a classifier of shuffled labels."""
    again, shuffled = base / "seed1_on_films_of_seed0", base / "shuffled_labels"
    runs.copy_finished(("classifier", "gan", "encoder"), second, again)
    none = "--config.evaluators.names=()"
    runs.run_main(config, again, ["--config.gan.seed=1", none, *chosen, *LATENT_ONLY])
    shuffle = "--config.data.shuffle_labels=True"
    runs.run_main(config, shuffled, [shuffle, none, *chosen, *LATENT_ONLY])
    return again, shuffled


def load_maps(workdir: Path) -> dict[int, np.ndarray]:
    """Map `latent` by row of the test split."""
    with np.load(workdir / "explain" / "maps.npz") as arrays:
        return dict(zip(arrays["row"].tolist(), arrays["latent"].astype(np.float32), strict=True))


def load_bodies(workdir: Path) -> dict[int, np.ndarray]:
    """Which pixels are not air, by row of the test split."""
    with np.load(workdir / "explain" / "walks.npz") as arrays:
        films = zip(arrays["pos_to_neg/row"].tolist(), arrays["pos_to_neg/image"], strict=True)
        return {row: image > AIR for row, image in films}


def correlations(
    maps: Mapping[int, np.ndarray], others: Mapping[int, np.ndarray], bodies: Mapping
) -> dict[int, float]:
    """Spearman's rank correlation of two maps of the same film over its body, by row."""
    rows = maps.keys() & others.keys() & bodies.keys()
    return {
        row: float(stats.spearmanr(maps[row][bodies[row]], others[row][bodies[row]]).statistic)
        for row in sorted(rows)
    }


def summarise(
    between_seeds: Mapping[int, float], to_shuffled: Mapping[int, float], bootstrap: tuple[int, int]
) -> dict[str, dict]:
    """`sanity`: mean |correlation| to the control over that between seeds, films resampled."""
    rows = sorted(between_seeds.keys() & to_shuffled.keys())
    if not rows:
        nothing = {"mean": None, "reason": "no film is called positive by both classifiers"}
        return dict.fromkeys(("sanity", "sanity_between_seeds", "sanity_to_shuffled"), nothing)
    seeds = np.array([between_seeds[row] for row in rows])
    shuffled = np.abs([to_shuffled[row] for row in rows])
    picks = metrics.resamples(len(rows), *bootstrap)
    ratios = shuffled[picks].mean(axis=1) / seeds[picks].mean(axis=1)
    return {
        "sanity": {
            "mean": float(shuffled.mean() / seeds.mean()),
            "ci95": metrics.interval(ratios),
            "images": len(rows),
        },
        "sanity_between_seeds": metrics.summarise(seeds, *bootstrap),
        "sanity_to_shuffled": metrics.summarise(shuffled, *bootstrap),
    }


def measure(
    first: Path, again: Path, shuffled: Path, bootstrap: tuple[int, int]
) -> dict[str, dict]:
    """The entries of `maps.latent`."""
    maps, bodies = load_maps(first), load_bodies(first)
    seeds = correlations(maps, load_maps(again), bodies)
    return summarise(seeds, correlations(maps, load_maps(shuffled), bodies), bootstrap)
