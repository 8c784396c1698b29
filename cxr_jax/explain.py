"""Task `explain`: inverts held-out films, walks them, and writes numbers and figures."""

import json
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
    plots,
    records,
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
NUM_STRIP_FRAMES = 8
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
        invert.Weights(**config.encoder.weights),
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
    """Rows of the first films that f calls positive and negative, half of `count` each if there are."""
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


def training_ends(tools: Tools, train: Arrays, seed: int) -> np.ndarray:
    """z_class of NUM_ENDS seeded training films that are, and are called, positive."""
    order = np.random.Generator(np.random.Philox(seed)).permutation(np.flatnonzero(train["label"]))
    inverted = tools.invert(train["image"][order[: 4 * NUM_ENDS]])
    return inverted.severity[inverted.margin > 0][:NUM_ENDS]


def walk_group(
    tools: Tools,
    some: Films,
    truth: dict[str, np.ndarray],
    towards: int,
    ends: np.ndarray,
    step_length: float,
) -> Group:
    """Walks films of one decision towards the other, by both paths."""
    origin = np.zeros_like(some.severity)
    targets = [origin] if towards < 0 else [origin + end for end in ends]
    linear = [tools.linear(some, target) for target in targets]
    return Group(some, truth, linear, tools.aligned(step_length, some, towards))


def typical_length(tools: Tools, validation: Films) -> float:
    """Median length of the linear walk from validation positives to the origin."""
    positive = validation.rows(validation.margin > 0)
    walk = tools.linear(positive, np.zeros_like(positive.severity))
    return float(np.median(walk.distance[:, -1]))


def gate(
    tools: Tools, arrays: Arrays, rows: np.ndarray, thresholds: Thresholds, gate_margin: float
) -> tuple[Films, list[str]]:
    """Inverts films and says of each why it is not explainable ("" where it is)."""
    inverted = tools.invert(arrays["image"][rows])
    errors = films.lung_error(inverted, lungs_of(arrays, rows))
    return inverted, films.reasons_to_reject(inverted, errors, thresholds, gate_margin)


def calibrate(
    tools: Tools, arrays: Arrays, section: ml_collections.ConfigDict
) -> tuple[Thresholds, Films, np.ndarray]:
    """Thresholds from the validation split, and the validation films that pass them."""
    margin, judged = tools.margins(arrays["image"])
    rows = choose(margin, section.validation_images)
    inverted = tools.invert(arrays["image"][rows])
    errors = films.lung_error(inverted, lungs_of(arrays, rows))
    thresholds = films.set_thresholds(
        margin, judged, arrays["label"], errors, section.gate_percentile
    )
    reasons = films.reasons_to_reject(inverted, errors, thresholds, section.gate_margin)
    covered = np.array([not reason for reason in reasons])
    if not any(covered & (inverted.margin > 0)):
        logger.warning(
            "the gate rejects every validation positive; thresholds come from all of them"
        )
        covered[:] = True
    return thresholds, inverted.rows(covered), rows[covered]


def path_scores(
    group: Group, thresholds: Thresholds, towards: int
) -> dict[str, dict[str, np.ndarray]]:
    """Per-film scores of every path of a group; a film walked to several ends has a column for each."""
    twin = None
    if towards < 0 and "twin" in group.truth:
        # Without a lesion the twin is the film itself and the error undefined.
        twin = group.truth["twin"]
    linear = [scores.score_walk(walk, thresholds, towards, twin) for walk in group.linear]
    return {
        "linear": {name: np.stack([s[name] for s in linear], axis=1) for name in linear[0]},
        "aligned": scores.score_walk(group.aligned, thresholds, towards, twin),
    }


def best_path(group: Group, thresholds: Thresholds) -> str:
    """The path of map `latent`: least validation `twin_error`, or most flips where there is no twin."""
    table = path_scores(group, thresholds, DIRECTIONS["pos_to_neg"])
    if "twin_error" in table["linear"]:
        return min(table, key=lambda path: np.nanmedian(table[path]["twin_error"]))
    return max(table, key=lambda path: table[path]["flip_rate"].mean())


