"""Where radiologists see the finding, do maps show the classifier's evidence?

Explains marked films (`--truth`, of the form of docs/data.md) by the classifier and the GAN of a
finished run, and holds every map against what is marked, on the films that f calls positive, with
(`accepted`) and without (`positive`) the gate. A map is |map|, blurred and enlarged to the marked
film. This is how plausible a map is; which regions f uses the run's audit says, told beside it.
Radiologists mark what is too bright: `latent, darkened` is the part of map `latent` that the walk
makes darker.

  zones     within a film, Spearman's correlation of a map's mass in six zones of the lungs with the
            readers' scores, and of its mean there (`density`); `profile` is everybody else's mean
            score, the same map for all films
  opacity   AUROC of pixels in the lungs, IoU at equal area, and share of a map on the outlines;
            `faint` are the films with less than 25% of the lungs covered; `prior` is everybody
            else's mean outline, `outlines` are the film's own, `lungs` lights them evenly, `film`
            is how bright the film is, `film in lungs` where f's segmenter finds them
  boxes     whether the map's maximum lies in a box, AUROC and IoU of pixels over the film
  minus     our best map less this one, paired over films; resampled are patients
  severity  no map: over films, Spearman's correlation of f's margin, and of the junior's total,
            with the senior's total; an f that calls films by where they come from has none
"""

import dataclasses
import functools
import logging
from collections.abc import Iterator, Mapping, Sequence

import jax
import ml_collections
import numpy as np
from scipy import ndimage

from cxr_jax import metrics
from cxr_jax.api import read_films
from cxr_jax.data.arrays import Arrays
from cxr_jax.errors import InputError
from cxr_jax.evaluate.radiologists import find_zones
from cxr_jax.explain import films, maps
from cxr_jax.explain.explained import Group
from cxr_jax.explain.explainer import Explainer, make_explainer
from cxr_jax.explain.paths import DIRECTIONS
from cxr_jax.pipeline.explain import map_inputs
from cxr_jax.pipeline.finished import FinishedRun, load_run
from cxr_jax.pipeline.select import gate_region
from cxr_jax.runtime import precision
from cxr_jax.runtime.workdir import read_json
from experiments.markdown import cell, counted, entry_table, side_by_side
from experiments.reading import check_done, read_report
from experiments.studies.severity import follow, look_of
from experiments.study import Flag, Options, Study
from experiments.truth import (
    FLAG,
    WITHOUT,
    Marked,
    find_taught,
    load_learned,
    read_truth,
    truth_folder,
)
from experiments.truth_figures import (
    CONTROLS,
    DARKENED,
    FIGURES,
    OURS,
    RIVALS,
    Maps,
    box_figures,
    controls,
    is_faint,
    is_ours,
    measure_alone,
    opacity_figures,
    profile,
    reader_distance,
    shuffle,
    tabulate,
    zone_figures,
)

logger = logging.getLogger(__name__)

CHUNK = 32  # films walked and mapped at a time, for memory's sake
OF_AUDIT = (
    "verdict",
    "flagged",
    "outside_share",
    "evidence",
)  # those of metrics.json that there are
NOTHING = {"mean": None, "reason": "no film passes the gate"}


# 1. The films, and every map of those that f calls positive.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """One set's films as the run explains them.

    Attributes:
      truth: of the films that f calls positive.
      maps: of the same, as large as the truth; with the controls.
      everybody: the mean zone profile of all other films of the set [N, 6].
      reasons: why the gate rejects each; "" where it does not.
      flips: along the path of map `latent`: whether f, and f and h, have changed their decision.
      counted: which films of the set were left out before, and why.
      severity: how f, a reader and the look of the lungs follow the other reader's totals, see
        `severity.follow`, over all films but those that f has learned from; {} without scores.
    """

    truth: Marked
    maps: Maps
    everybody: np.ndarray
    reasons: list[str]
    flips: Mapping[str, np.ndarray]
    counted: Mapping[str, object]
    severity: Mapping[str, dict]

    @property
    def groups(self) -> dict[str, np.ndarray]:
        """Which films [N] each group of the tables has."""
        accepted = np.array([not reason for reason in self.reasons], bool)
        return {"accepted": accepted, "positive": np.ones_like(accepted)}

    def rows(self, picked: np.ndarray) -> "Seen":
        """Some of the films, as a mask [N]."""
        return dataclasses.replace(
            self,
            truth=self.truth.rows(picked),
            maps={name: saliency[picked] for name, saliency in self.maps.items()},
            everybody=self.everybody[picked],
            reasons=[r for r, is_it in zip(self.reasons, picked, strict=True) if is_it],
            flips={name: values[picked] for name, values in self.flips.items()},
        )


def study_section(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The run's `config.explain` with the rivals and the path that one of them is."""
    section = config.explain.copy_and_resolve_references()
    section.paths = tuple(dict.fromkeys((*section.paths, "ray")))
    asked = dict.fromkeys((*OURS, *section.maps, *RIVALS))
    # The next film's map may be of the same patient: see `shuffle`.
    section.maps = tuple(name for name in asked if name != "shuffled")
    return section


