"""The tables of metrics.json: every path, every map, the latents, and the audit."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cxr_jax import audit, evaluate, metrics, scores
from cxr_jax.explained import Calibration, Explained, Group
from cxr_jax.films import Thresholds
from cxr_jax.paths import DIRECTIONS
from cxr_jax.tools import Tools
from cxr_jax.types import Image

NUM_FACTORS = 16  # films of each decision whose latents are paired for Sobol' shares
NOT_WALKED = "not walked in this direction"
NONE_COVERED = "no film of this direction passed the gate"
FIRST_WALK = "judged for `linear` only, whose walks these are"
NO_LUNGS = "nobody knows where the lungs are: add 'segmenter' to config.evaluators.names"
NO_STRAIGHT = "no straight path with the same ends was walked"
# A path and the straight one between the same ends.
STRAIGHT = {"geodesic": "linear", "geodesic_pixel": "linear", "aligned": "chord"}


Scores = dict[str, np.ndarray]  # by metric, one row a film


def path_scores(
    group: Group, thresholds: Thresholds, reach: float, towards: int
) -> dict[str, Scores]:
    """Per-film scores of every path [N]; [N, walks] where each film is walked to several ends."""
    twin = group.truth.get("twin") if towards < 0 else None
    table = {}
    for name, walks in group.walks.items():
        each = [scores.score_walk(walk, thresholds, towards, reach, twin) for walk in walks]
        table[name] = {metric: np.stack([s[metric] for s in each], axis=1) for metric in each[0]}
        if name in STRAIGHT and STRAIGHT[name] in group.walks:
            last = walks[0].margin.shape[1] - 1
            frame = scores.end_walk(walks[0], thresholds, towards).frame
            end = frame if STRAIGHT[name] == "chord" else np.full_like(frame, last)
            straight = group.walks[STRAIGHT[name]][0]
            table[name]["length_gain"] = scores.length_gain(walks[0], end, straight)
    if towards > 0:
        table["linear_best"] = scores.shortest_flip(table["linear"])
    return table


def judge_walks(
    tools: Tools,
    group: Group,
    thresholds: Thresholds,
    towards: int,
    real: Sequence[Image],
    bootstrap: tuple[int, int],
) -> tuple[dict[str, np.ndarray], dict[str, dict]]:
    """By path, `structure` [N] and the entry `realism`; of several walks of a film, the first.

    Args:
      real: films of either decision that walks should stay among, see `evaluate.realism`.
    """
    structure, realism = {}, {}
    for path, (walked, *_) in group.walks.items():
        ended = scores.end_walk(walked, thresholds, towards)
        frames = evaluate.frames_of(walked.carried, ended.frame)
        if tools.lungs is not None:
            structure[path] = evaluate.structure(tools.lungs, frames)
        if tools.features is not None:
            realism[path] = evaluate.realism(tools.features, frames, real, bootstrap)
    return structure, realism


def score_paths(
    tools: Tools,
    explained: Explained,
    known: Calibration,
    real: Sequence[Image],
    bootstrap: tuple[int, int],
) -> tuple[dict[str, dict[str, Scores]], dict[str, dict]]:
    """Per-film scores by direction and path, and the `paths` of metrics.json made of them."""
    each, table = {}, {}
    for direction, group in explained.groups.items():
        towards = DIRECTIONS[direction]
        each[direction] = path_scores(group, known.thresholds, known.reach, towards)
        structure, realism = judge_walks(tools, group, known.thresholds, towards, real, bootstrap)
        for path, values in each[direction].items():
            if path in structure:
                values["structure"] = structure[path]
            entry = scores.summarise_paths(values, explained.shares[direction], bootstrap)
            entry["realism"] = realism.get(path, _none(tools.reasons["regressor"] or FIRST_WALK))
            entry.setdefault("structure", _none(tools.reasons["segmenter"] or FIRST_WALK))
            entry.setdefault("length_gain", _none(NO_STRAIGHT))
            if explained.shares[direction] == 0:
                unflipped = np.zeros(len(values["flip_rate"]))
                entry = dict.fromkeys(entry, _none(NONE_COVERED))
                entry["flip_rate_all"] = metrics.summarise(unflipped, *bootstrap)
                values.update({metric: rows[:0] for metric, rows in values.items()})
            table.setdefault(path, {})[direction] = entry
    names = table["linear"]["pos_to_neg"]
    for entry in table.values():
        for direction in DIRECTIONS:
            entry.setdefault(direction, dict.fromkeys(names, _none(NOT_WALKED)))
    return each, table


def _none(reason: str) -> dict:
    return {"mean": None, "reason": reason}


def score_maps(
    made: Mapping[str, np.ndarray],
    incomplete: np.ndarray,
    truth: Mapping[str, np.ndarray],
    share_covered: float,
    bootstrap: tuple[int, int],
) -> tuple[dict[str, Scores], dict[str, dict]]:
    """Per-film scores of every map, of the positives that have lesions, and `maps` made of them.

    Args:
      incomplete: `completeness` of the integrated gradients along the walk.
      share_covered: of the positives; where none passed the gate, nothing is known.
    """
    if "lesion_mask" not in truth:
        return {}, scores.undefined_maps([*made, "prior", "oracle"], scores.NO_MASK)
    if share_covered == 0:
        return {}, scores.undefined_maps([*made], NONE_COVERED)
    lesioned = truth["lesion_mask"].any(axis=(1, 2, 3))
    masks = {name: mask[lesioned] for name, mask in truth.items()}
    each = {name: scores.score_map(saliency[lesioned], masks) for name, saliency in made.items()}
    if "latent_integrated_gradients" in each:
        each["latent_integrated_gradients"]["completeness"] = incomplete[lesioned]
    return each, scores.summarise_maps(each, bootstrap)


def disentangle(tools: Tools, explained: Explained) -> dict:
    """Which latent governs f's answer and the lungs, over all pairs of some films' latents."""
    some = [explained.groups[d].films.rows(slice(NUM_FACTORS)) for d in DIRECTIONS]
    structure = np.concatenate([one.structure for one in some])
    severity = np.concatenate([one.severity for one in some])
    rows, columns = len(structure), len(severity)
    drawn = tools.draw(np.repeat(structure, columns, axis=0), np.tile(severity, (rows, 1)))
    margin = tools.classify(drawn).reshape(rows, columns)
    masks = None
    if tools.lungs is not None:
        masks = tools.lungs(drawn).reshape(rows, columns, *drawn.shape[1:])
    table = evaluate.disentanglement(margin, masks)
    # Negatives' class latents are all at the origin: of the others alone, what is left is grading.
    graded = np.linalg.norm(severity, axis=1) > 0
    if graded.any():
        table["margin_of_graded"] = evaluate.variance_table(margin[:, graded])
    groups = [explained.groups[direction] for direction in DIRECTIONS]
    if all("severity" in group.truth for group in groups):
        films = [group.films for group in groups]
        severity = np.concatenate([group.truth["severity"] for group in groups])
        rise = [some.drawn_margin - tools.classify(some.origin) for some in films]
        margin = np.concatenate([some.margin for some in films])
        table |= evaluate.severity_ranks(np.concatenate(rise), margin, severity)
    return table


class Audited(NamedTuple):
    """The audit of the positives.

    Attributes:
      other: their counterfactuals.
      regions: masks by name; None where nobody knows the lungs.
      each: per-film `evidence` of each region; its `truth` where the data set can re-render a film;
        by name of a map, the share of that map that falls on the region.
      table: the `audit` of metrics.json.
    """

    other: Image
    regions: audit.Regions | None
    each: dict[str, Scores]
    table: dict


def audit_films(
    tools: Tools,
    group: Group,
    known: Calibration,
    made: Mapping[str, np.ndarray],
    share_covered: float,
    bootstrap: tuple[int, int],
) -> Audited:
    """Which regions f's answers come from; `made`: the maps by name, judged as auditors too."""
    image, truth = group.films.image, group.truth
    ended = scores.end_walk(group.walks[known.path][0], known.thresholds, DIRECTIONS["pos_to_neg"])
    other = image + ended.change
    if {"lesion_mask", "marker_mask", "lung_mask"} <= truth.keys():
        regions = audit.phantom_regions(truth)
    elif tools.lungs is not None:
        regions = audit.film_regions(tools.lungs(image))
    else:
        return Audited(other, None, {}, audit.no_verdict(NO_LUNGS))
    if share_covered == 0:
        return Audited(other, None, {}, audit.no_verdict(NONE_COVERED))
    found = audit.evidence(tools.classify, image, other, regions)
    each = {name: {"evidence": values} for name, values in found.items()}
    if "without_both" in truth:
        pictures = (truth[name] for name in ("twin", "without_marker", "without_both"))
        margins = [tools.classify(picture) for picture in (image, *pictures)]
        for name, values in audit.true_evidence(*margins).items():
            each[name]["truth"] = values
    for name, region in regions.items():
        for method, saliency in made.items():
            pairs = zip(saliency, region, strict=True)
            each[name][method] = np.array([metrics.share_on(*pair) for pair in pairs])
    return Audited(other, regions, each, audit.summarise(each, bootstrap))