def walk_of(group: Group, path: str) -> Walk:
    """The walk that is shown of a path: of several, the first."""
    return group.linear[0] if path == "linear" else group.aligned


def run(config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]) -> None:
    """Explains the test films; writes metrics.json, walks.npz and figures/."""
    directory, section = workdir / "explain", config.explain
    stamp = {"explain": section.to_dict()}
    done = directory / "done.json"
    if done.exists() and records.read_json(done) == json.loads(json.dumps(stamp)):
        logger.info("explain: complete, skipped")
        return
    (directory / "figures").mkdir(parents=True, exist_ok=True)
    tools = make_tools(config, workdir, splits)
    thresholds, validation, validation_rows = calibrate(tools, splits["validation"], section)
    length = typical_length(tools, validation)
    step_length = section.aligned_reach * length / section.walk_steps
    ends = training_ends(tools, splits["train"], config.seed)
    positive = validation.margin > 0
    path = best_path(
        walk_group(
            tools,
            validation.rows(positive),
            truth_of(splits["validation"], validation_rows[positive]),
            DIRECTIONS["pos_to_neg"],
            ends,
            step_length,
        ),
        thresholds,
    )
    logger.info("linear walks are %.3f long; map `latent` is path %s", length, path)

    test = splits["test"]
    rows = choose(tools.margins(test["image"])[0], section.images)
    inverted, reasons = gate(tools, test, rows, thresholds, section.gate_margin)
    covered = np.array([not reason for reason in reasons])
    logger.info("%d of %d films pass the gate", covered.sum(), len(covered))
    groups, shares = {}, {}
    for name, towards in DIRECTIONS.items():
        member = towards * inverted.margin <= 0
        shares[name] = float(covered[member].mean())
        picked = member & covered if (member & covered).any() else member
        groups[name] = walk_group(
            tools,
            inverted.rows(picked),
            truth_of(test, rows[picked]),
            towards,
            ends,
            step_length,
        )
    bootstrap = (section.bootstrap, config.seed)
    report = {
        "config": config.to_dict(),
        "images": len(rows),
        "coverage": float(covered.mean()),
        "coverage_by_direction": shares,
        "rejected": rejected(test, rows, reasons),
        "classifier": train_classifier.test_figures(workdir)["classifier"],
        "judge": train_classifier.test_figures(workdir)["judge"],
        "thresholds": thresholds._asdict(),
        "latent_path": path,
        "reconstruction_rmse": metrics.summarise(
            np.sqrt(np.square(inverted.drawn - inverted.image).mean((1, 2, 3))), *bootstrap
        ),
        "paths": tabulate_paths(groups, thresholds, shares, bootstrap),
        "maps": {},
    }
    maps, masked = make_maps(groups["pos_to_neg"], thresholds, path, tools, splits["train"])
    if masked is None:
        report["maps"] = scores.undefined_maps(MAP_NAMES)
    else:
        truth = {name: array[masked] for name, array in groups["pos_to_neg"].truth.items()}
        each = {name: scores.score_map(saliency[masked], truth) for name, saliency in maps.items()}
        report["maps"] = scores.summarise_maps(each, bootstrap)
    records.write_json(directory / "metrics.json", report)
    save_walks(directory / "walks.npz", groups, test, rows, covered)
    save_figures(directory / "figures", groups, thresholds, path, maps, section.strips)
    records.write_json(done, stamp)


def rejected(arrays: Arrays, rows: np.ndarray, reasons: list[str]) -> list[dict]:
    """The rejected films by name."""
    names = arrays.get("filename", arrays.get("patient_id"))
    return [
        {
            "id": names[row].decode() if isinstance(names[row], bytes) else str(names[row]),
            "reason": r,
        }
        for row, r in zip(rows, reasons, strict=True)
        if r
    ]


