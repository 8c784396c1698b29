"""What is decided on validation and training films before a test film is looked at, and kept."""

import dataclasses
import importlib.metadata
import logging
import platform
import zipfile
from collections.abc import Mapping
from pathlib import Path

import ml_collections
import numpy as np

from cxr_jax import metrics
from cxr_jax.data.arrays import Arrays
from cxr_jax.errors import InputError
from cxr_jax.evaluate import walks
from cxr_jax.explain import films
from cxr_jax.explain.explained import Calibration, Group
from cxr_jax.explain.explainer import Explainer
from cxr_jax.explain.films import Films, Thresholds
from cxr_jax.explain.paths import DIRECTIONS, PATHS, Guide
from cxr_jax.pipeline.select import accepted, choose, lungs_of, truth_of
from cxr_jax.runtime.workdir import read_json, write_json
from cxr_jax.types import Pixels

logger = logging.getLogger(__name__)

NUM_GATE = 256  # validation films whose reconstruction errors set the gate
NUM_ENDS = 48  # training positives at whose class latents linear walks from negatives end
NUM_GUIDES = 2 * NUM_ENDS  # training films of a label that are looked at for them
# What f must say of the drawing of an end's own film, in the margin at which walks stop. To a
# doubtful film walks lead nowhere: of 63 validation negatives 0.83 flipped with one among the ends,
# 0.98 without.
END_SHARE = 0.75
NEARLY = 0.95  # of the best path's flips: a path that flips fewer is not chosen

