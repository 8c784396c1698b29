"""What are GANs of other weights worth on validation films? By this a config is chosen.

Explains validation films as `main.py` explains test films, along `linear` alone, with finished GANs
and encoders (`--task=explain` is not needed) and with each run's own config. Besides the figures of
merit: how much more of the change lies on look-alikes than they have of the film's area. Results
stand beside those of other runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import ml_collections
import numpy as np

from cxr_jax.data.arrays import load_splits
from cxr_jax.errors import InputError
from cxr_jax.evaluate import scores, walks
from cxr_jax.explain.explained import Calibration, Group
from cxr_jax.pipeline.calibrate import calibrate
from cxr_jax.pipeline.explain import explain_test, load_explainer
from cxr_jax.report import tables
from cxr_jax.runtime import precision
from cxr_jax.runtime.workdir import flatten, read_json
from experiments.markdown import entry_table
from experiments.reading import BOOTSTRAP, check_done, check_phantoms
from experiments.study import Flag, Options, Study

APART = ("seed", "gan.seed", "data.cache_dir", "evaluators.names")  # no choice between methods
NONE_COVERED = {"mean": None, "reason": tables.NONE_COVERED}
COLUMNS = (
    *("flip_rate", "flip_rate_to_positive", "twin_error"),
    *("on_target", "pixel_auroc_lung", "lookalike", "less_area"),
)


def read_config(workdir: Path) -> ml_collections.ConfigDict:
    """The config that a run was made with."""
    return ml_collections.ConfigDict(read_json(workdir / "config.json"))


def along(
    config: ml_collections.ConfigDict, images: int, paths: Sequence[str] = ("linear",)
) -> ml_collections.ConfigDict:
    """The same, but for what is explained: as many films and path `linear`, or others, alone."""
    config = config.copy_and_resolve_references()
    config.explain.update(dict(num_images=images, num_skipped=0, films=(), dir=""))
    config.explain.update(dict(paths=tuple(paths), maps=("latent",)))
    return config


def differences(config: Mapping, other: Mapping) -> str:
    """The fields in which a config differs from the other, with their values."""
    mine, theirs = flatten(config), flatten(other)
    return ", ".join(
        f"{field} {value}"
        for field, value in mine.items()
        if value != theirs.get(field) and field not in APART
    )


def summarise(
    positives: Group, negatives: Group, calibration: Calibration, *, path: str = "linear"
) -> dict[str, dict]:
    """The figures of walks along a path, of films that pass the gate."""
    thresholds, reach = calibration.thresholds, calibration.reach
    walked, returned = (
        walks.path_scores(group, thresholds, reach)[path] for group in (positives, negatives)
    )
    change = positives.walks[path].change
    lesioned = positives.truth["lesion_mask"].any(axis=(1, 2, 3))  # f may call others positive too
    masks = {name: mask[lesioned] for name, mask in positives.truth.items()}
    by_map = scores.score_map(np.abs(change[lesioned]), masks)
    area = scores.harmless(masks).mean(axis=(1, 2, 3))
    each = {
        **{name: walked[name] for name in ("flip_rate", "twin_error")},
        **{name: by_map[name] for name in ("on_target", "pixel_auroc_lung", "lookalike")},
        "less_area": by_map["lookalike"] - area,
        "flip_rate_to_positive": returned["flip_rate"],
    }
    return {
        name: scores.summarise_metric(name.removesuffix("_to_positive"), values, BOOTSTRAP)
        for name, values in each.items()
    }


@precision.exactly
def measure(config: ml_collections.ConfigDict, workdir: Path) -> dict[str, dict]:
    """The figures of one run's GAN."""
    splits, _ = load_splits(config.data, config.seed)
    explainer = load_explainer(config, workdir, prior=False)
    calibration = calibrate(explainer, splits, config.explain, seed=config.seed)
    explained = explain_test(explainer, splits["validation"], calibration, section=config.explain)
    if 0 in explained.coverage.values():
        return dict.fromkeys(COLUMNS, NONE_COVERED)
    positives, negatives = (explained.groups[name] for name in ("pos_to_neg", "neg_to_pos"))
    return summarise(positives, negatives, calibration)


def to_markdown(results: Mapping[str, Mapping]) -> str:
    """The table for people."""
    first = next(iter(results.values()))["config"]
    rows = {}
    for name, entry in results.items():
        changed = differences(entry["config"], first)
        rows[f"{name}: {changed}" if changed else name] = entry["figures"]
    return (
        "## Validation films, path `linear`\n\n"
        "`less_area`: `lookalike` less the look-alikes' share of the film, film by film. Beside a "
        "run's name is what its config has otherwise than the first one's, seeds aside.\n\n"
    ) + f"{entry_table(rows, COLUMNS, 'run')}\n"


def find_configs(options: Options) -> dict[Path, ml_collections.ConfigDict]:
    """By work directory how its validation films are explained.

    Raises:
      InputError: if a run is not finished, or of real films; or if a config is given.
    """
    if options.config_file or options.overrides:
        raise InputError("study validation explains each run with its own config; give none")
    found = {}
    for workdir in options.seed_dirs:
        check_done(workdir, "encoder")
        config = along(read_config(workdir), options.own["images"])
        check_phantoms(config, str(workdir))
        found[workdir] = config
    return found


def run(options: Options) -> Iterator[dict]:
    """Measures; the runs so far, beside what is there of others."""
    results = dict(options.known)
    for workdir, config in find_configs(options).items():
        results[str(workdir)] = {"config": config.to_dict(), "figures": measure(config, workdir)}
        yield dict(results)


STUDY = Study(
    name="validation",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    workdir="runs/phantom",
    seeds=0,
    flags=(
        Flag(
            name="images",
            default=200,
            help="Validation films walked, half of them called positive.",
        ),
    ),
    configs=lambda options: {str(name): each for name, each in find_configs(options).items()},
)
