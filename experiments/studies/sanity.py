"""Part of study fidelity: do the maps depend on what f learned? (Adebayo et al., 2018)

A GAN is trained in the loop of a classifier that learned shuffled labels by heart. If its maps of a
film resemble the true classifier's as much as the maps of two GANs of the true classifier resemble
each other, they show the films and not the classifier. All GANs have seeds of their own and explain
along `linear`; compared are the films that both classifiers call positive. The figures stand
under `maps.latent`.

Not all else is equal: on films that it has not seen the control's classifier says anything, and its
GAN may explain it less well (`sanity_control_flips`).
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import ml_collections
import numpy as np
from scipy import stats

from cxr_jax import metrics
from cxr_jax.data.arrays import load_splits
from cxr_jax.data.augment import Augmentation
from cxr_jax.metrics import Bootstrap
from experiments import reading, runs

# A view that is moved or dimmed is another film, and all of a phantom's films are too many: their
# labels are not learned by heart. A classifier that has learned nothing is no control, but says the
# same of every film, as its GAN then does. (A folder of one's own is learned whole.)
BY_HEART = {
    "data.shuffle_labels": True,
    "data.num_train": 1024,
    "classifier.num_steps": 2000,
    "classifier.eval_every": 2000,  # the last checkpoint: validation labels are noise, too
    "classifier.label_smoothing": 0.0,
    "classifier.weight_decay": 0.0,
    **{f"classifier.augmentation.{each.name}": 0.0 for each in dataclasses.fields(Augmentation)},
}
LEAST_KNOWN = 0.95  # of the control's training labels; with fewer the check says nothing
LINEAR = {
    "evaluators.names": (),
    "explain.paths": ("linear",),
    "explain.maps": ("latent",),
    # As good as no gate: the judge of shuffled labels knows nothing by which to reject a film.
    "explain.gate_margin": 1e6,
    "explain.gate_percentile": 100.0,
}
# On the [-1, 1] scale; pixels above it are of the body. A tenth of a phantom film is darker, and of
# the lungs' pixels 0.4%.
AIR = -0.7
LUNGS = ("pos_to_neg/lung_mask", "pos_to_neg/lesion_mask")

ByRow = Mapping[int, np.ndarray]  # pictures by row of the test split


@dataclasses.dataclass(frozen=True, kw_only=True)
class Controls:
    """Finished runs: GANs of f, which explain the same films, and one of shuffled labels."""

    seeds: Sequence[Path]
    shuffled: Path


def learn_by_heart(config: str, base: Path, overrides: Sequence[str]) -> Path:
    """Trains the control's classifier; returns its work directory."""
    workdir = base / "sanity" / "by_heart"
    flags = [*overrides, *runs.as_flags(LINEAR), *runs.as_flags(BY_HEART), "--task=classifier"]
    runs.run_main(config, workdir, flags)
    return workdir


def run_controls(
    config: str,
    base: Path,
    seeds: Sequence[Path],
    *,
    by_heart: Path,
    overrides: Sequence[str],
) -> Controls:
    """Explains the GANs of `seeds` again, all the same films, and trains the control's GAN."""
    folder, linear = base / "sanity", [*overrides, *runs.as_flags(LINEAR)]
    own = len(seeds)
    controls = Controls(
        seeds=[folder / seed.name for seed in seeds], shuffled=folder / f"shuffled_seed{own}"
    )
    for seed, workdir in enumerate(controls.seeds):
        runs.copy_finished(("classifier", "gan", "encoder"), seeds[seed], workdir)
        runs.run_main(config, workdir, [*runs.as_flags({"gan.seed": seed}), *linear])
    runs.copy_finished(("classifier",), by_heart, controls.shuffled)
    of_all = {name: value for name, value in BY_HEART.items() if name != "data.num_train"}
    runs.run_main(config, controls.shuffled, [*linear, *runs.as_flags(of_all | {"gan.seed": own})])
    return controls


def load_maps(workdir: Path) -> ByRow:
    """Map `latent` by row of the test split."""
    with np.load(workdir / "explain" / "maps.npz") as arrays:
        return dict(zip(arrays["row"].tolist(), arrays["latent"].astype(np.float32), strict=True))


def load_regions(workdir: Path) -> dict[str, ByRow]:
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