def see(
    truth: Marked,
    run: FinishedRun,
    explainer: Explainer,
    *,
    train: Arrays,
    learned: Sequence[str],
    blur: float,
) -> Seen:
    """Explains one set's films; an `InputError` if none is left to be explained.

    Args:
      train: the run's training films.
      learned: names of those, and of its validation films.
      blur: of the maps, in the image's side.
    """
    data, taught = run.config.data, find_taught(truth, learned)
    if taught.all():
        raise InputError(f"{truth.name}: the run has learned from the patients of all its films")
    pixels, _ = read_films(truth.paths, data.image_size, square=data.square, bits=data.bits)
    margin, _ = explainer.margins(pixels)
    others, shown = truth.rows(~taught), ~taught & (margin > 0)
    if not shown.any():
        raise InputError(f"{truth.name}: f calls none of {(~taught).sum()} films positive")
    some, parts = truth.rows(shown), np.array_split(pixels[shown], -(-shown.sum() // CHUNK))
    explain = functools.partial(_explain, run, explainer, train=train, blur=blur)
    done = [explain(part, side=truth.marked.shape[1]) for part in parts]
    made, reasons, flips = zip(*done, strict=True)
    side = truth.marked.shape[1]
    known = {n: enlarge(saliency[shown], side, blur) for n, saliency in controls(truth).items()}
    each = _joined(made) | known
    if (shuffled := shuffle(each["latent"], some.patients)) is not None:
        each["shuffled"] = shuffled
    return Seen(
        truth=some,
        maps=each,
        everybody=profile(truth)[shown],
        reasons=[reason for part in reasons for reason in part],
        flips=_joined(flips),
        counted={
            "given": len(truth.films),
            "not_used": dict(truth.unread),
            "twins": truth.twins,
            "learned_from": truth.rows(taught).films,
            "called_negative": truth.rows(~taught & (margin <= 0)).films,
            "without_two_lungs": some.rows(some.is_scored & ~_has_zones(some)).films,
        },
        severity=follow({"f": margin[~taught]}, others, look_of(others, pixels[~taught])),
    )


def _has_zones(truth: Marked) -> np.ndarray:
    """Whether two lungs are outlined [N]."""
    return np.array([find_zones(lungs) is not None for lungs in truth.lungs], bool)


def _joined(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays by name, one part after the other; such as not every part has are left out."""
    shared = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: np.concatenate([part[name] for part in parts]) for name in shared}


def _explain(
    run: FinishedRun,
    explainer: Explainer,
    pixels: np.ndarray,
    *,
    train: Arrays,
    blur: float,
    side: int,
) -> tuple[Maps, list[str], dict[str, np.ndarray]]:
    """Maps, reasons of the gate, and flips, of a few films that f calls positive."""
    config, calibration, towards = run.config, run.calibration, DIRECTIONS["pos_to_neg"]
    inverted = explainer.invert(pixels)
    lungs, thresholds = gate_region(explainer, inverted.image), calibration.thresholds
    margin = config.explain.gate_margin
    reasons = films.reasons_to_reject(inverted, thresholds, margin, lungs=lungs)
    walks = explainer.walk(inverted, calibration.guide, thresholds, towards=towards)
    group = Group(towards=towards, films=inverted, truth={}, walks=walks)
    inputs = map_inputs(explainer, group, calibration, train=train, seed=config.seed)
    made = maps.make_maps(inputs, study_section(config).maps, explainer.traced_maps)
    others = walks.keys() - {calibration.path, "ray"}  # those are maps `latent`, `latent_shift`
    made |= {f"path {name}": walks[name].change for name in sorted(others)}
    if lungs is not None:
        made["lungs found"] = lungs.astype(np.float32)
        # An opacity is bright: what a map may owe to the film alone, whatever f is.
        made["film in lungs"] = lungs * pixels / 255
    made["film"] = pixels / 255
    latent = walks[calibration.path]
    made[DARKENED] = np.maximum(-latent.change, 0.0)
    flips = {"flip_rate_f": latent.flip_f >= 0, "flip_rate": latent.flip >= 0}
    return {name: enlarge(found, side, blur) for name, found in made.items()}, reasons, flips


def enlarge(saliency: np.ndarray, side: int, blur: float) -> np.ndarray:
    """|map|, blurred, as large as the truth."""
    size = np.abs(np.asarray(saliency, np.float32))
    sigma = blur * size.shape[1]
    size = ndimage.gaussian_filter(size, (0, sigma, sigma, 0)) if sigma else size
    return np.asarray(jax.image.resize(size, (len(size), side, side, 1), "bilinear")).clip(0)


# 2. Tables.


def measure(seen: Seen, chosen: str = "") -> dict:
    """One set's tables, for each group of its films.

    Args:
      chosen: see `tabulate`.
    """
    rejected = {film: r for film, r in zip(seen.truth.films, seen.reasons, strict=True) if r}
    found: dict = {
        "films": {**seen.counted, "rejected": rejected},
        "severity": dict(seen.severity),
    }
    for group, picked in seen.groups.items():
        some = seen.rows(picked)
        found[group] = {
            "films": int(picked.sum()),
            "flips": {name: metrics.summarise_proportion(v) for name, v in some.flips.items()},
            **_tables(some, chosen),
        }
    return found


def _tables(seen: Seen, chosen: str) -> dict[str, dict]:
    """By kind of `truth_figures.FIGURES`."""
    truth = seen.truth
    if truth.name == "nih":
        return {
            "boxes": tabulate(box_figures(seen.maps, truth), truth, kind="boxes", chosen=chosen)
        }
    faint = seen.rows(is_faint(truth))
    of_zones = zone_figures(seen.maps, truth, seen.everybody)
    found = {
        kind: tabulate(each, of, kind=kind, chosen=chosen)
        for kind, each, of in (
            ("zones", of_zones, truth),
            ("opacity", opacity_figures(seen.maps, truth), truth),
            ("faint", opacity_figures(faint.maps, faint.truth), faint.truth),
        )
    }
    ours = found["zones"]["ours"]
    found["zones"]["minus_reader"] = reader_distance(of_zones, ours, truth) if ours else NOTHING
    return found


# 3. The study.


def headline(found: Mapping[str, Mapping]) -> dict:
    """The figures that are targets, by the names of docs/results/claims.json."""
    if "covid" not in found:
        return {}
    zones, opacity = (found["covid"]["accepted"][kind] for kind in ("zones", "opacity"))

    def own(table: Mapping, figure: str) -> dict:
        return table["maps"][table["ours"]][figure] if table["ours"] else NOTHING

    return {
        "readers": found["covid"]["alone"]["readers"],
        "zone_spearman": own(zones, "spearman"),
        "zone_spearman_minus_profile": zones["minus_profile"],
        "zone_spearman_minus_best_rival": zones["minus_best_rival"],
        "zone_spearman_minus_reader": zones["minus_reader"],
        "real_lung_auroc": own(opacity, "lung_auroc"),
        "real_lung_auroc_minus_prior": opacity["minus_prior"],
        "real_lung_auroc_minus_best_rival": opacity["minus_best_rival"],
    }


def to_markdown(results: Mapping[str, Mapping]) -> str:
    """What each f uses beside where radiologists see the finding; then the tables of each run."""
    told = (
        "The first row is what f uses, by each run's own audit; `zones` and all below it say where "
        "radiologists see the finding, of films that f calls positive and the gate accepts, whose "
        "number stands in brackets: not the same ones in two columns."
    )
    runs = side_by_side({name: summary(result) for name, result in results.items()})
    lines = ["## All runs", "", *runs, "", told, ""]
    return "\n".join([*lines, *map(tell_run, results, results.values())])


def summary(result: Mapping) -> dict[str, str]:
    """A run's cells, by what they say."""
    rows = {"evidence outside the lungs": cell(result["audit"].get("outside_share"))}
    for name, found in result["sets"].items():
        accepted = found["accepted"]
        rows[f"{name}: films that f calls positive"] = str(found["positive"]["films"])
        rows[f"{name}: of these accepted"] = str(accepted["films"])
        for kind in (kind for kind in FIGURES if kind in accepted):
            told, first, ours = accepted[kind], FIGURES[kind][0], accepted[kind]["ours"]
            own = told["maps"][ours][first] if ours else NOTHING
            rival, control = told["best_rival"], CONTROLS[kind]
            rows[f"{kind}: {first} of our map"] = counted(own)
            rows[f"{kind}: our map"] = f"`{ours}`" if ours else "–"
            rows[f"{kind}: less `{control}`"] = cell(told[f"minus_{control}"])
            rows[f"{kind}: less the best rival"] = cell(told["minus_best_rival"]) + (
                f" `{rival}`" if rival else ""
            )
    return rows


def tell_run(name: str, result: Mapping) -> str:
    """The tables of one run."""
    lines = [
        f"## Run `{name}` against radiologists",
        "",
        f"Map `latent` is path `{result['latent_path']}`; maps are blurred by {result['blur']:.3f} "
        "of the image's side.",
        f"What f uses, by the run's own audit: {result['audit']['verdict']}",
        "What follows says where a finding is, not what f uses.",
        "",
        *(f"- `{name}`: {cell(entry)}" for name, entry in result["headline"].items()),
    ]
    for name, found in result["sets"].items():
        lines += ["", f"### {name}", "", _told(found["films"])]
        lines += ["", "Over all films with truth:", ""]
        lines += [f"- `{key}`: {cell(entry)}" for key, entry in found["alone"].items()]
        lines += [
            f"- severity, `{who}`: {cell(entry)}"
            for who, entry in found.get("severity", {}).items()  # not of earlier results
        ]
        for group in ("accepted", "positive"):
            for kind in (kind for kind in FIGURES if kind in found[group]):
                lines += ["", *_shown(found[group], group, kind)]
    return "\n".join(lines) + "\n"


def _told(counted: Mapping) -> str:
    """Which films are in no table; the result file names them, and why each was rejected."""
    return (
        f"{counted['given']} films with truth. Not used, since the run has learned from their "
        f"patients: {len(counted['learned_from'])}. Called negative by f: "
        f"{len(counted['called_negative'])}. Rejected by the gate: {len(counted['rejected'])}. "
        f"Scored, but without outlines of two lungs: {len(counted['without_two_lungs'])}."
    ) + "".join(
        f" {film} is another of them under a second name, and counted as that patient's."
        for film in counted.get("twins", ())  # not of earlier results
    )


def _shown(found: Mapping, group: str, kind: str) -> list[str]:
    """A table of one group of films, best maps first."""
    of_maps, first = found[kind]["maps"], FIGURES[kind][0]

    def place(name: str) -> float:
        mean = of_maps[name][first]["mean"]
        return float("inf") if mean is None else -mean

    ranked = sorted(of_maps, key=place)
    rows = {f"{name}{' (ours)' if is_ours(name) else ''}": of_maps[name] for name in ranked}
    known = max((row[first].get("images", 0) for row in of_maps.values()), default=0)
    flips = ", ".join(f"{name} {cell(entry)}" for name, entry in found["flips"].items())
    return [
        f"#### {kind}, {group}: {known} of {found['films']} films",
        "",
        f"Compared with all: `{found[kind]['ours']}`. Along the path of map `latent`: {flips}.",
        "",
        entry_table(rows, (*FIGURES[kind], "minus"), "map", films=known),
    ]


def configs(options: Options) -> dict:
    """The run's own, with the maps that are added, and the study's flags."""
    check_done(options.workdir, "explain")
    config = ml_collections.ConfigDict(read_json(options.workdir / "config.json"))
    return {
        "config": config,
        "explain": study_section(config),
        "blur": options.own["blur"],
        "ours": options.own["ours"],
        "without": options.own["without"],
    }


@precision.exactly
def run(options: Options) -> Iterator[dict]:
    """Explains the films of a folder by a finished run, beside those that an earlier call told."""
    folder, workdir = truth_folder(options), options.workdir
    sets, found = read_truth(folder, options.own["without"]), load_run(workdir)
    config, section = found.config, study_section(found.config)
    splits, learned = load_learned(config, workdir, folder)
    explainer = make_explainer(found.models, section, config.seed, segmenter=found.segmenter)
    report, tables = read_report(workdir), {}
    for name in options.own["sets"]:
        if name not in sets:
            raise InputError(f"--sets={name}: {folder} holds {', '.join(sets)}")
        seen = see(
            sets[name],
            found,
            explainer,
            train=splits["train"],
            learned=learned,
            blur=options.own["blur"],
        )
        tables[name] = {
            "alone": measure_alone(sets[name]),
            **measure(seen, options.own["ours"]),
        }
        told = {
            "latent_path": found.calibration.path,
            "blur": options.own["blur"],
            "classifier": report["classifier"],
            "audit": {key: v for key, v in report["audit"].items() if key in OF_AUDIT},
            "headline": headline(tables),
            "sets": dict(tables),
        }
        yield dict(options.known) | {workdir.name: told}


STUDY = Study(
    name="real_truth",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    workdir="runs/covid",
    flags=(
        FLAG,
        WITHOUT,
        Flag(name="sets", default=("covid",), help="Of that folder: covid, nih."),
        Flag(name="blur", default=1 / 32, help="Of every map, in the image's side."),
        Flag(
            name="ours",
            default="",
            help="Our map that all are compared with; empty for the best on these films.",
        ),
    ),
    configs=configs,
)
