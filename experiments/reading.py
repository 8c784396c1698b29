"""What finished runs of `main.py` hold: their reports, their scores film by film, their f."""

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import ml_collections
import numpy as np

from cxr_jax.data.arrays import Arrays, load_splits
from cxr_jax.errors import InputError
from cxr_jax.explain.paths import DIRECTIONS
from cxr_jax.metrics import Bootstrap
from cxr_jax.models.model import Model
from cxr_jax.networks import restore
from cxr_jax.runtime import precision
from cxr_jax.runtime.workdir import check_same_experiment, is_done, read_contents, read_json
from experiments.study import Options

BOOTSTRAP = Bootstrap(resamples=2000, seed=0)
# By name their section of a config and their folder of a work directory.
CLASSIFIERS = {"f": ("classifier", "classifier"), "h": ("judge", "classifier/judge")}

PerFilm = dict[str, dict[str, np.ndarray]]  # by name of a path or map, then by metric


# 1. One run.


def read_report(workdir: Path) -> dict:
    """metrics.json of a finished run."""
    return json.loads((workdir / "explain" / "metrics.json").read_text())


def commits_of(reports: Sequence[Mapping]) -> list[str]:
    """By which commits runs were explained; that of the study that reads them may be a later one.

    "" is unknown: of a version that did not say so, or without git.
    """
    return sorted({report["commit"] if "commit" in report else "" for report in reports})


def films_and_ends(
    walks: Mapping[str, np.ndarray], direction: str, path: str
) -> tuple[np.ndarray, np.ndarray]:
    """Stored films [N, h, w, 1] of an open walks.npz, and what they have become at the stop."""
    carried, stop = (walks[f"{direction}/{path}/{name}"] for name in ("carried", "frame"))
    return carried[:, 0], carried[np.arange(len(stop)), stop]


def load_own_splits(
    config: ml_collections.ConfigDict, workdir: Path, truths: Sequence[str] = ()
) -> dict[str, Arrays]:
    """The prepared data of a run, by split.

    Args:
      truths: further fields of theirs, see `load_splits`.

    Raises:
      InputError: if they are no longer what the run was begun with.
    """
    splits, contents = load_splits(config.data, config.seed, truths)
    if contents != read_contents(workdir):
        raise InputError(f"the data have changed since {workdir} was begun; restore them")
    return splits


def check_finished(
    config: ml_collections.ConfigDict, workdir: Path, task: str, *, sections: Sequence[str] = ()
) -> None:
    """Checks that `task` is finished in `workdir`, and of this config.

    Args:
      sections: of the config, those that matter; all if none is named.

    Raises:
      InputError: if not.
    """
    check_done(workdir, task)
    stored, wanted = read_json(workdir / "config.json"), config.to_dict()
    parts = set(sections) or stored.keys() | wanted.keys()
    stored, wanted = (
        {part: each[part] for part in parts & each.keys()} for each in (stored, wanted)
    )
    check_same_experiment(workdir, stored, wanted)


def finished_seeds(
    options: Options, config: ml_collections.ConfigDict, task: str
) -> Iterator[tuple[ml_collections.ConfigDict, Path]]:
    """The config and the work directory of each GAN seed, `task` finished there."""
    for seed, workdir in enumerate(options.seed_dirs):
        own = config.copy_and_resolve_references()
        own.gan.seed += seed
        check_finished(own, workdir, task, sections=("seed", "data", "classifier", "gan"))
        yield own, workdir


def check_done(workdir: Path, task: str) -> None:
    """Raises `InputError` if `task` is not finished in `workdir`."""
    if not is_done(workdir / task):
        raise InputError(f"{workdir / task} is not complete; run main.py with this --workdir first")


def check_phantoms(config: ml_collections.ConfigDict, what: str) -> None:
    """Raises `InputError` if `what` is of films of which nobody knows how they would be healthy."""
    if config.data.name != "cxr_phantom":
        raise InputError(f"{what} is of real films, whose truth nobody knows; give phantoms")


def config_of_run(options: Options) -> ml_collections.ConfigDict:
    """Of a study of one finished run of phantoms, the run's config.

    Raises:
      InputError: if it is not finished, or of real films; or if a config is given.
    """
    if options.config_file or options.overrides:
        raise InputError("this study goes by the run's own config; give none")
    check_done(options.workdir, "explain")
    config = ml_collections.ConfigDict(read_json(options.workdir / "config.json"))
    check_phantoms(config, str(options.workdir))
    return config


def walked_paths(arrays: Iterable[str], direction: str) -> list[str]:
    """The paths that walks.npz, its names given, holds in a direction."""
    keys = (key.split("/") for key in arrays)
    return [key[1] for key in keys if key[0] == direction and key[-1] == "carried"]


