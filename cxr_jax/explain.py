"""Task `explain`: inverts held-out films, walks them, and writes numbers and figures."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import ml_collections
import numpy as np

from cxr_jax import (
    attribution,
    films,
    invert,
    metrics,
    parallel,
    records,
    results,
    scores,
    train_classifier,
    train_encoder,
    train_gan,
)
from cxr_jax.data import Arrays
from cxr_jax.films import Films, Thresholds, Trained
from cxr_jax.scores import DIRECTIONS
from cxr_jax.types import Params, Pixels
from cxr_jax.walk import Walk

logger = logging.getLogger(__name__)

NUM_ENDS = 8  # training positives whose class latents end a linear walk from a negative
MAP_NAMES = ("latent", "residual", "gradient", "prior", "shuffled", "oracle")


class Tools(NamedTuple):
    """What explaining calls, each compiled once.

    Attributes:
      invert: pixels to Films.
      linear: (films, end) to Walk.  aligned: (step_length, films, towards) to Walk.
      margins: pixels to the margins (f, h).
      gradient: images in [-1, 1] to |df/dx|.
    """

    invert: Callable[[Pixels], Films]
    linear: Callable
    aligned: Callable
    margins: Callable[[Pixels], tuple[np.ndarray, np.ndarray]]
    gradient: Callable[[np.ndarray], np.ndarray]


class Group(NamedTuple):
    """Explainable films of one decision of f, with their truths and walks."""

    films: Films
    truth: Mapping[str, np.ndarray]
    linear: list[Walk]  # one from a positive; from a negative one for each of the training ends
    aligned: Walk

    def shown(self, path: str) -> Walk:
        """The walk that figures show of a path: of several, the first."""
        return self.linear[0] if path == "linear" else self.aligned


def make_tools(
    config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]
) -> Tools:
    """Loads every trained network and binds it."""
    section, size = config.explain, config.data.image_size
    networks = train_gan.make_networks(config)
    judge, judge_params = train_classifier.load(
        config.judge, size, workdir / "classifier" / "judge"
    )
    classifier, scale = train_gan.load_frozen(config, workdir, splits)
    trained = Trained(
        classifier=classifier,
        judge=judge_params,
        generator=train_gan.load(networks, workdir)["generator"],
        encoder=train_encoder.load(networks, workdir),
        scale=scale,
    )
    inverted = films.make_invert(
        networks,
        judge,
        invert.Weights(**section.inversion_weights),
        section.inversion_steps,
        section.inversion_learning_rate,
        section.batch_size,
    )
    linear, aligned = films.make_walks(networks, judge, section.walk_steps, section.batch_size)

    def gradient(params: Params, image: np.ndarray) -> np.ndarray:
        return attribution.input_gradient(
            lambda x: networks.classifier.apply({"params": params}, x)[0], image
        )

    gradient = parallel.in_batches(gradient, 1, section.batch_size)
    return Tools(
        invert=lambda pixels: inverted(trained, pixels),
        linear=lambda some, end: linear(trained, (some, end)),
        aligned=lambda length, some, towards: aligned(
            trained, jnp.float32(length), (some, np.full(len(some.margin), towards, np.float32))
        ),
        margins=lambda pixels: (
            train_classifier.margins(networks.classifier, classifier, pixels),
            train_classifier.margins(judge, judge_params, pixels),
        ),
        gradient=lambda image: gradient(classifier, image),
    )


def choose(margin: np.ndarray, count: int) -> np.ndarray:
    """Rows of the first films that f calls positive and negative, half of `count` each."""
    positive, negative = np.flatnonzero(margin > 0), np.flatnonzero(margin <= 0)
    return np.sort(np.concatenate([positive[: count // 2], negative[: count // 2]]))


def lungs_of(arrays: Arrays, rows: np.ndarray) -> np.ndarray:
    """Lung masks [N, h, w, 1] bool; the whole image where a film has none."""
    shape = arrays["image"][rows].shape
    if "lung_mask" not in arrays:
        return np.ones(shape, bool)
    masks = arrays["lung_mask"][rows] > 0
    return masks | ~masks.any(axis=(1, 2, 3), keepdims=True)


def truth_of(arrays: Arrays, rows: np.ndarray) -> dict[str, np.ndarray]:
    """What the data set knows of some films; the twin in [-1, 1]."""
    truth = {name: array[rows] for name, array in arrays.items()}
    if "twin" in truth:
        truth["twin"] = truth["twin"].astype(np.float32) / 127.5 - 1
    return truth


class Calibration(NamedTuple):
    """What validation and training films decide before a test film is looked at.

    Attributes:
      thresholds: of the gate and of the walks.
      step_length: between the frames of an aligned walk.
      ends: z_class of training positives, where linear walks from a negative end.
      path: the path that map `latent` is read from.
    """

    thresholds: Thresholds
    step_length: float
    ends: np.ndarray
    path: str


class Explained(NamedTuple):
    """The test films, explained.

    Attributes:
      rows: of the test split.
      reasons: why each is not explainable; "" where it is.
      groups: explainable films and their walks, by direction.
      shares: which part of each direction's films passed the gate.
      rmse: of each film's reconstruction, covered or not.
    """

    rows: np.ndarray
    reasons: list[str]
    groups: dict[str, Group]
    shares: dict[str, float]
    rmse: np.ndarray


def calibrate(
    tools: Tools, splits: dict[str, Arrays], section: ml_collections.ConfigDict, seed: int
) -> Calibration:
    """Sets thresholds and lengths, and chooses the path of map `latent`."""
    arrays = splits["validation"]
    margin, judged = tools.margins(arrays["image"])
    rows = choose(margin, section.validation_images)
    inverted = tools.invert(arrays["image"][rows])
    errors = films.lung_error(inverted, lungs_of(arrays, rows))
    thresholds = films.set_thresholds(
        margin, judged, arrays["label"], errors, section.gate_percentile
    )
    reasons = films.reasons_to_reject(inverted, errors, thresholds, section.gate_margin)
    picked = inverted.margin > 0
    if (picked & accepted(reasons)).any():
        picked &= accepted(reasons)
    else:
        logger.warning("the gate rejects every validation positive; they are all used for lengths")
    positives, truth = inverted.rows(picked), truth_of(arrays, rows[picked])
    origin = np.zeros_like(positives.severity)
    linear = tools.linear(positives, origin)
    length = float(np.median(linear.distance[:, -1]))
    step_length = section.aligned_reach * length / section.walk_steps
    towards = DIRECTIONS["pos_to_neg"]
    aligned = tools.aligned(step_length, positives, towards)
    path = best_path(Group(positives, truth, [linear], aligned), thresholds)
    logger.info("linear walks are %.3f long; map `latent` is path %s", length, path)
    return Calibration(thresholds, step_length, training_ends(tools, splits["train"], seed), path)


def accepted(reasons: list[str]) -> np.ndarray:
    """Which films passed the gate."""
    return np.array([not reason for reason in reasons])


def training_ends(tools: Tools, train: Arrays, seed: int) -> np.ndarray:
    """z_class of NUM_ENDS seeded training films that are, and are called, positive."""
    order = np.random.Generator(np.random.Philox(seed)).permutation(np.flatnonzero(train["label"]))
    inverted = tools.invert(train["image"][order[: 4 * NUM_ENDS]])
    return inverted.severity[inverted.margin > 0][:NUM_ENDS]


def walk_group(
    tools: Tools, some: Films, truth: Mapping[str, np.ndarray], towards: int, known: Calibration
) -> Group:
    """Walks films of one decision towards the other, by both paths."""
    origin = np.zeros_like(some.severity)
    targets = [origin] if towards < 0 else [origin + end for end in known.ends]
    linear = [tools.linear(some, target) for target in targets]
    return Group(some, truth, linear, tools.aligned(known.step_length, some, towards))


def explain_test(
    tools: Tools, test: Arrays, known: Calibration, section: ml_collections.ConfigDict
) -> Explained:
    """Inverts, gates and walks the test films.

    If the gate rejects every film of a direction, they are walked all the same, so that the
    pictures show why; the coverage of 0 says that their figures mean nothing.
    """
    rows = choose(tools.margins(test["image"])[0], section.images)
    inverted = tools.invert(test["image"][rows])
    errors = films.lung_error(inverted, lungs_of(test, rows))
    reasons = films.reasons_to_reject(inverted, errors, known.thresholds, section.gate_margin)
    covered = accepted(reasons)
    logger.info("%d of %d films pass the gate", covered.sum(), len(covered))
    groups, shares = {}, {}
    for direction, towards in DIRECTIONS.items():
        member = towards * inverted.margin <= 0
        shares[direction] = float(covered[member].mean())
        picked = member & covered if (member & covered).any() else member
        truth = truth_of(test, rows[picked])
        groups[direction] = walk_group(tools, inverted.rows(picked), truth, towards, known)
    rmse = np.sqrt(np.square(inverted.drawn - inverted.image).mean((1, 2, 3)))
    return Explained(rows, reasons, groups, shares, rmse)


def path_scores(
    group: Group, thresholds: Thresholds, towards: int
) -> dict[str, dict[str, np.ndarray]]:
    """Per-film scores of every path; a film walked to several ends has a column for each."""
    twin = group.truth.get("twin") if towards < 0 else None
    linear = [scores.score_walk(walk, thresholds, towards, twin) for walk in group.linear]
    return {
        "linear": {name: np.stack([s[name] for s in linear], axis=1) for name in linear[0]},
        "aligned": scores.score_walk(group.aligned, thresholds, towards, twin),
    }


def best_path(group: Group, thresholds: Thresholds) -> str:
    """The path of map `latent`: least `twin_error`, or most flips where there is no twin."""
    table = path_scores(group, thresholds, DIRECTIONS["pos_to_neg"])
    if "twin_error" in table["linear"]:
        return min(table, key=lambda path: np.nanmean(table[path]["twin_error"]))
    return max(table, key=lambda path: table[path]["flip_rate"].mean())


def make_maps(group: Group, known: Calibration, tools: Tools, train: Arrays) -> dict:
    """The maps of the positives by name [N, h, w, 1]; controls only where their truth is known."""
    walk = group.shown(known.path)
    ended = scores.end_walk(walk, known.thresholds, DIRECTIONS["pos_to_neg"])
    change = np.abs(ended.change)
    drawn_end = walk.drawn[np.arange(len(change)), ended.frame]
    maps = {
        "latent": change,
        "residual": np.abs(group.films.image - drawn_end),
        "gradient": tools.gradient(group.films.image),
        "shuffled": np.roll(change, 1, axis=0),
    }
    if "lesion_mask" in train:
        maps["prior"] = np.broadcast_to((train["lesion_mask"] / 255.0).mean(axis=0), change.shape)
        maps["oracle"] = np.abs(group.films.image - group.truth["twin"])
    return maps


def tabulate_paths(
    explained: Explained, thresholds: Thresholds, bootstrap: tuple[int, int]
) -> dict[str, dict]:
    """The `paths` of metrics.json."""
    table = {"linear": {}, "aligned": {}}
    for direction, group in explained.groups.items():
        share = explained.shares[direction]
        for path, each in path_scores(group, thresholds, DIRECTIONS[direction]).items():
            table[path][direction] = scores.summarise_paths(each, share, bootstrap)
    return table


def tabulate_maps(
    maps: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray], bootstrap: tuple[int, int]
) -> dict[str, dict]:
    """The `maps` of metrics.json, over the positives that have lesions."""
    if "lesion_mask" not in truth:
        return scores.undefined_maps(MAP_NAMES)
    lesioned = truth["lesion_mask"].any(axis=(1, 2, 3))
    masks = {name: mask[lesioned] for name, mask in truth.items()}
    each = {name: scores.score_map(saliency[lesioned], masks) for name, saliency in maps.items()}
    return scores.summarise_maps(each, bootstrap)


def run(config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]) -> None:
    """Explains the test films; writes metrics.json, walks.npz and figures/."""
    directory, section = workdir / "explain", config.explain
    if records.is_done(directory, explain=section.to_dict()):
        logger.info("explain: complete, skipped")
        return
    tools = make_tools(config, workdir, splits)
    known = calibrate(tools, splits, section, config.seed)
    explained = explain_test(tools, splits["test"], known, section)
    positives = explained.groups["pos_to_neg"]
    maps = make_maps(positives, known, tools, splits["train"])
    bootstrap = (section.bootstrap, config.seed)
    figures = train_classifier.test_figures(workdir)
    report = {
        "config": config.to_dict(),
        "images": len(explained.rows),
        "coverage": float(accepted(explained.reasons).mean()),
        "coverage_by_direction": explained.shares,
        "rejected": results.list_rejected(splits["test"], explained.rows, explained.reasons),
        "classifier": figures["classifier"],
        "judge": figures["judge"],
        "thresholds": known.thresholds._asdict(),
        "latent_path": known.path,
        "reconstruction_rmse": metrics.summarise(explained.rmse, *bootstrap),
        "paths": tabulate_paths(explained, known.thresholds, bootstrap),
        "maps": tabulate_maps(maps, positives.truth, bootstrap),
    }
    (directory / "figures").mkdir(parents=True, exist_ok=True)
    records.write_json(directory / "metrics.json", report)
    covered = accepted(explained.reasons)
    results.save_walks(directory / "walks.npz", explained.groups, explained.rows, covered)
    results.save_figures(
        directory / "figures", explained.groups, known.thresholds, known.path, maps, section.strips
    )
    records.mark_done(directory, explain=section.to_dict())
