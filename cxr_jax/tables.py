"""The tables of metrics.json: every path, every map, and the latents."""

from collections.abc import Mapping

import numpy as np

from cxr_jax import evaluate, metrics, scores
from cxr_jax.explained import Calibration, Explained, Group
from cxr_jax.films import Thresholds
from cxr_jax.paths import DIRECTIONS
from cxr_jax.tools import Tools
from cxr_jax.types import Image

NUM_FACTORS = 16  # films of each decision whose latents are paired for Sobol' shares
# A path and the straight one between the same ends.
STRAIGHT = {"geodesic": "linear", "geodesic_pixel": "linear", "aligned": "chord"}


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


def tabulate_paths(
    tools: Tools,
    explained: Explained,
    known: Calibration,
    real: Image,
    bootstrap: tuple[int, int],
) -> dict[str, dict]:
    """The `paths` of metrics.json; `real` are the films that walks should stay among."""
    table = {}
    for direction, group in explained.groups.items():
        share, towards = explained.shares[direction], DIRECTIONS[direction]
        each_path = path_scores(group, known.thresholds, known.reach, towards)
        for path, each in each_path.items():
            entry = table.setdefault(path, dict.fromkeys(DIRECTIONS, scores.NOT_WALKED))
            entry[direction] = scores.summarise_paths(each, share, bootstrap)
        for path in group.walks:
            table[path][direction] |= judge_walks(
                tools, group, path, known.thresholds, towards, real, bootstrap
            )
    return table


def judge_walks(
    tools: Tools,
    group: Group,
    path: str,
    thresholds: Thresholds,
    towards: int,
    real: Image,
    bootstrap: tuple[int, int],
) -> dict[str, dict]:
    """`structure`, `realism` and `length_gain` of a path; of several walks of a film, the first."""
    walked = group.walks[path][0]
    ended = scores.end_walk(walked, thresholds, towards)
    frames = evaluate.frames_of(walked, ended)
    straight = STRAIGHT.get(path)
    table = {
        "structure": {"mean": None, "reason": tools.reasons["segmenter"]},
        "realism": {"mean": None, "reason": tools.reasons["regressor"]},
        "length_gain": {"mean": None, "reason": "no straight path with the same ends was walked"},
    }
    if tools.lungs is not None:
        held = evaluate.structure(tools.lungs, frames)
        table["structure"] = metrics.summarise(held, *bootstrap)
    if tools.features is not None:
        table["realism"] = evaluate.realism(tools.features, frames, real, bootstrap)
    if straight in group.walks:
        whole = np.full_like(ended.frame, walked.drawn.shape[1] - 1)
        end = ended.frame if straight == "chord" else whole
        gain = scores.length_gain(walked, end, group.walks[straight][0])
        table["length_gain"] = metrics.summarise(gain, *bootstrap)
    return table


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
    positives = explained.groups["pos_to_neg"]
    rise = positives.films.drawn_margin - tools.classify(positives.films.origin)
    return evaluate.disentanglement(margin, masks, rise, positives.truth.get("severity"))


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
