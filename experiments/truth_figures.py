"""Figures of maps against what radiologists have marked, film by film, and their tables."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cxr_jax import metrics
from cxr_jax.errors import InputError
from cxr_jax.evaluate import radiologists
from cxr_jax.explain.maps import of_kind
from cxr_jax.explain.paths import PATHS
from experiments.reading import BOOTSTRAP
from experiments.truth import READERS, Marked

OURS = of_kind("ours")
DARKENED = "latent, darkened"  # of map latent what the walk takes away: opacities are bright
RIVALS = (
    *("integrated_gradients", "integrated_gradients_mean", "expected_gradients", "gradient"),
    *("smoothgrad", "grad_cam", "layer_cam", "occlusion", "latent_shift"),
    *("healthy_subspace", "healthy_subspace_gradients"),
)
RIVAL_PATHS = ("ray", "global", "random")  # latent, but no way of ours to explain a film
FAINT = 0.25  # of the lungs, covered by the opacity
FIGURES = {  # of each table; the first decides which map is best
    "zones": ("spearman", *READERS, "density"),
    "opacity": ("lung_auroc", "iou", "share"),
    "faint": ("lung_auroc", "iou", "share"),
    "boxes": ("auroc", "hit", "iou"),
}
CONTROLS = {"zones": "profile", "opacity": "prior", "faint": "prior", "boxes": "prior"}

Maps = dict[str, np.ndarray]  # by name [N, h, w, 1], never negative, as large as the truth
Each = dict[str, dict[str, np.ndarray]]  # by map, then by figure [N]; NaN where undefined


def is_ours(name: str) -> bool:
    """Whether a map is read from a walk of ours."""
    path = name.removeprefix("path ")
    walked = name != path and PATHS[path].is_latent and path not in RIVAL_PATHS
    return name in (*OURS, DARKENED) or walked


# 1. Controls that know nothing of f.


def controls(truth: Marked) -> Maps:
    """Everybody else's mean outline or boxes, the outlines or boxes themselves, and the lungs.

    The second is what no map need be better than; of lungs, where somebody has outlined them.
    """
    marked = np.where(truth.has_mark[:, None, None, None], truth.marked, np.nan)
    made = {
        "prior": np.nan_to_num(radiologists.others_mean(marked, truth.patients)),
        "outlines": truth.marked.astype(float),
    }
    return made | ({"lungs": truth.lungs.astype(float)} if truth.has_lungs.any() else {})


def shuffle(saliency: np.ndarray, patients: np.ndarray) -> np.ndarray | None:
    """For each film the next one's map that is of another patient; None if there is but one."""
    if len(np.unique(patients)) < 2:
        return None
    count = len(patients)
    following = [
        next(n % count for n in range(i + 1, i + count) if patients[n % count] != patients[i])
        for i in range(count)
    ]
    return saliency[following]


def profile(truth: Marked) -> np.ndarray:
    """Everybody else's mean score of each zone [N, 6], both readers' taken together."""
    return radiologists.others_mean(truth.scores.mean(axis=1), truth.patients)


# 2. Figures film by film.


def targets(scores: np.ndarray) -> dict[str, np.ndarray]:
    """The scores [N, 6] that maps are held against: both readers' mean, and each reader's."""
    of_reader = dict(zip(READERS, scores.swapaxes(0, 1), strict=True))
    return {"spearman": scores.mean(axis=1), **of_reader}


def agreements(values: Sequence[np.ndarray], scores: np.ndarray) -> np.ndarray:
    """Within each film, the rank correlation of values and scores over zones [N]."""
    return np.array(
        [radiologists.rank_agreement(*pair) for pair in zip(values, scores, strict=True)]
    )