def tabulate_paths(
    groups: dict[str, Group],
    thresholds: Thresholds,
    shares: dict[str, float],
    bootstrap: tuple[int, int],
) -> dict[str, dict]:
    """The `paths` of metrics.json."""
    table = {"linear": {}, "aligned": {}}
    for direction, group in groups.items():
        for path, each in path_scores(group, thresholds, DIRECTIONS[direction]).items():
            table[path][direction] = scores.summarise_paths(each, shares[direction], bootstrap)
    return table


def make_maps(
    group: Group, thresholds: Thresholds, path: str, tools: Tools, train: Arrays
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """The maps of the positives, and which of them have a lesion mask (None: the data set has none)."""
    walk = walk_of(group, path)
    ended = scores.end_walk(walk, thresholds, DIRECTIONS["pos_to_neg"])
    change = np.abs(ended.change)
    drawn_end = walk.drawn[np.arange(len(change)), ended.frame]
    maps = {
        "latent": change,
        "residual": np.abs(group.films.image - drawn_end),
        "gradient": tools.gradient(group.films.image),
    }
    if "lesion_mask" not in group.truth:
        return maps, None
    maps["prior"] = np.broadcast_to((train["lesion_mask"] / 255.0).mean(axis=0), change.shape)
    maps["shuffled"] = np.roll(change, 1, axis=0)
    maps["oracle"] = np.abs(group.films.image - group.truth["twin"])
    return maps, group.truth["lesion_mask"].any(axis=(1, 2, 3))


def save_walks(
    path: Path, groups: dict[str, Group], test: Arrays, rows: np.ndarray, covered: np.ndarray
) -> None:
    """Writes the walks as arrays.

    `rows`: rows of the test split; `covered`: whether each passed the gate. For each direction D:
    D/image [n, h, w, 1] in [-1, 1]; D/z_structure [n, s]; for each path P: D/P/z_class [n, k, c],
    D/P/margin and D/P/judged [n, k] (f and h on the carried frames), D/P/carried [n, k, h, w, 1] as
    uint8; masks D/lesion_mask and the like as far as known. `linear` from a negative is the walk to
    the first of the training positives.
    """
    arrays = {"rows": rows, "covered": covered}
    for direction, group in groups.items():
        arrays[f"{direction}/image"] = group.films.image
        arrays[f"{direction}/z_structure"] = group.films.structure
        for name in ("lesion_mask", "lung_mask", "lookalike_mask", "marker_mask"):
            if name in group.truth:
                arrays[f"{direction}/{name}"] = group.truth[name]
        for name in ("linear", "aligned"):
            walk = walk_of(group, name)
            arrays[f"{direction}/{name}/z_class"] = walk.points
            arrays[f"{direction}/{name}/margin"] = walk.margin
            arrays[f"{direction}/{name}/judged"] = walk.judged
            arrays[f"{direction}/{name}/carried"] = np.uint8((walk.carried + 1) * 127.5 + 0.5)
    np.savez_compressed(path, **arrays)


def save_figures(
    directory: Path,
    groups: dict[str, Group],
    thresholds: Thresholds,
    path: str,
    maps: Mapping[str, np.ndarray],
    count: int,
) -> None:
    """Traversal strips, response curves and change maps."""
    for direction, group in groups.items():
        for name in ("linear", "aligned"):
            walk = walk_of(group, name)
            ended = scores.end_walk(walk, thresholds, DIRECTIONS[direction])
            figure = plots.traversal(
                walk, ended.frame, min(count, len(ended.frame)), NUM_STRIP_FRAMES
            )
            plots.save(figure, directory / f"traversal_{direction}_{name}.png")
        figure = plots.responses(
            {name: walk_of(group, name) for name in ("linear", "aligned")},
            thresholds,
            DIRECTIONS[direction],
        )
        plots.save(figure, directory / f"responses_{direction}.png")
    group = groups["pos_to_neg"]
    walk = walk_of(group, path)
    ended = scores.end_walk(walk, thresholds, DIRECTIONS["pos_to_neg"])
    figure = plots.changes(
        group.films, walk, ended, maps, group.truth.get("lesion_mask"), min(count, len(ended.frame))
    )
    plots.save(figure, directory / "changes.png")
