"""What is decided on validation and training films before a test film is looked at, and kept."""

import dataclasses
import importlib.metadata
import logging
import platform
import zipfile
from pathlib import Path

import ml_collections
import numpy as np

from cxr_jax import metrics
from cxr_jax.data.arrays import Arrays
from cxr_jax.errors import InputError
from cxr_jax.explain import films
from cxr_jax.explain.explained import Calibration, Group
from cxr_jax.explain.explainer import Explainer
from cxr_jax.explain.films import Thresholds
from cxr_jax.explain.paths import DIRECTIONS, PATHS, Guide
from cxr_jax.pipeline.select import accepted, choose, lungs_of, truth_of
from cxr_jax.report import tables
from cxr_jax.runtime.workdir import read_json, write_json

logger = logging.getLogger(__name__)

NUM_ENDS = 8  # training positives whose class latents end a linear walk from a negative
NEARLY = 0.95  # of the best path's flips: a path that flips fewer is not chosen
NUM_GUIDES = 4 * NUM_ENDS  # training films inverted for the ends and for path `global`

SCALARS, ARRAYS = "calibration.json", "calibration.npz"
# Fields of `config.explain` that a calibration does not depend on: which films are explained, and
# what is told of them.
FREE_FIELDS = (
    "num_images", "films", "dir", "num_skipped", "maps", "bootstrap", "num_figure_rows",
    "occlusion_windows", "layer_cam_stage", "integrated_gradients_steps",
    "smoothgrad_samples", "smoothgrad_noise",
)  # fmt: skip
PACKAGES = ("jax", "flax", "numpy")  # whose versions are recorded


# 1. Deciding.


def calibrate(
    explainer: Explainer,
    splits: dict[str, Arrays],
    section: ml_collections.ConfigDict,
    *,
    seed: int,
) -> Calibration:
    """Sets thresholds and lengths, and chooses the path of map `latent`.

    Raises:
      InputError: if they cannot be set by the validation films.
    """
    arrays = splits["validation"]
    margin, judge_margin = explainer.margins(arrays["image"])
    for name, values in (("f", margin), ("h", judge_margin)):
        if not metrics.class_gap(values, arrays["label"]) > 0:
            logger.warning("%s says of validation films the opposite of their labels", name)
    everything = explainer.invert(arrays["image"])
    lungs = lungs_of(explainer, arrays, np.arange(len(margin)))
    film_errors = films.rms(everything.drawn - everything.image)
    thresholds = films.set_thresholds(
        margin,
        judge_margin,
        arrays["label"],
        lung_errors=film_errors if lungs is None else films.lung_error(everything, lungs),
        film_errors=film_errors,
        percentile=section.gate_percentile,
    )
    rows = choose(margin, section.num_validation_images)
    inverted, lungs = everything.rows(rows), None if lungs is None else lungs[rows]
    reasons = films.reasons_to_reject(inverted, thresholds, section.gate_margin, lungs=lungs)
    picked = inverted.margin > 0
    if (picked & accepted(reasons)).any():
        picked &= accepted(reasons)
    else:
        logger.warning("the gate rejects every validation positive; they are all used for lengths")
    positives, truth = inverted.rows(picked), truth_of(arrays, rows[picked])
    reach = float(np.median(films.rms(positives.drawn - positives.origin)))
    ends, direction = guide_films(explainer, splits["train"], seed)
    _check_finite({"reach": reach, **dataclasses.asdict(thresholds)})
    step_length = section.aligned_reach * reach / section.walk_steps
    guide = Guide(step_length=step_length, ends=ends, direction=direction)
    towards = DIRECTIONS["pos_to_neg"]
    walks = explainer.walk(positives, guide, thresholds, towards=towards)
    group = Group(towards=towards, films=positives, truth=truth, walks=walks)
    path = best_path(explainer, group, thresholds, reach=reach)
    logger.info("linear walks are %.3f long; map `latent` is path %s", reach, path)
    return Calibration(thresholds=thresholds, guide=guide, reach=reach, path=path)


def _check_finite(decided: dict[str, float]) -> None:
    for name, value in decided.items():
        if not np.isfinite(value):
            raise InputError(
                f"the validation films give a {name} of {value}: f, h or what the GAN draws of the "
                "films is not finite; train them longer or with a smaller learning rate"
            )


