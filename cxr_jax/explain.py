"""Task `explain`: inverts held-out films, walks them, and writes numbers and figures."""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import ml_collections
import numpy as np

from cxr_jax import (
    films,
    invert,
    maps,
    metrics,
    paths,
    records,
    results,
    scores,
    train_classifier,
    train_encoder,
    train_gan,
)
from cxr_jax.data import Arrays
from cxr_jax.films import Films, Thresholds, Trained
from cxr_jax.paths import DIRECTIONS, Guide
from cxr_jax.types import Image, Pixels
from cxr_jax.walk import Walk
from datasets.errors import InputError

logger = logging.getLogger(__name__)

NUM_ENDS = 8  # training positives whose class latents end a linear walk from a negative
NUM_GUIDES = 4 * NUM_ENDS  # training films inverted for the ends and for path `global`


class Tools(NamedTuple):
    """What explaining calls, each compiled once.

    Attributes:
      invert: pixels to Films.
      walk: (guide, films, towards, thresholds) to the walks of every path.
      mean_gradient: films to the direction of path `global`.
      margins: pixels to the margins (f, h).
      baselines: the attribution methods by name, images in [-1, 1] to maps.
      along_walk: (walk, end frames) to signed integrated gradients along the walk.
      anogan: films to |x - G(z_structure, 0)|.
    """

    invert: Callable[[Pixels], Films]
    walk: Callable[[Guide, Films, int, Thresholds], dict[str, list[Walk]]]
    mean_gradient: Callable[[Films], np.ndarray]
    margins: Callable[[Pixels], tuple[np.ndarray, np.ndarray]]
    baselines: Mapping[str, Callable[[Image], np.ndarray]]
    along_walk: Callable[[Walk, np.ndarray], np.ndarray]
    anogan: Callable[[Films], np.ndarray]


class Group(NamedTuple):
    """Explainable films of one decision of f, with their truths and their walks by path."""

    films: Films
    truth: Mapping[str, np.ndarray]
    walks: Mapping[str, list[Walk]]  # several only for `linear` from a negative


def check_names(section: ml_collections.ConfigDict) -> None:
    """Raises `InputError` if `config.explain` asks for paths or maps that cannot be made."""
    for field, known in (("paths", paths.NAMES), ("maps", maps.NAMES)):
        for name in section[field]:
            if name not in known:
                raise InputError(
                    f"config.explain.{field} has no {name!r}; choose of {', '.join(known)}"
                )
    needs = [("linear", True, "every run")]
    needs += [("aligned", "chord" in section.paths, "path 'chord'")]
    needs += [("pixel", "pixel" in section.maps, "map 'pixel'")]
    for name, needed, user in needs:
        if needed and name not in section.paths:
            raise InputError(f"config.explain.paths lacks {name!r}, which {user} needs")
    if "latent" not in section.maps:
        raise InputError("config.explain.maps lacks 'latent', with which the others are compared")


def load_trained(
    config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]
) -> tuple[train_gan.Networks, train_classifier.Classifier, Trained]:
    """Every trained network: (those of the GAN with f, h, their parameters)."""
    networks = train_gan.make_networks(config)
    size = config.data.image_size
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
    return networks, judge, trained