def correlations(maps: ByRow, others: ByRow, region: ByRow) -> dict[int, float]:
    """Spearman's rank correlation of two maps of the same film over a region, by row.

    Of films that have both; NaN where one is the same everywhere and has no ranks.
    """
    rows = sorted(maps.keys() & others.keys() & region.keys())
    pairs = {row: (maps[row][region[row]], others[row][region[row]]) for row in rows}
    return {
        row: float(stats.spearmanr(*pair).statistic) if np.ptp(pair, axis=1).all() else np.nan
        for row, pair in pairs.items()
    }


def to_next_film(maps: ByRow) -> dict[int, np.ndarray]:
    """The same maps, each under the row of the film before: what any two films' maps share."""
    rows = sorted(maps)
    return {row: maps[other] for row, other in zip(rows, rows[1:] + rows[:1], strict=True)}


def summarise(
    name: str, resemblances: Mapping[str, Sequence[Mapping[int, float]]], bootstrap: Bootstrap
) -> dict[str, dict]:
    """The mean correlation to the control over that between GANs of f, films resampled.

    Args:
      name: of the entry, and the beginning of the others' names.
      resemblances: `between_seeds`, `to_shuffled` and any other, each of several pairs of runs, by
        film. A film counts that is in all of all, and is the mean over the pairs.
    """
    pairs = [pair for several in resemblances.values() for pair in several]
    rows = sorted(set.intersection(*(set(pair) for pair in pairs)))
    each = {
        kind: np.array([[pair[row] for row in rows] for pair in several])
        for kind, several in resemblances.items()
    }
    known = np.isfinite(np.concatenate(list(each.values()))).all(axis=0)
    if not known.any():
        nothing = {"mean": None, "reason": "no film has a map of both classifiers"}
        return dict.fromkeys((name, *(f"{name}_{kind}" for kind in each)), nothing)
    each = {kind: values[:, known] for kind, values in each.items()}
    means = {kind: values.mean(axis=0) for kind, values in each.items()}
    picks = bootstrap.rows(int(known.sum()))
    resampled = {kind: values[picks].mean(axis=1) for kind, values in means.items()}
    return {
        name: {
            "mean": float(means["to_shuffled"].mean() / means["between_seeds"].mean()),
            "ci95": metrics.interval(resampled["to_shuffled"] / resampled["between_seeds"]),
            "images": int(known.sum()),
        }
    } | {
        f"{name}_{kind}": metrics.summarise(means[kind], bootstrap)
        | {"each_pair": values.mean(axis=1).tolist()}
        for kind, values in each.items()
    }


def known_by_heart(config: ml_collections.ConfigDict, by_heart: Path) -> float:
    """The share of its shuffled training labels that the control's classifier gives."""
    control = config.copy_and_resolve_references()
    control.update_from_flattened_dict(BY_HEART)
    train = load_splits(control.data, control.seed)[0]["train"]
    margin = reading.load_classifier(control, by_heart / "classifier")(train["image"])
    return float(((margin > 0) == train["label"]).mean())


def compare(controls: Controls, bootstrap: Bootstrap) -> dict[str, dict]:
    """The entries of `maps.latent`, over each region."""
    maps, shuffled = [load_maps(seed) for seed in controls.seeds], load_maps(controls.shuffled)
    flips = reading.read_report(controls.shuffled)["paths"]["linear"]["pos_to_neg"]["flip_rate_f"]
    table = {"sanity_control_flips": flips}
    pairs = list(itertools.combinations(maps, 2))
    for name, region in load_regions(controls.seeds[0]).items():
        resemblances = {
            "between_seeds": [correlations(one, other, region) for one, other in pairs],
            "to_shuffled": [correlations(one, shuffled, region) for one in maps],
            "to_other_film": [
                correlations(one, to_next_film(other), region) for one, other in pairs
            ],
        }
        table |= summarise(name, resemblances, bootstrap)
    return table


def measure(
    config: ml_collections.ConfigDict,
    file: str,
    base: Path,
    *,
    seeds: Sequence[Path],
    overrides: Sequence[str],
) -> dict[str, dict]:
    """Runs what is missing; the entries of `maps.latent`.

    Args:
      file: what `config` was read from.
      base: where the runs are kept; those of `seeds` are finished.
      overrides: flags of every run.
    """
    by_heart = learn_by_heart(file, base, overrides)
    known = known_by_heart(config, by_heart)
    table = {"sanity_control_knows": {"mean": known}}
    if known < LEAST_KNOWN:
        reason = f"the control knows only {known:.0%} of its labels"
        return table | {"sanity": {"mean": None, "reason": reason}}
    controls = run_controls(file, base, seeds, by_heart=by_heart, overrides=overrides)
    return table | compare(controls, Bootstrap(resamples=config.explain.bootstrap, seed=0))