def guide_films(explainer: Explainer, train: Arrays, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """From seeded training films: z_class of NUM_ENDS positives, and f's mean gradient [n].

    Raises:
      InputError: if f calls none of them positive.
    """
    shuffle = np.random.Generator(np.random.Philox(seed)).permutation
    rows = [shuffle(np.flatnonzero(train["label"] == label))[:NUM_GUIDES] for label in (1, 0)]
    positives, negatives = (explainer.invert(train["image"][picked]) for picked in rows)
    ends = positives.z_class[positives.margin > 0][:NUM_ENDS]
    if len(ends) == 0:
        raise InputError(
            f"the classifier calls none of {len(positives.margin)} positive training films so; "
            "there is nothing to walk to from a negative: train it longer, or check the labels"
        )
    gradients = [explainer.unit_gradient(some) for some in (positives, negatives)]
    return ends, np.concatenate(gradients).mean(axis=0)


def best_path(explainer: Explainer, group: Group, thresholds: Thresholds, *, reach: float) -> str:
    """The path of map `latent`: of those that flip nearly as often as the best, the most felt.

    What f feels of a change is all that can be asked of a film whose truth nobody knows. Of equals
    the shorter is taken.
    """
    scores = tables.path_scores(group, thresholds, reach)
    latent = {name: each for name, each in scores.items() if PATHS[name].is_latent}
    flips = {name: each["flip_rate"].mean() for name, each in latent.items()}
    enough = [name for name, rate in flips.items() if rate >= NEARLY * max(flips.values())]

    def merit(name: str) -> tuple[float, float]:
        felt = tables.felt_shares(explainer, group, name).mean()
        return round(float(felt), 2), -float(latent[name]["length"].mean())

    return max(enough, key=merit)


# 2. Keeping, so that films can be explained where the training set is not.


def fixed_fields(section: ml_collections.ConfigDict) -> dict:
    """The fields of `config.explain` that a calibration depends on."""
    return {name: value for name, value in section.to_dict().items() if name not in FREE_FIELDS}


def save_calibration(
    directory: Path,
    calibration: Calibration,
    section: ml_collections.ConfigDict,
    *,
    trained: dict[str, str],
    contents: str,
) -> None:
    """Writes calibration.json and calibration.npz.

    Args:
      section: `config.explain`.
      trained: SHA-256 of the models that it was made with, by name.
      contents: what identifies the prepared data.
    """
    directory.mkdir(parents=True, exist_ok=True)
    guide = calibration.guide
    np.savez(directory / ARRAYS, ends=guide.ends, direction=guide.direction)
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    write_json(
        directory / SCALARS,
        {
            **describe_calibration(calibration),
            "explain": fixed_fields(section),
            "trained": trained,
            "data": contents,
            "versions": {"python": platform.python_version(), **versions},
        },
    )


def describe_calibration(calibration: Calibration) -> dict:
    """A calibration without its arrays, as JSON holds it."""
    return {
        "thresholds": dataclasses.asdict(calibration.thresholds),
        "step_length": float(calibration.guide.step_length),
        "reach": calibration.reach,
        "path": calibration.path,
    }


def load_calibration(directory: Path) -> Calibration:
    """What `save_calibration` wrote.

    Raises:
      InputError: if there is none, or a damaged one.
    """
    path = directory / SCALARS
    if not path.exists() or not (directory / ARRAYS).exists():
        raise InputError(f"{path} is missing; run --task=explain with this --workdir first")
    stored = read_json(path)
    try:
        with np.load(directory / ARRAYS) as arrays:
            ends, direction = arrays["ends"], arrays["direction"]
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{directory / ARRAYS} is damaged; delete {path}, and --task=explain calibrates anew"
        ) from error
    return Calibration(
        thresholds=Thresholds(**stored["thresholds"]),
        guide=Guide(step_length=stored["step_length"], ends=ends, direction=direction),
        reach=stored["reach"],
        path=stored["path"],
    )


def is_calibrated(
    directory: Path, section: ml_collections.ConfigDict, trained: dict[str, str]
) -> bool:
    """Whether the stored calibration is of these models and of these fields of the config."""
    path = directory / SCALARS
    if not path.exists():
        return False
    stored = read_json(path)
    same_models = stored["trained"] == trained
    return same_models and stored["explain"] == _as_json(fixed_fields(section))


def _as_json(tree: object) -> object:
    """As it comes back from a file: tuples as lists."""
    if isinstance(tree, dict):
        return {name: _as_json(value) for name, value in tree.items()}
    return [_as_json(value) for value in tree] if isinstance(tree, (tuple, list)) else tree
