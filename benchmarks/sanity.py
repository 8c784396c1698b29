"""Do the maps depend on what the classifier learned? (Adebayo et al., 2018)

A GAN is trained in the loop of a classifier that learned shuffled labels by heart. If its maps of a
film resemble the true classifier's as much as the maps of two GANs of the true classifier resemble
each other, they show the films and not the classifier. All GANs have seeds of their own and see the
same films, all maps are of path `linear`. `fidelity.py` runs this; its figures stand under
`maps.latent`, `sanity` and `sanity_lung`.
"""

import itertools
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
LUNGS = ("pos_to_neg/lung_mask", "pos_to_neg/lesion_mask")

Maps = Mapping[int, np.ndarray]  # by row of the test split
Masks = Mapping[int, np.ndarray]


class Controls(NamedTuple):
    """Finished runs that explain the same test films: GANs of f, and one of shuffled labels."""

    seeds: Sequence[Path]
    shuffled: Path


def as_flags(fields: Mapping[str, object]) -> list[str]:
    """{"gan.seed": 1} -> ["--config.gan.seed=1"]."""
    return [f"--config.{name}={value}" for name, value in fields.items()]


def run_controls(config: str, base: Path, seeds: Sequence[Path], chosen: Sequence[str]) -> Controls:
    """Explains the GANs of `seeds` again, all the same films, and trains the control."""
    folder, linear = base / "sanity", [*chosen, *as_flags(LINEAR)]
    controls = Controls([folder / seed.name for seed in seeds], folder / "shuffled")
    for seed, workdir in enumerate(controls.seeds):
        runs.copy_finished(("classifier", "gan", "encoder"), seeds[seed], workdir)
        runs.run_main(config, workdir, [*as_flags({"gan.seed": seed}), *linear])
    by_heart = folder / "by_heart"
    runs.run_main(config, by_heart, [*linear, *as_flags(BY_HEART), "--task=classifier"])
    runs.copy_finished(("classifier",), by_heart, controls.shuffled)
    of_all = {name: value for name, value in BY_HEART.items() if name != "data.num_train"}
    own = as_flags(of_all | {"gan.seed": len(seeds)})
    runs.run_main(config, controls.shuffled, [*linear, *own])
    return controls


def load_maps(workdir: Path) -> Maps:
    """Map `latent` by row of the test split."""
    with np.load(workdir / "explain" / "maps.npz") as arrays:
        return dict(zip(arrays["row"].tolist(), arrays["latent"].astype(np.float32), strict=True))


def load_regions(workdir: Path) -> dict[str, Masks]:
    """By the entry that is measured over it a region of each film, by row of the test split.

    The whole body; and, where they are known, lungs and lesions, without the anatomy that maps of
    anything share: changes are larger in lungs than elsewhere, whatever the classifier learned.
    """
    with np.load(workdir / "explain" / "walks.npz") as arrays:
        regions = {"sanity": arrays["pos_to_neg/image"] > AIR}
        if all(name in arrays for name in LUNGS):
            regions["sanity_lung"] = np.logical_or(*(arrays[name] > 0 for name in LUNGS))
        rows = arrays["pos_to_neg/row"].tolist()
        return {name: dict(zip(rows, masks, strict=True)) for name, masks in regions.items()}


def correlations(maps: Maps, others: Maps, region: Masks) -> dict[int, float]:
    """|Spearman's rank correlation| of two maps of the same film over a region, by row.

    Of films that have both, each with ranks: a map that is the same everywhere has none.
    """
    found = {}
    for row in sorted(maps.keys() & others.keys() & region.keys()):
        one, other = maps[row][region[row]], others[row][region[row]]
        if np.ptp(one) > 0 and np.ptp(other) > 0:
            found[row] = float(abs(stats.spearmanr(one, other).statistic))
    return found


def average(each: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """The mean over several pairs of runs, of the films that all have."""
    rows = set.intersection(*(set(one) for one in each))
    return {row: float(np.mean([one[row] for one in each])) for row in sorted(rows)}


def summarise(
    name: str,
    between_seeds: Mapping[int, float],
    to_shuffled: Mapping[int, float],
    bootstrap: tuple[int, int],
) -> dict[str, dict]:
    """The mean correlation to the control over that between GANs of f, films resampled.

    `name` is of the entry, and begins the names of both correlations beside it.
    """
    rows = sorted(between_seeds.keys() & to_shuffled.keys())
    if not rows:
        nothing = {"mean": None, "reason": "no film has a map of both classifiers"}
        return dict.fromkeys((name, f"{name}_between_seeds", f"{name}_to_shuffled"), nothing)
    seeds, shuffled = (
        np.array([each[row] for row in rows]) for each in (between_seeds, to_shuffled)
    )
    picks = metrics.resamples(len(rows), *bootstrap)
    ratios = shuffled[picks].mean(axis=1) / seeds[picks].mean(axis=1)
    return {
        name: {
            "mean": float(shuffled.mean() / seeds.mean()),
            "ci95": metrics.interval(ratios),
            "images": len(rows),
        },
        f"{name}_between_seeds": metrics.summarise(seeds, *bootstrap),
        f"{name}_to_shuffled": metrics.summarise(shuffled, *bootstrap),
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
    maps, shuffled = [load_maps(seed) for seed in controls.seeds], load_maps(controls.shuffled)
    table = {"sanity_control_knows": {"mean": known}}
    for name, region in load_regions(controls.seeds[0]).items():
        pairs = itertools.combinations(maps, 2)
        between_seeds = average([correlations(*pair, region) for pair in pairs])
        to_shuffled = average([correlations(one, shuffled, region) for one in maps])
        table |= summarise(name, between_seeds, to_shuffled, bootstrap)
    return table
