"""The tables of metrics.json: every path, every map, the latents, and the audit."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from cxr_jax import metrics
from cxr_jax.datasets.cxr_phantom.phantom import PhantomSpec
from cxr_jax.evaluate import audit, deletion, faithfulness, realism, scores, walks
from cxr_jax.evaluate.disentanglement import disentanglement, severity_ranks, variance_table
from cxr_jax.explain.explained import Calibration, Explained, Group
from cxr_jax.explain.explainer import Explainer
from cxr_jax.explain.films import Thresholds
from cxr_jax.explain.maps import MAPS
from cxr_jax.explain.paths import DIRECTIONS
from cxr_jax.metrics import Bootstrap
from cxr_jax.types import Image

NUM_FACTORS = 16  # films of each decision whose latents are paired for Sobol' shares
NOT_WALKED = "not walked in this direction"
NONE_COVERED = "no film of this direction passed the gate"
NO_LUNGS = "nobody knows where the lungs are: add 'segmenter' to config.evaluators.names"
NO_STRAIGHT = "no straight path with the same ends was walked"

Scores = dict[str, np.ndarray]  # by metric, one row a film


# Paths.


def judge_walks(
    explainer: Explainer, group: Group, real: Sequence[Image], *, bootstrap: Bootstrap
) -> tuple[dict[str, np.ndarray], dict[str, dict]]:
    """By path, `structure` [N] and the entry `realism`.

    Args:
      real: films of either decision that walks should stay among, see `realism.realism`.
    """
    steady, real_table = {}, {}
    for path, stopped in group.walks.items():
        frames = realism.frames_of(stopped.walk.carried, stopped.frame)
        if explainer.find_lungs is not None:
            steady[path] = realism.structure(explainer.find_lungs, frames)
        if explainer.features is not None:
            real_table[path] = realism.realism(
                explainer.features, frames, real, bootstrap=bootstrap
            )
    return steady, real_table


def score_paths(
    explainer: Explainer,
    explained: Explained,
    calibration: Calibration,
    *,
    real: Sequence[Image],
    bootstrap: Bootstrap,
) -> tuple[dict[str, dict[str, Scores]], dict[str, dict]]:
    """Per-film scores by direction and path, and the `paths` of metrics.json made of them."""
    each, table = {}, {}
    for direction, group in explained.groups.items():
        coverage = explained.coverage[direction]
        each[direction] = walks.path_scores(group, calibration.thresholds, calibration.reach)
        steady, real_table = judge_walks(explainer, group, real, bootstrap=bootstrap)
        num_rejected = scores.count_rejected(len(group.films.margin), coverage)
        for path, values in each[direction].items():
            values["necessity"] = walks.felt_shares(explainer, group, path)
            if path in steady:
                values["structure"] = steady[path]
            entry = scores.summarise_paths(values, num_rejected, bootstrap)
            reasons = explainer.reasons
            entry["realism"] = real_table.get(path, _none(reasons["regressor"]))
            entry.setdefault("structure", _none(reasons["segmenter"]))
            entry.setdefault("length_gain", _none(NO_STRAIGHT))
            if coverage == 0:
                entry = dict.fromkeys(entry, _none(NONE_COVERED))
                unflipped = np.zeros(len(values["flip_rate"]))
                entry["flip_rate_all"] = metrics.summarise_proportion(unflipped)
                values.update({metric: rows[:0] for metric, rows in values.items()})
            table.setdefault(path, {})[direction] = entry
    names = table["linear"]["pos_to_neg"]
    for entry in table.values():
        for direction in DIRECTIONS:
            entry.setdefault(direction, dict.fromkeys(names, _none(NOT_WALKED)))
    return each, table


def _none(reason: str) -> dict:
    return {"mean": None, "reason": reason}


# Maps.


def score_maps(
    maps: Mapping[str, np.ndarray],
    group: Group,
    calibration: Calibration,
    *,
    coverage: float,
    bootstrap: Bootstrap,
) -> tuple[dict[str, Scores], dict[str, dict]]:
    """Per-film scores of every map, of the positives that have lesions, and `maps` made of them.

    Args:
      maps: signed where the method is.
      coverage: of the positives; where none passed the gate, nothing is known.
    """
    if "lesion_mask" not in group.truth:
        return {}, scores.undefined_maps([*maps, "prior", "oracle"], scores.NO_MASK)
    if coverage == 0:
        return {}, scores.undefined_maps([*maps], NONE_COVERED)
    lesioned = group.truth["lesion_mask"].any(axis=(1, 2, 3))
    masks = {name: mask[lesioned] for name, mask in group.truth.items()}
    each = {
        name: scores.score_map(np.abs(saliency[lesioned]), masks) for name, saliency in maps.items()
    }
    for name, saliency in maps.items():
        if MAPS[name].completes_walk:
            each[name]["completeness"] = walk_completeness(saliency, group, calibration)[lesioned]
    return each, scores.summarise_maps(each, bootstrap)


def walk_completeness(signed: np.ndarray, group: Group, calibration: Calibration) -> np.ndarray:
    """How far a signed map's sum is from what f moves by along the walk of map `latent` [N]."""
    stopped = group.walks[calibration.path]
    margin = stopped.walk.margin
    moved = stopped.at_stop(margin) - margin[:, 0]
    pairs = zip(signed, moved, strict=True)
    return np.array([metrics.completeness(*pair) for pair in pairs])


# What f uses.


NO_COMPONENTS = "the data set cannot be rendered without what is on its films"