def zone_figures(maps: Maps, truth: Marked, everybody: np.ndarray) -> Each:
    """Agreement of every map, of the profile and of the other reader, with each target.

    A zone has what of a map lies in it, or in column `density` its mean there: readers score how
    dense a zone is, however large. Of films without two outlined lungs or without scores none is
    defined, so that all rows are of the same films.

    Args:
      everybody: the profile of each film [N, 6].
    """
    zones = [radiologists.find_zones(lungs) for lungs in truth.lungs]
    known = np.array([found is not None for found in zones], bool) & truth.is_scored
    wanted = {
        name: np.where(known[:, None], scores, np.nan)
        for name, scores in targets(truth.scores).items()
    }
    nothing = np.full(everybody.shape[1], np.nan)

    def masses(saliency: np.ndarray) -> np.ndarray:
        return np.array(
            [
                nothing if found is None else radiologists.zone_mass(one, found)
                for one, found in zip(saliency, zones, strict=True)
            ]
        )

    def figures(mass: np.ndarray, mean: np.ndarray) -> dict[str, np.ndarray]:
        of_mass = {figure: agreements(mass, scores) for figure, scores in wanted.items()}
        return {**of_mass, "density": agreements(mean, wanted["spearman"])}

    areas = masses(np.ones(truth.lungs.shape))
    values = {name: masses(saliency) for name, saliency in maps.items()}
    table = {name: figures(mass, mass / areas) for name, mass in values.items()}
    table["profile"] = figures(everybody, everybody)
    # Against the mean of both a reader is held against himself, too.
    between = agreements(*(wanted[reader] for reader in READERS))
    unknown = np.full(len(between), np.nan)
    table["other reader"] = {
        name: between if name in READERS else unknown for name in FIGURES["zones"]
    }
    return table


def opacity_figures(maps: Maps, truth: Marked) -> Each:
    """Of every map its figures against the outlines of opacities."""
    known = truth.has_mark & truth.has_lungs

    def of(saliency: np.ndarray, figure: Callable) -> np.ndarray:
        rows = zip(saliency, truth.marked, truth.lungs, known, strict=True)
        return np.array([figure(*row) if is_known else np.nan for *row, is_known in rows])

    return {
        name: {
            "lung_auroc": of(saliency, metrics.pixel_auroc),
            "iou": of(saliency, lambda one, mark, _: metrics.iou_at_equal_area(one, mark)),
            "share": of(saliency, lambda one, mark, _: metrics.share_on(one, mark)),
        }
        for name, saliency in maps.items()
    }


def box_figures(maps: Maps, truth: Marked) -> Each:
    """Of every map its figures against the boxes, over the whole film."""
    figures = {
        "auroc": metrics.pixel_auroc,
        "hit": radiologists.hit,
        "iou": metrics.iou_at_equal_area,
    }
    return {
        name: {
            key: np.array([figure(*pair) for pair in zip(saliency, truth.marked, strict=True)])
            for key, figure in figures.items()
        }
        for name, saliency in maps.items()
    }


def is_faint(truth: Marked) -> np.ndarray:
    """Films [N] whose opacity covers less than FAINT of the outlined lungs."""
    area = truth.lungs.sum(axis=(1, 2, 3))
    covered = (truth.marked & truth.lungs).sum(axis=(1, 2, 3))
    return truth.has_mark & truth.has_lungs & (covered < FAINT * area)


# 3. Tables.


def tabulate(each: Each, truth: Marked, *, kind: str, chosen: str = "") -> dict:
    """One table: every map's figures, and our best map less every other by the first of them.

    Args:
      kind: of FIGURES.
      chosen: our map that is compared; "" for the best of these films, which flatters it.

    Returns:
      maps: by name, the entries by figure, and `minus`. ours, best_rival: names; "" for none.
      minus_CONTROL, minus_best_rival: those two of `minus` once more.

    Raises:
      InputError: if there is no such map of ours.
    """
    figures, first = FIGURES[kind], FIGURES[kind][0]

    def entry(values: np.ndarray) -> dict:
        return radiologists.summarise(values, truth.patients, BOOTSTRAP)

    table = {name: {f: entry(columns[f]) for f in figures} for name, columns in each.items()}
    if chosen and chosen not in each:
        ours = ", ".join(filter(is_ours, each))
        raise InputError(f"--ours={chosen} is no map of this run; choose of {ours}")
    means = {name: row[first]["mean"] for name, row in table.items()}
    best = chosen or _best({name: mean for name, mean in means.items() if is_ours(name)})
    rival = _best({name: mean for name, mean in means.items() if name in RIVALS})
    for name in table.keys() - {best} if best else ():
        table[name]["minus"] = entry(each[best][first] - each[name][first])
    compared = {f"minus_{CONTROLS[kind]}": CONTROLS[kind], "minus_best_rival": rival}
    nothing = {"mean": None, "reason": "there is no film with both"}
    return {
        "maps": table,
        "ours": best,
        "best_rival": rival,
        **{key: table.get(name, {}).get("minus", nothing) for key, name in compared.items()},
    }


