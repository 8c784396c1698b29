"""Task `explain`: inverts held-out films, walks them, and writes numbers and figures."""

import difflib
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import ml_collections
import numpy as np

from cxr_jax import (
    films,
    invert,
    maps,
    metrics,
    parallel,
    paths,
    precision,
    records,
    results,
    scores,
    tables,
    train_classifier,
    train_gan,
)
from cxr_jax.data import Arrays, to_unit_range
from cxr_jax.explained import Calibration, Explained, Group
from cxr_jax.films import Thresholds
from cxr_jax.grading import CONDITIONINGS
from cxr_jax.models.paper import grown_size
from cxr_jax.paths import DIRECTIONS, Guide
from cxr_jax.tools import Tools, make_tools
from datasets.errors import InputError

logger = logging.getLogger(__name__)

TRAINED = ("classifier", "gan", "encoder", "evaluators")  # tasks that explaining builds on
NO_MAP = "needs a truth that the data set lacks, or another film that passed the gate"
RENDERINGS = ("twin", "without_marker", "without_both")
INTERPOLATED = 11  # frames of the paper's figure
NUM_ENDS = 8  # training positives whose class latents end a linear walk from a negative
NUM_GUIDES = 4 * NUM_ENDS  # training films inverted for the ends and for path `global`


def check_config(config: ml_collections.ConfigDict) -> None:
    """Raises `InputError` if `config.explain` asks for paths or maps that cannot be made.

    Called before anything is trained: a misspelt path should not cost an hour.
    """
    section = config.explain
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
    if "geodesic" in section.paths and "robust" not in config.evaluators.names:
        raise InputError("path 'geodesic' needs 'robust' among config.evaluators.names")
    chosen = [
        ("gan.objective", config.gan.objective, train_gan.OBJECTIVES),
        ("gan.networks", config.gan.networks, train_gan.NETWORKS),
        ("gan.conditioning", config.gan.conditioning, CONDITIONINGS),
        ("explain.inversion.start", section.inversion.start, invert.STARTS),
    ]
    for field, value, known in chosen:
        if value not in known:
            raise InputError(f"config.{field} is {value!r}; choose of {', '.join(known)}")
    if section.inversion.keep_change and section.inversion.start == "origin":
        raise InputError(
            "config.explain.inversion.keep_change is True, but from start='origin' there is no "
            "change to keep; set it to False"
        )
    check_paper(config)
    if "latent" not in section.maps:
        raise InputError("config.explain.maps lacks 'latent', with which the others are compared")


def check_paper(config: ml_collections.ConfigDict) -> None:
    """Raises `InputError` if the paper's objective or networks are asked for what they lack."""
    gan, needs = config.gan, []
    if gan.objective == "paper":
        needs += [
            ("gan.conditioning", gan.conditioning, "binary", "objective (gan.objective)"),
            (
                *("explain.inversion.start", config.explain.inversion.start, "origin"),
                "objective (gan.objective), which trains no encoder,",
            ),
        ]
    if gan.networks == "paper":
        size = grown_size(len(gan.paper.generator_widths))
        needs += [
            ("gan.objective", gan.objective, "paper", "networks (gan.networks)"),
            ("gan.r1_weight", gan.r1_weight, 0.0, "networks (gan.networks)"),
            (
                *("data.image_size", config.data.image_size, size),
                "networks (gan.paper.generator_widths)",
            ),
        ]
    for field, value, needed, what in needs:
        if value != needed:
            raise InputError(
                f"config.{field} is {value!r}; the paper's {what} must have {needed!r} there"
            )


def find_films(arrays: Arrays, wanted: Sequence[str]) -> np.ndarray:
    """Rows of the films with these names (`config.explain.films`), in their order.

    Raises:
      InputError: if there is no such test film.
    """
    rows = {name: row for row, name in enumerate(results.names_of(arrays))}
    for name in wanted:
        if name not in rows:
            like = difflib.get_close_matches(name, rows, n=3, cutoff=0)
            raise InputError(
                f"config.explain.films has {name!r}, which no test film is called; the nearest are "
                f"{', '.join(like)}"
            )
    return np.array([rows[name] for name in dict.fromkeys(wanted)], int)


