"""Do the maps depend on what the classifier learned? (Adebayo et al., 2018)

A GAN is trained in the loop of a classifier that learned shuffled labels by heart. If its maps of a
film resemble the true classifier's as much as the maps of two GANs of the true classifier resemble
each other, they show the films and not the classifier. All three GANs have seeds of their own, all
maps are of path `linear`. `fidelity.py` runs this; its figure stands under `maps.latent.sanity`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from benchmarks import runs
from cxr_jax import metrics

LATENT_ONLY = ("--config.explain.paths=('linear',)", "--config.explain.maps=('latent',)")
# A classifier that has learned nothing is no control: it says the same of every film, and its GAN
# nothing. These are meant to let it learn its labels by heart, and for the house's network they do
# not suffice: `sanity_control_knows` tells, the mean accuracy over the whole training.
BY_HEART = (
    "--config.data.shuffle_labels=True",
    "--config.classifier.num_steps=4000",
    "--config.classifier.eval_every=4000",  # the last checkpoint: validation labels are noise, too
    "--config.classifier.label_smoothing=0.0",
    "--config.classifier.weight_decay=0.0",
    *(
        f"--config.classifier.augmentation.{name}=0.0"
        for name in ("shift", "rotation", "zoom", "brightness", "contrast", "noise")
    ),
)
AIR = -0.95  # on the [-1, 1] scale; pixels above it are of the body


class Controls(NamedTuple):
    """Finished runs that explain the same test films: two GANs of f, and one of shuffled labels."""

    first: Path
    again: Path
    shuffled: Path


def run_controls(config: str, base: Path, seeds: Sequence[Path], chosen: Sequence[str]) -> Controls:
    """Explains the GANs of the first two `seeds` again, and trains the third."""
    controls = Controls(*(base / "sanity" / name for name in Controls._fields))
    chosen = ["--config.evaluators.names=()", *chosen, *LATENT_ONLY]
    for seed, workdir in enumerate((controls.first, controls.again)):
        runs.copy_finished(("classifier", "gan", "encoder"), seeds[seed], workdir)
        runs.run_main(config, workdir, [f"--config.gan.seed={seed}", *chosen])
    runs.run_main(config, controls.shuffled, ["--config.gan.seed=2", *BY_HEART, *chosen])
    return controls


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
    """`sanity`: mean |correlation| to the control over that between seeds, films resampled.

    Of films where both are defined: a map that is the same everywhere has no ranks.
    """
    rows = sorted(between_seeds.keys() & to_shuffled.keys())
    rows = [row for row in rows if np.isfinite(between_seeds[row] + to_shuffled[row])]
    if not rows:
        nothing = {"mean": None, "reason": "no film has a map of both classifiers"}
        return dict.fromkeys(("sanity", "sanity_between_seeds", "sanity_to_shuffled"), nothing)
    seeds = np.abs([between_seeds[row] for row in rows])
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


def learned_by_heart(workdir: Path) -> float:
    """The share of shuffled training labels that the control knew over its last log interval."""
    last = (workdir / "classifier" / "metrics.jsonl").read_text().splitlines()[-1]
    return json.loads(last)["accuracy"]


def measure(controls: Controls, bootstrap: tuple[int, int]) -> dict[str, dict]:
    """The entries of `maps.latent`."""
    maps, bodies = load_maps(controls.first), load_bodies(controls.first)
    seeds = correlations(maps, load_maps(controls.again), bodies)
    shuffled = correlations(maps, load_maps(controls.shuffled), bodies)
    known = learned_by_heart(controls.shuffled)
    return summarise(seeds, shuffled, bootstrap) | {"sanity_control_knows": {"mean": known}}