def _best(means: Mapping[str, float | None]) -> str:
    """The map with the largest mean; "" where none is known."""
    known = {name: mean for name, mean in means.items() if mean is not None}
    return max(known, key=known.get, default="")


def reader_distance(each: Each, ours: str, truth: Marked) -> dict:
    """How much less a map agrees with a reader, on average over both, than they with each other.

    Args:
      each: of `zone_figures`.
      ours: the map.
    """
    own = np.mean([each[ours][reader] for reader in READERS], axis=0)
    return radiologists.summarise(own - each["other reader"][READERS[0]], truth.patients, BOOTSTRAP)


def measure_alone(truth: Marked) -> dict:
    """What is known of a set without any map: how far readers agree, and what controls reach."""

    def entry(values: np.ndarray) -> dict:
        return radiologists.summarise(values, truth.patients, BOOTSTRAP)

    if truth.name == "nih":
        prior = box_figures(controls(truth), truth)["prior"]
        return {f"prior_{name}": entry(values) for name, values in prior.items()}
    everybody = profile(truth)
    by_profile = {
        f"profile_{name}": entry(agreements(everybody, scores))
        for name, scores in targets(truth.scores).items()
    }
    made = controls(truth) | {"lungs": truth.lungs.astype(float)}
    figures = opacity_figures(made, truth)
    faint = np.where(is_faint(truth), 1.0, np.nan)
    same = (truth.scores[:, 0] == truth.scores[:, 1]).mean(axis=1)
    return {
        "readers": entry(agreements(*truth.scores.swapaxes(0, 1))),
        "readers_say_the_same": entry(np.where(truth.is_scored, same, np.nan)),
        **by_profile,
        "prior_lung_auroc": entry(figures["prior"]["lung_auroc"]),
        "prior_lung_auroc_faint": entry(figures["prior"]["lung_auroc"] * faint),
        "prior_share": entry(figures["prior"]["share"]),
        "lungs_share": entry(figures["lungs"]["share"]),
        **_sides(truth),
    }


def _sides(truth: Marked) -> dict[str, dict]:
    """Correlation of each zone's share of opacity with its score, and with the other side's.

    Where the second is larger, films or scores are mirrored.
    """
    covered, scores = [], []
    for number in np.flatnonzero(truth.has_mark & truth.is_scored):
        zones = radiologists.find_zones(truth.lungs[number])
        if zones is not None:
            on_zones = (zones & truth.marked[number]).sum(axis=(1, 2, 3))
            covered.append(on_zones / zones.sum(axis=(1, 2, 3)))
            scores.append(truth.scores[number, 0])
    if len(covered) < 2 or np.ptp(covered) == 0 or np.ptp(scores) == 0:
        nothing = {"mean": None, "reason": "too few films have outlines and scores"}
        return {"cover_and_score": nothing, "cover_and_other_side": nothing}
    exchanged = np.array(scores)[:, [3, 4, 5, 0, 1, 2]]
    return {
        name: {"mean": float(np.corrcoef(np.ravel(covered), np.ravel(other))[0, 1])}
        for name, other in (("cover_and_score", scores), ("cover_and_other_side", exchanged))
    }