def load_classifiers(config: ml_collections.ConfigDict, workdir: Path) -> dict[str, Model]:
    """f and h of a run; in the types that its config says."""
    size = config.data.image_size
    return {
        who: restore.load_classifier(config[section], size, workdir / place)
        for who, (section, place) in CLASSIFIERS.items()
    }


def load_classifier(config: ml_collections.ConfigDict, directory: Path) -> Callable:
    """Pixels [N, h, w, 1] to margins [N] by a finished training, as precisely as in explaining."""
    section = precision.in_float32(config).classifier
    model = restore.load_classifier(section, config.data.image_size, directory)
    return precision.exactly(functools.partial(restore.margins, model))


def entry_of(report: Mapping, keys: Sequence[str]) -> dict:
    """An entry of metrics.json, as {"mean", ...}."""
    for key in keys:
        report = report[key]
    return report if isinstance(report, dict) else {"mean": report}


def overlap(one: Mapping, other: Mapping) -> bool:
    """Whether the intervals of two entries share a value; False where there is none."""
    pair = one.get("ci95"), other.get("ci95")
    if None in pair:
        return False
    return max(low for low, _ in pair) <= min(high for _, high in pair)


def runs_below(options: Options, task: str = "explain") -> dict[str, list[Path]]:
    """By folder of the work directory, its run, or one of each seed.

    Raises:
      InputError: if there is none, or `task` of one is not finished.
    """
    if not options.workdir.is_dir():
        raise InputError(f"{options.workdir} does not exist; --workdir names a folder of runs")
    found = {}
    for folder in sorted(path for path in options.workdir.iterdir() if path.is_dir()):
        runs = [folder / f"seed{seed}" for seed in range(options.seeds or 0)] or [folder]
        for each in runs:
            check_done(each, task)
        found[folder.name] = runs
    if not found:
        raise InputError(f"{options.workdir} has no folders; each is to hold a run of main.py")
    return found


def configs_below(options: Options, task: str = "explain") -> dict[str, dict]:
    """Of every run that is read."""
    return {
        str(run.relative_to(options.workdir)): read_json(run / "config.json")
        for runs in runs_below(options, task).values()
        for run in runs
    }


# 2. Several runs as one: films after each other, figures averaged.


def check_films_differ(workdirs: Sequence[Path]) -> None:
    """Raises `InputError` if runs of the same data explain the same films: they count once."""
    known: dict[tuple[str, int], Path] = {}
    for workdir in workdirs if len(workdirs) > 1 else ():
        contents = read_contents(workdir)
        with np.load(workdir / "explain" / "walks.npz") as arrays:
            for row in arrays["rows"].tolist():
                if (other := known.setdefault((contents, row), workdir)) != workdir:
                    raise InputError(
                        f"{workdir} and {other} explain the same test films; explain one of them "
                        "again with another --config.explain.num_skipped"
                    )


def load_group(workdirs: Sequence[Path], group: str) -> PerFilm:
    """The per-film scores of a group (a direction, or `maps`), the runs' films after each other.

    Raises:
      InputError: if films of a run were walked to several ends, as by an earlier version.
    """
    parts: dict[str, dict[str, list[np.ndarray]]] = {}
    for workdir in workdirs:
        with np.load(workdir / "explain" / "scores.npz") as arrays:
            for key in arrays:
                head, name, metric = key.split("/")
                if head != group:
                    continue
                if group in DIRECTIONS and arrays[key].ndim > 1:
                    raise InputError(
                        f"{workdir / 'explain'} is of an earlier version; run main.py "
                        "--task=explain with this --workdir again"
                    )
                parts.setdefault(name, {}).setdefault(metric, []).append(arrays[key])
    return {
        name: {metric: np.concatenate(values) for metric, values in each.items()}
        for name, each in parts.items()
    }


def average(reports: Sequence[Mapping], *keys: str) -> dict:
    """An entry that is known only for whole runs: its mean over them, and each run's own."""
    entries = reports
    for key in keys:
        entries = [entry[key] for entry in entries]
    means = [entry["mean"] for entry in entries]
    if None in means:
        return next(entry for entry in entries if entry["mean"] is None)
    return {"mean": float(np.mean(means)), "ci95": None, "each_seed": means}


def mean_tree(trees: Sequence) -> dict | float | None:
    """The mean of equal trees of numbers; None where one is missing."""
    if isinstance(trees[0], Mapping):
        return {key: mean_tree([tree[key] for tree in trees]) for key in trees[0]}
    return None if None in trees else float(np.mean(trees))