SCALARS, ARRAYS = "calibration.json", "calibration.npz"
GUIDE_ARRAYS = ("ends", "end_structures", "direction")  # of `paths.Guide`
# Fields of `config.explain` that a calibration does not depend on: which films are explained, and
# what is told of them.
FREE_FIELDS = (
    "num_images", "films", "dir", "num_skipped", "maps", "bootstrap", "num_figure_rows",
    "num_page_films", "figures", "occlusion_windows", "layer_cam_stage",
    "integrated_gradients_steps", "smoothgrad_samples", "smoothgrad_noise",
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
    asked = choose(margin, max(NUM_GATE, section.num_validation_images))
    inverted, lungs = explainer.invert(arrays["image"][asked]), lungs_of(explainer, arrays, asked)
    film_errors = films.rms(inverted.drawn - inverted.image)
    found = ~films.is_whole(lungs, len(film_errors))
    thresholds = films.set_thresholds(
        margin,
        judge_margin,
        arrays["label"],
        lung_errors=films.lung_error(inverted, lungs)[found] if found.any() else film_errors,
        film_errors=film_errors,
        percentile=section.gate_percentile,
    )
    walked = choose(margin[asked], section.num_validation_images)
    inverted, lungs = inverted.rows(walked), None if lungs is None else lungs[walked]
    reasons = films.reasons_to_reject(inverted, thresholds, section.gate_margin, lungs=lungs)
    picked = inverted.margin > 0
    if (picked & accepted(reasons)).any():
        picked &= accepted(reasons)
    else:
        logger.warning("the gate rejects every validation positive; they are all used for lengths")
    positives = inverted.rows(picked)
    truth = truth_of(arrays, asked[walked][picked])
    reach = float(np.median(films.rms(positives.drawn - positives.origin)))
    _check_finite({"reach": reach, **dataclasses.asdict(thresholds)})
    step_length = section.aligned_reach * reach / section.walk_steps
    guide = make_guide(
        explainer,
        splits["train"],
        section,
        step_length=step_length,
        least_margin=END_SHARE * thresholds.positive,
        seed=seed,
    )
    towards = DIRECTIONS["pos_to_neg"]
    latent = [name for name in section.paths if PATHS[name].is_latent]
    walker = explainer.walk.only(*latent)  # no other path is chosen from
    walks = walker(positives, guide, thresholds, towards=towards)
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


def make_guide(
    explainer: Explainer,
    train: Arrays,
    section: ml_collections.ConfigDict,
    *,
    step_length: float,
    least_margin: float,
    seed: int,
) -> Guide:
    """What paths need of training films: ends, and where path `global` is walked a direction.

    Args:
      least_margin: of f on the drawing of a film whose class latent is to be an end.

    Raises:
      InputError: if there is no end.
    """
    positives, negatives = guide_rows(train, seed)
    ends = guide_films(explainer, train["image"][positives], least_margin)
    if "global" in section.paths:
        both = np.concatenate([positives, negatives])
        direction = mean_gradient(explainer, train["image"][both])
    else:
        direction = np.zeros_like(ends.z_class[0])
    return Guide(
        step_length=step_length,
        ends=ends.z_class,
        end_structures=ends.z_structure,
        direction=direction,
    )


def guide_rows(train: Arrays, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """NUM_GUIDES seeded training films of either label, or all that there are; positives first."""
    shuffle = np.random.Generator(np.random.Philox(seed)).permutation
    positives, negatives = (
        shuffle(np.flatnonzero(train["label"] == label))[:NUM_GUIDES] for label in (1, 0)
    )
    return positives, negatives


def guide_films(explainer: Explainer, pixels: Pixels, least_margin: float) -> Films:
    """Of these positives the first NUM_ENDS that are drawn so; the most positive where none is.

    Raises:
      InputError: if f calls none of them positive.
    """
    margin, _ = explainer.margins(pixels)
    if not (margin > 0).any():
        raise InputError(
            f"the classifier calls none of {len(pixels)} positive training films so; "
            "there is nothing to walk to from a negative: train it longer, or check the labels"
        )
    inverted = explainer.invert(pixels[margin > 0])
    drawn = inverted.drawn_margin
    picked = np.flatnonzero(drawn >= min(least_margin, drawn.max()))
    return inverted.rows(picked[:NUM_ENDS])


def mean_gradient(explainer: Explainer, pixels: Pixels) -> np.ndarray:
    """The mean over these films of f's unit gradients towards positive [n]."""
    return explainer.unit_gradient(explainer.invert(pixels)).mean(axis=0)


def best_path(explainer: Explainer, group: Group, thresholds: Thresholds, *, reach: float) -> str:
    """The path of map `latent`: of those that flip nearly as often as the best, the most felt.

    What f feels of a change is all that can be asked of a film whose truth nobody knows. Of equals
    the shorter is taken.
    """
    scores = walks.path_scores(group, thresholds, reach)
    latent = {name: each for name, each in scores.items() if PATHS[name].is_latent}
    flips = {name: each["flip_rate"].mean() for name, each in latent.items()}
    enough = [name for name, rate in flips.items() if rate >= NEARLY * max(flips.values())]

    def merit(name: str) -> tuple[float, float]:
        felt = walks.felt_shares(explainer, group, name).mean()
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
    np.savez(directory / ARRAYS, **guide_arrays(calibration.guide))
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


def guide_arrays(guide: Guide) -> dict[str, np.ndarray]:
    """The arrays of a calibration by name."""
    return {name: np.asarray(getattr(guide, name)) for name in GUIDE_ARRAYS}


def describe_calibration(calibration: Calibration) -> dict:
    """A calibration without its arrays, as JSON holds it."""
    return {
        "thresholds": dataclasses.asdict(calibration.thresholds),
        "step_length": float(calibration.guide.step_length),
        "reach": calibration.reach,
        "path": calibration.path,
    }


def parse_calibration(described: Mapping, guide: Mapping[str, np.ndarray]) -> Calibration:
    """What `describe_calibration` and `guide_arrays` told."""
    return Calibration(
        thresholds=Thresholds(**described["thresholds"]),
        guide=Guide(step_length=described["step_length"], **guide),
        reach=described["reach"],
        path=described["path"],
    )


def load_calibration(directory: Path) -> Calibration:
    """What `save_calibration` wrote.

    Raises:
      InputError: if there is none, or one that is damaged or of an earlier version.
    """
    path = directory / SCALARS
    if not path.exists() or not (directory / ARRAYS).exists():
        raise InputError(f"{path} is missing; run --task=explain with this --workdir first")
    stored, guide = read_json(path), _read_guide(directory / ARRAYS)
    if guide is None:
        raise InputError(
            f"{directory / ARRAYS} is damaged or of an earlier version; --task=explain with this "
            "--workdir calibrates anew"
        )
    return parse_calibration(stored, guide)


def is_calibrated(
    directory: Path, section: ml_collections.ConfigDict, trained: dict[str, str]
) -> bool:
    """Whether the stored calibration is of these models and of these fields of the config.

    One that is damaged is not, nor one of an earlier version, whose guide lacks an array.
    """
    path = directory / SCALARS
    if not path.exists() or _read_guide(directory / ARRAYS) is None:
        return False
    stored = read_json(path)
    same_models = stored["trained"] == trained
    return same_models and stored["explain"] == _as_json(fixed_fields(section))


def _read_guide(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of `guide_arrays`; None if the file is damaged, or lacks one."""
    try:
        # Of a damaged file that it has opened itself, NumPy leaves it open.
        with path.open("rb") as file, np.load(file) as arrays:
            return {name: arrays[name] for name in GUIDE_ARRAYS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _as_json(tree: object) -> object:
    """As it comes back from a file: tuples as lists."""
    if isinstance(tree, dict):
        return {name: _as_json(value) for name, value in tree.items()}
    return [_as_json(value) for value in tree] if isinstance(tree, (tuple, list)) else tree
