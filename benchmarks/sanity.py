"""Do the maps depend on what the classifier learned? (Adebayo et al., 2018)

A GAN is trained in the loop of a classifier that learned shuffled labels by heart. If its maps of a
film resemble the true classifier's as much as the maps of two GANs of the true classifier resemble
each other, they show the films and not the classifier. All three GANs have seeds of their own and
see the same films, all maps are of path `linear`. `fidelity.py` runs this; its figure stands under
`maps.latent.sanity`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import ml_collections
import numpy as np
from scipy import stats

from benchmarks import runs
from cxr_jax import data, metrics, precision, train_classifier

# A view that is moved or dimmed is another film, and 5,000 films are too many: no label of them is
# learned by heart. A classifier that has learned nothing is no control, but says the same of every
# film, as its GAN then does.
BY_HEART = {
    "data.shuffle_labels": True,
    "data.num_train": 1024,
    "classifier.num_steps": 2000,
    "classifier.eval_every": 2000,  # the last checkpoint: validation labels are noise, too
    "classifier.label_smoothing": 0.0,
    "classifier.weight_decay": 0.0,
    **{
        f"classifier.augmentation.{name}": 0.0
        for name in ("shift", "rotation", "zoom", "brightness", "contrast", "noise")
    },
}
LEAST_KNOWN = 0.95  # of the control's training labels; with fewer the check says nothing
LINEAR = {
    "evaluators.names": (),
    "explain.paths": ("linear",),
    "explain.maps": ("latent",),
    # Every film: the judge of shuffled labels knows nothing by which to reject one.
    "explain.gate_margin": 1e6,
    "explain.gate_percentile": 100.0,
}
AIR = -0.95  # on the [-1, 1] scale; pixels above it are of the body


class Controls(NamedTuple):
    """Finished runs that explain the same test films: two GANs of f, and one of shuffled labels."""

    first: Path
    again: Path
    shuffled: Path


def as_flags(fields: Mapping[str, object]) -> list[str]:
    """{"gan.seed": 1} -> ["--config.gan.seed=1"]."""
    return [f"--config.{name}={value}" for name, value in fields.items()]


def run_controls(config: str, base: Path, seeds: Sequence[Path], chosen: Sequence[str]) -> Controls:
    """Explains the GANs of the first two `seeds` again, and trains the third and its classifier."""
    controls = Controls(*(base / "sanity" / name for name in Controls._fields))
    linear = [*chosen, *as_flags(LINEAR)]
    for seed, workdir in enumerate((controls.first, controls.again)):
        runs.copy_finished(("classifier", "gan", "encoder"), seeds[seed], workdir)
        runs.run_main(config, workdir, [*as_flags({"gan.seed": seed}), *linear])
    by_heart = base / "sanity" / "by_heart"
    runs.run_main(config, by_heart, [*linear, *as_flags(BY_HEART), "--task=classifier"])
    runs.copy_finished(("classifier",), by_heart, controls.shuffled)
    of_all = {name: value for name, value in BY_HEART.items() if name != "data.num_train"}
    runs.run_main(config, controls.shuffled, [*linear, *as_flags(of_all | {"gan.seed": 2})])
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


@precision.exactly
def known_by_heart(config: ml_collections.ConfigDict, workdir: Path) -> float:
    """The share of its shuffled training labels that the control's classifier gives."""
    control = config.copy_and_resolve_references()
    control.update_from_flattened_dict(BY_HEART)
    train = data.load_splits(control.data, control.seed)[0]["train"]
    section = precision.in_float32(control).classifier
    network, params = train_classifier.load(
        section, control.data.image_size, workdir / "classifier"
    )
    margin = train_classifier.margins(network, params, train["image"])
    return float(((margin > 0) == train["label"]).mean())


def measure(controls: Controls, known: float, bootstrap: tuple[int, int]) -> dict[str, dict]:
    """The entries of `maps.latent`; `known` as `known_by_heart` says."""
    if known < LEAST_KNOWN:
        reason = f"the control knows only {known:.0%} of its labels"
        return {"sanity": {"mean": None, "reason": reason}, "sanity_control_knows": {"mean": known}}
    maps, bodies = load_maps(controls.first), load_bodies(controls.first)
    seeds = correlations(maps, load_maps(controls.again), bodies)
    shuffled = correlations(maps, load_maps(controls.shuffled), bodies)
    return summarise(seeds, shuffled, bootstrap) | {"sanity_control_knows": {"mean": known}}