def choose(margin: np.ndarray, count: int, skip: int = 0, named: Sequence[int] = ()) -> np.ndarray:
    """Rows of films that f calls positive and negative, half of `count` each if there are so many.

    Args:
      named: rows that are surely among them, and the first.
      skip: others of each decision that are left out before one is taken.

    Raises:
      InputError: if f calls no further film positive, or none negative.
    """
    named = np.asarray(named, int)
    others = np.setdiff1d(np.arange(len(margin)), named)
    chosen = []
    for positive in (True, False):
        asked, free = (rows[(margin[rows] > 0) == positive] for rows in (named, others))
        free = free[skip:][: max(count // 2 - len(asked), 0)]
        if len(asked) + len(free) == 0:
            raise InputError(
                f"the classifier calls {(margin > 0).sum()} of {len(margin)} films positive; after "
                f"skipping {skip} of each decision (config.explain.skip) there is nothing to walk"
            )
        chosen.append(free)
    return np.concatenate([named, np.sort(np.concatenate(chosen))])


def lungs_of(tools: Tools, arrays: Arrays, rows: np.ndarray) -> np.ndarray:
    """Lung masks [N, h, w, 1] bool; the whole image where nobody knows, or finds any.

    Where only some films have masks, or by other hands, the segmenter's are taken for all.
    """
    if tools.lungs is not None and "has_lung_mask" in arrays:
        masks = tools.lungs(to_unit_range(arrays["image"][rows]))
    elif "lung_mask" in arrays:
        masks = arrays["lung_mask"][rows] > 0
    else:
        masks = np.zeros(arrays["image"][rows].shape, bool)
    return masks | ~masks.any(axis=(1, 2, 3), keepdims=True)


def truth_of(arrays: Arrays, rows: np.ndarray) -> dict[str, np.ndarray]:
    """What the data set knows of some films, `row` of the split first; pictures in [-1, 1]."""
    truth = {"row": rows, **{name: array[rows] for name, array in arrays.items()}}
    pictures = {name: to_unit_range(truth[name]) for name in RENDERINGS if name in truth}
    return truth | pictures


def calibrate(
    tools: Tools, splits: dict[str, Arrays], section: ml_collections.ConfigDict, seed: int
) -> Calibration:
    """Sets thresholds and lengths, and chooses the path of map `latent`."""
    arrays = splits["validation"]
    margin, judged = tools.margins(arrays["image"])
    for name, said in (("f", margin), ("h", judged)):
        if not metrics.class_gap(said, arrays["label"]) > 0:
            logger.warning("%s says of validation films the opposite of their labels", name)
    rows = choose(margin, section.validation_images)
    inverted = tools.invert(arrays["image"][rows])
    errors = films.lung_error(inverted, lungs_of(tools, arrays, rows))
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
    """From seeded training films: z_class of NUM_ENDS positives, and f's mean gradient [n].

    Raises:
      InputError: if f calls none of them positive.
    """
    shuffle = np.random.Generator(np.random.Philox(seed)).permutation
    rows = [shuffle(np.flatnonzero(train["label"] == label))[:NUM_GUIDES] for label in (1, 0)]
    inverted = tools.invert(train["image"][rows[0]])
    ends = inverted.severity[inverted.margin > 0][:NUM_ENDS]
    if len(ends) == 0:
        raise InputError(
            f"the classifier calls none of {len(inverted.margin)} positive training films so; "
            "there is nothing to walk to from a negative: train it longer, or check the labels"
        )
    gradients = [
        tools.unit_gradient(some) for some in (inverted, tools.invert(train["image"][rows[1]]))
    ]
    return ends, np.concatenate(gradients).mean(axis=0)


def explain_test(
    tools: Tools, test: Arrays, known: Calibration, section: ml_collections.ConfigDict
) -> Explained:
    """Inverts, gates and walks the test films.

    If the gate rejects every film of a direction, they are walked all the same, so that the
    pictures show why; the coverage of 0 says that their figures mean nothing.
    """
    named = find_films(test, section.films)
    margin, _ = tools.margins(test["image"])
    rows = choose(margin, section.images, section.skip, named)
    inverted = tools.invert(test["image"][rows])
    errors = films.lung_error(inverted, lungs_of(tools, test, rows))
    reasons = films.reasons_to_reject(inverted, errors, known.thresholds, section.gate_margin)
    covered = accepted(reasons)
    logger.info("%d of %d films pass the gate", covered.sum(), len(covered))
    groups, shares = {}, {}
    for direction, towards in DIRECTIONS.items():
        member = (inverted.margin > 0) == (towards < 0)
        shares[direction] = float(covered[member].mean())
        picked = member & covered if (member & covered).any() else member
        truth = truth_of(test, rows[picked])
        some = inverted.rows(picked)
        walks = tools.walk(known.guide, some, towards, known.thresholds)
        groups[direction] = Group(some, truth, walks)
    rmse = films.rms(inverted.drawn - inverted.image)
    return Explained(rows, reasons, groups, shares, rmse, margin)


def best_path(group: Group, thresholds: Thresholds, reach: float) -> str:
    """The path of map `latent`: least `twin_error`, or most flips where there is no twin."""
    table = tables.path_scores(group, thresholds, reach, DIRECTIONS["pos_to_neg"])
    table.pop("pixel", None)  # not a path through the latent space
    if "twin_error" in table["linear"]:
        return min(table, key=lambda path: np.nanmean(table[path]["twin_error"]))
    return max(table, key=lambda path: table[path]["flip_rate"].mean())


def other_films(
    arrays: Arrays, margin: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The films beside those walked that f calls positive, and those that it calls negative.

    Args:
      margin: f on all films [N].
      rows: of the films walked.
    """
    image = to_unit_range(np.delete(arrays["image"], rows, axis=0))
    positive = np.delete(margin, rows) > 0
    return image[positive], image[~positive]


def make_maps(
    group: Group, known: Calibration, tools: Tools, train: Arrays, names: Sequence[str]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The maps of the positives by name, and `completeness` of the walk's own attribution [N]."""
    towards = DIRECTIONS["pos_to_neg"]
    walked = group.walks[known.path][0]
    ended = scores.end_walk(walked, known.thresholds, towards)
    made = maps.walk_maps(group.films, walked, ended)
    if "lesion_mask" in train:
        made |= maps.truth_maps(group.films, group.truth, train["lesion_mask"])
    made |= {name: method(group.films.image) for name, method in tools.baselines.items()}
    if "latent_occlusion" in names:
        image = group.films.image
        made["latent_occlusion"] = tools.occlude(image, image + ended.change)
    incomplete = np.full(len(ended.frame), np.nan)
    if "latent_integrated_gradients" in names:
        along = tools.along_walk(walked, ended.frame)
        made["latent_integrated_gradients"] = np.abs(along)
        moved = walked.margin[np.arange(len(along)), ended.frame] - walked.margin[:, 0]
        pairs = zip(along, moved, strict=True)
        incomplete = np.array([metrics.completeness(*pair) for pair in pairs])
    if "anogan" in names:
        made["anogan"] = tools.anogan(group.films)
    if "pixel" in names:
        attacked = scores.end_walk(group.walks["pixel"][0], known.thresholds, towards)
        made["pixel"] = np.abs(attacked.change)
    return {name: made[name] for name in maps.NAMES if name in names and name in made}, incomplete


def interpolate(tools: Tools, some: films.Films) -> tuple[np.ndarray, np.ndarray]:
    """Images drawn with shares of each film's z_class [n, k, h, w, 1], and f on them [n, k]."""
    shares, rows = np.linspace(0, 1, INTERPOLATED, dtype=np.float32), len(some.image)
    severity = shares[:, None] * some.severity[:, None]
    drawn = tools.draw(
        np.repeat(some.structure, INTERPOLATED, axis=0), severity.reshape(-1, severity.shape[-1])
    )
    margin = tools.classify(drawn).reshape(rows, INTERPOLATED)
    return drawn.reshape(rows, INTERPOLATED, *drawn.shape[1:]), margin


class Measured(NamedTuple):
    """What is said of the explained films.

    Attributes:
      report: metrics.json.
      scores: the same film by film, see `results.save_scores`.
      maps: of the positives, by name.
      audited: which regions the classifier's answers come from.
      interpolated: the first positives drawn with shares of their z_class, see `interpolate`.
    """

    report: dict
    scores: dict
    maps: dict[str, np.ndarray]
    audited: tables.Audited
    interpolated: tuple[np.ndarray, np.ndarray]


def measure(
    config: ml_collections.ConfigDict,
    tools: Tools,
    splits: dict[str, Arrays],
    known: Calibration,
    explained: Explained,
    figures: dict,
) -> Measured:
    """Every table; `figures`: the test figures of `classifier` and `judge`."""
    section, bootstrap = config.explain, (config.explain.bootstrap, config.seed)
    positives, share = explained.groups["pos_to_neg"], explained.shares["pos_to_neg"]
    made, incomplete = make_maps(positives, known, tools, splits["train"], section.maps)
    real = ()
    if tools.features:
        real = other_films(splits["test"], explained.margin, explained.rows)
    path_scores, path_table = tables.score_paths(tools, explained, known, real, bootstrap)
    map_scores, map_table = tables.score_maps(made, incomplete, positives.truth, share, bootstrap)
    audited = tables.audit_films(tools, positives, known, made, share, bootstrap)
    for name in section.maps:
        if name not in map_table:
            reason = tools.no_map[name] if name in tools.no_map else NO_MAP
            map_table |= scores.undefined_maps([name], reason)
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
        "paths": path_table,
        "maps": map_table,
        "disentanglement": tables.disentangle(tools, explained),
        "audit": audited.table,
    }
    film_scores = {**path_scores, "maps": map_scores, "audit": audited.each}
    interpolated = interpolate(tools, positives.films.rows(slice(section.strips)))
    return Measured(report, film_scores, made, audited, interpolated)


def write(
    directory: Path, strips: int, known: Calibration, explained: Explained, measured: Measured
) -> None:
    """Writes metrics.json, figures/, and arrays film by film (.npz)."""
    figures, groups = directory / "figures", explained.groups
    shutil.rmtree(figures, ignore_errors=True)  # of an earlier choice of paths
    figures.mkdir(parents=True)
    records.write_json(directory / "metrics.json", measured.report)
    results.save_scores(directory / "scores.npz", measured.scores)
    covered = accepted(explained.reasons)
    results.save_walks(directory / "walks.npz", groups, explained.rows, covered)
    positives, maps = groups["pos_to_neg"], measured.maps
    results.save_maps(directory / "maps.npz", maps, positives.truth["row"])
    results.save_figures(figures, groups, known.thresholds, known.path, maps, strips)
    results.save_audit(figures / "audit.png", positives, measured.audited, strips)
    results.save_interpolation(figures / "interpolation.png", positives, *measured.interpolated)


@precision.exactly
def run(config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]) -> None:
    """Explains the test films.

    Of several processes each explains all of them on its own devices, and the first writes.
    """
    directory, section = workdir / "explain", config.explain
    trained = {name: records.finished(workdir / name) for name in TRAINED}
    if records.is_done(directory, explain=section.to_dict(), trained=trained):
        logger.info("explain: complete, skipped")
        return
    tools = make_tools(config, workdir, splits)
    known = calibrate(tools, splits, section, config.seed)
    explained = explain_test(tools, splits["test"], known, section)
    figures = train_classifier.test_figures(workdir)
    measured = measure(config, tools, splits, known, explained, figures)
    if not parallel.is_first():
        return
    write(directory, section.strips, known, explained, measured)
    records.mark_done(directory, explain=section.to_dict(), trained=trained)