def score_faithfulness(
    explainer: Explainer,
    group: Group,
    maps: Mapping[str, np.ndarray],
    *,
    coverage: float,
    spec: PhantomSpec | None,
    bootstrap: Bootstrap,
) -> tuple[dict[str, Scores], dict]:
    """Of every map and every walk's change, film by film, and the `faithfulness` of metrics.json.

    Args:
      coverage: of the positives; where none passed the gate, nothing is known.
      spec: of the phantoms; None for other films, of which nobody knows what f values.
    """
    if spec is None or coverage == 0:
        reason = NO_COMPONENTS if spec is None else NONE_COVERED
        return {}, {"maps": {}, "paths": {}, "reason": reason}
    valued = faithfulness.value_films(group.truth["patient_id"], spec, explainer.classify)
    changes = {name: stopped.change for name, stopped in group.walks.items()}
    each = {
        kind: faithfulness.score_maps(saliency, valued)
        for kind, saliency in (("maps", maps), ("paths", changes))
    }
    table = {
        "films": len(valued),
        "components": sum(len(film.names) for film in valued),
        "hidden": sum(film.hidden for film in valued),
        "maps": faithfulness.summarise(each["maps"], bootstrap, ours="latent"),
        "paths": faithfulness.summarise(each["paths"], bootstrap),
    }
    flat = {f"{kind}.{name}": values for kind, e in each.items() for name, values in e.items()}
    return flat, table


def score_deletion(
    explainer: Explainer,
    group: Group,
    maps: Mapping[str, np.ndarray],
    *,
    coverage: float,
    thresholds: Thresholds,
    bootstrap: Bootstrap,
) -> tuple[dict[str, Scores], dict]:
    """Of every map, film by film, and the `deletion` of metrics.json.

    Args:
      coverage: of the positives; where none passed the gate, nothing is known.
    """
    if coverage == 0:
        return {}, deletion.summarise({}, bootstrap) | {"reason": NONE_COVERED}
    image = group.films.image
    asked = {
        "f": (explainer.classify, thresholds.gap),
        "h": (explainer.judge, thresholds.judge_gap),
    }
    other = image + group.walks[deletion.COUNTERFACTUAL].change
    each = deletion.score_maps(asked, image, other, maps=maps)
    return each, deletion.summarise(each, bootstrap)


# Latents.


def disentangle(explainer: Explainer, explained: Explained) -> dict:
    """Which latent governs f's answer and the lungs, over all pairs of some films' latents."""
    some = [explained.groups[d].films.rows(slice(NUM_FACTORS)) for d in DIRECTIONS]
    z_structure = np.concatenate([films.z_structure for films in some])
    z_class = np.concatenate([films.z_class for films in some])
    rows, columns = len(z_structure), len(z_class)
    drawn = explainer.draw(np.repeat(z_structure, columns, axis=0), np.tile(z_class, (rows, 1)))
    margin = explainer.classify(drawn).reshape(rows, columns)
    masks = None
    if explainer.find_lungs is not None:
        masks = explainer.find_lungs(drawn).reshape(rows, columns, *drawn.shape[1:])
    table = disentanglement(margin, masks)
    # Negatives' class latents are all at the origin: of the others alone, what is left is grading.
    graded = np.linalg.norm(z_class, axis=1) > 0
    if graded.any():
        table["margin_of_graded"] = variance_table(margin[:, graded])
    groups = [explained.groups[direction] for direction in DIRECTIONS]
    if all("severity" in group.truth for group in groups):
        table |= rank_severity(explainer, groups)
    return table


def rank_severity(explainer: Explainer, groups: Sequence[Group]) -> dict:
    """How well the distance along z_class ranks films by their true severity."""
    films = [group.films for group in groups]
    rise = [some.drawn_margin - explainer.classify(some.origin) for some in films]
    return severity_ranks(
        np.concatenate(rise),
        np.concatenate([some.margin for some in films]),
        np.concatenate([group.truth["severity"] for group in groups]),
    )


# The audit.


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuditResult:
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
    explainer: Explainer,
    group: Group,
    calibration: Calibration,
    *,
    maps: Mapping[str, np.ndarray],
    coverage: float,
    bootstrap: Bootstrap,
    by_truth: bool = False,
) -> AuditResult:
    """Which regions f's answers come from; the maps are judged as auditors too.

    Args:
      by_truth: whether the regions are the masks of a phantom, which no user has, instead of the
        segmenter's.
    """
    image, truth = group.films.image, group.truth
    other = image + group.walks[calibration.path].change
    if by_truth:
        if not {"lesion_mask", "marker_mask", "lung_mask"} <= truth.keys():
            return _no_audit(other, scores.NO_MASK)
        regions = audit.phantom_regions(truth)
    elif explainer.find_lungs is None:
        return _no_audit(other, NO_LUNGS)
    else:
        # Where lungs clear, f comes to see more of them.
        see = explainer.seen
        shown = None if see is None else see(image) | see(other)
        regions = audit.film_regions(explainer.find_lungs(image), shown)
    if coverage == 0:
        return _no_audit(other, NONE_COVERED)
    found = audit.evidence(explainer.classify, image, other, regions=regions)
    each = {name: {"evidence": values} for name, values in found.items()}
    if by_truth and "without_both" in truth:
        pictures = {name: truth[name] for name in ("twin", "without_marker", "without_both")}
        margins = {name: explainer.classify(picture) for name, picture in pictures.items()}
        for name, values in audit.true_evidence(explainer.classify(image), **margins).items():
            each[name]["truth"] = values
    for name, region in regions.items():
        for method, saliency in maps.items():
            pairs = zip(np.abs(saliency), region, strict=True)
            each[name][method] = np.array([metrics.share_on(*pair) for pair in pairs])
    table = audit.summarise(each, bootstrap)
    return AuditResult(other=other, regions=regions, each=each, table=table)


def _no_audit(other: Image, reason: str) -> AuditResult:
    return AuditResult(other=other, regions=None, each={}, table=audit.no_verdict(reason))