def make_tools(
    config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]
) -> Tools:
    """Loads every trained network and binds it."""
    section = config.explain
    networks, judge, trained = load_trained(config, workdir, splits)
    inverted = films.make_invert(
        networks,
        judge,
        invert.Weights(**section.inversion_weights),
        section.inversion_steps,
        section.inversion_learning_rate,
        section.batch_size,
    )
    named = paths.make_paths(networks, judge, section)
    mean_gradient = paths.make_mean_gradient(networks, judge, section.batch_size)

    baselines = maps.make_baselines(networks.classifier, section, config.seed)
    along_walk = maps.make_along_walk(networks.classifier, section.batch_size)
    anogan = maps.make_anogan(networks, section)
    return Tools(
        invert=lambda pixels: inverted(trained, pixels),
        walk=lambda guide, some, towards, thresholds: paths.walk_films(
            named, trained, guide, some, towards, thresholds, config.seed
        ),
        mean_gradient=lambda some: mean_gradient(trained, some),
        margins=lambda pixels: (
            train_classifier.margins(networks.classifier, trained.classifier, pixels),
            train_classifier.margins(judge, trained.judge, pixels),
        ),
        baselines={
            name: functools.partial(baseline, trained.classifier)
            for name, baseline in baselines.items()
        },
        along_walk=lambda walked, end: along_walk(trained.classifier, (walked, end)),
        anogan=lambda some: anogan(trained, some),
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
      guide: of the walks.
      reach: median length of linear walks from positive to negative; `flip_auc` looks that far.
      path: the path that map `latent` is read from.
    """

    thresholds: Thresholds
    guide: Guide
    reach: float
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
    reach = float(np.median(films.rms(positives.drawn - positives.origin)))
    ends, direction = guide_films(tools, splits["train"], seed)
    guide = Guide(section.aligned_reach * reach / section.walk_steps, ends, direction)
    towards = DIRECTIONS["pos_to_neg"]
    walks = tools.walk(guide, positives, towards, thresholds)
    path = best_path(Group(positives, truth, walks), thresholds, reach)
    logger.info("linear walks are %.3f long; map `latent` is path %s", reach, path)
    return Calibration(thresholds, guide, reach, path)


def accepted(reasons: list[str]) -> np.ndarray:
    """Which films passed the gate."""
    return np.array([not reason for reason in reasons])


def guide_films(tools: Tools, train: Arrays, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """From seeded training films: z_class of NUM_ENDS positives, and f's mean gradient [n]."""
    order = np.random.Generator(np.random.Philox(seed)).permutation(np.flatnonzero(train["label"]))
    inverted = tools.invert(train["image"][order[:NUM_GUIDES]])
    ends = inverted.severity[inverted.margin > 0][:NUM_ENDS]
    return ends, tools.mean_gradient(inverted)


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
        some = inverted.rows(picked)
        walks = tools.walk(known.guide, some, towards, known.thresholds)
        groups[direction] = Group(some, truth, walks)
    rmse = films.rms(inverted.drawn - inverted.image)
    return Explained(rows, reasons, groups, shares, rmse)


def path_scores(
    group: Group, thresholds: Thresholds, reach: float, towards: int
) -> dict[str, dict[str, np.ndarray]]:
    """Per-film scores of every path [N]; [N, walks] where each film is walked to several ends."""
    twin = group.truth.get("twin") if towards < 0 else None
    table = {}
    for name, walks in group.walks.items():
        each = [scores.score_walk(walk, thresholds, towards, reach, twin) for walk in walks]
        table[name] = {metric: np.stack([s[metric] for s in each], axis=1) for metric in each[0]}
    if towards > 0:
        table["linear_best"] = scores.shortest_flip(table["linear"])
    return table


def best_path(group: Group, thresholds: Thresholds, reach: float) -> str:
    """The path of map `latent`: least `twin_error`, or most flips where there is no twin."""
    table = path_scores(group, thresholds, reach, DIRECTIONS["pos_to_neg"])
    table.pop("pixel", None)  # not a path through the latent space
    if "twin_error" in table["linear"]:
        return min(table, key=lambda path: np.nanmean(table[path]["twin_error"]))
    return max(table, key=lambda path: table[path]["flip_rate"].mean())


def make_maps(
    group: Group, known: Calibration, tools: Tools, train: Arrays, names: Sequence[str]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The maps of the positives by name, and the completeness of the walk's own attribution [N]."""
    walked = group.walks[known.path][0]
    ended = scores.end_walk(walked, known.thresholds, DIRECTIONS["pos_to_neg"])
    made = maps.walk_maps(group.films, walked, ended)
    if "lesion_mask" in train:
        made |= maps.truth_maps(group.films, group.truth, train["lesion_mask"])
    along = tools.along_walk(walked, ended.frame)
    moved = walked.margin[np.arange(len(along)), ended.frame] - walked.margin[:, 0]
    complete = np.array([metrics.completeness(a, m) for a, m in zip(along, moved, strict=True)])
    made["latent_integrated_gradients"] = np.abs(along)
    made |= {name: baseline(group.films.image) for name, baseline in tools.baselines.items()}
    if "anogan" in names:
        made["anogan"] = tools.anogan(group.films)
    if "pixel" in names:
        attacked = group.walks["pixel"][0]
        made["pixel"] = np.abs(
            scores.end_walk(attacked, known.thresholds, DIRECTIONS["pos_to_neg"]).change
        )
    return {name: made[name] for name in maps.NAMES if name in names and name in made}, complete


def tabulate_paths(
    explained: Explained, known: Calibration, bootstrap: tuple[int, int]
) -> dict[str, dict]:
    """The `paths` of metrics.json."""
    table = {}
    for direction, group in explained.groups.items():
        share, towards = explained.shares[direction], DIRECTIONS[direction]
        each_path = path_scores(group, known.thresholds, known.reach, towards)
        for path, each in each_path.items():
            entry = table.setdefault(path, dict.fromkeys(DIRECTIONS, scores.NOT_WALKED))
            entry[direction] = scores.summarise_paths(each, share, bootstrap)
    return table


def tabulate_maps(
    made: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray], bootstrap: tuple[int, int]
) -> dict[str, dict]:
    """The `maps` of metrics.json, over the positives that have lesions."""
    if "lesion_mask" not in truth:
        return scores.undefined_maps([*made, "prior", "oracle"])
    lesioned = truth["lesion_mask"].any(axis=(1, 2, 3))
    masks = {name: mask[lesioned] for name, mask in truth.items()}
    each = {name: scores.score_map(saliency[lesioned], masks) for name, saliency in made.items()}
    return scores.summarise_maps(each, bootstrap)


def run(config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]) -> None:
    """Explains the test films; writes metrics.json, walks.npz and figures/."""
    directory, section = workdir / "explain", config.explain
    if records.is_done(directory, explain=section.to_dict()):
        logger.info("explain: complete, skipped")
        return
    check_names(section)
    tools = make_tools(config, workdir, splits)
    known = calibrate(tools, splits, section, config.seed)
    explained = explain_test(tools, splits["test"], known, section)
    positives = explained.groups["pos_to_neg"]
    made, complete = make_maps(positives, known, tools, splits["train"], section.maps)
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
        "paths": tabulate_paths(explained, known, bootstrap),
        "maps": tabulate_maps(made, positives.truth, bootstrap),
        "completeness": metrics.summarise(complete, *bootstrap),
    }
    (directory / "figures").mkdir(parents=True, exist_ok=True)
    records.write_json(directory / "metrics.json", report)
    covered = accepted(explained.reasons)
    results.save_walks(directory / "walks.npz", explained.groups, explained.rows, covered)
    results.save_figures(
        directory / "figures", explained.groups, known.thresholds, known.path, made, section.strips
    )
    records.mark_done(directory, explain=section.to_dict())
