"""Task `explain`: inverts held-out films, walks them, and writes numbers and figures."""

import dataclasses
import functools
import logging
import shutil
from pathlib import Path

import ml_collections
import numpy as np

from cxr_jax import metrics
from cxr_jax.data.arrays import Arrays, owners, phantom_spec, to_unit_range
from cxr_jax.errors import InputError
from cxr_jax.evaluate import blind, scores
from cxr_jax.explain import films, maps
from cxr_jax.explain.explained import Calibration, Explained, Group
from cxr_jax.explain.explainer import Explainer, make_explainer
from cxr_jax.explain.maps import MapInputs
from cxr_jax.explain.paths import DIRECTIONS, needed_evaluators
from cxr_jax.metrics import Bootstrap
from cxr_jax.networks import restore
from cxr_jax.pipeline.calibrate import (
    calibrate,
    is_calibrated,
    load_calibration,
    save_calibration,
)
from cxr_jax.pipeline.select import (
    accepted,
    choose,
    find_films,
    looked_at,
    lungs_of,
    other_films,
    truth_of,
)
from cxr_jax.report import tables
from cxr_jax.report.animation import save_animations
from cxr_jax.report.arrays import list_rejected, save_maps, save_scores, save_walks, walk_arrays
from cxr_jax.report.figures import make_style, save_audit, save_figures, save_interpolation
from cxr_jax.report.page.of_run import page_of_run
from cxr_jax.report.page.render import save_page
from cxr_jax.runtime import parallel, precision, provenance
from cxr_jax.runtime.workdir import is_done, mark_done, read_contents, read_json, write_json

logger = logging.getLogger(__name__)

NUM_HEALTHY = 1000  # training films that f calls negative, which some maps know
INTERPOLATED = 11  # frames of the paper's figure
NUM_DRAWN = 3  # patients of it whom the prior draws, below the films


# 1. A finished run.


def load_explainer(
    config: ml_collections.ConfigDict, workdir: Path, *, prior: bool = True
) -> Explainer:
    """Every trained network of a work directory, bound.

    Args:
      prior: whether new patients are to be drawn; without, task `prior` need not be finished.
    """
    exact = precision.in_float32(config)
    reasons = {name: restore.missing_reason(workdir, name) for name in ("segmenter", "regressor")}
    return make_explainer(
        restore.load_trained(config, workdir, needed_evaluators(config.explain.paths), prior=prior),
        config.explain,
        config.seed,
        segmenter=None if reasons["segmenter"] else restore.load_segmenter(exact, workdir),
        regressor=None if reasons["regressor"] else restore.load_regressor(exact, workdir),
        reasons=reasons,
    )


def calibrate_once(
    explainer: Explainer,
    config: ml_collections.ConfigDict,
    workdir: Path,
    *,
    splits: dict[str, Arrays],
) -> Calibration:
    """The stored calibration where it still holds; else a new one, which is then stored."""
    directory, section = workdir / "explain", config.explain
    trained = restore.digests(config, workdir)
    if is_calibrated(directory, section, trained):
        return load_calibration(directory)
    calibration = calibrate(explainer, splits, section, seed=config.seed)
    if parallel.is_first():
        save_calibration(
            directory, calibration, section, trained=trained, contents=read_contents(workdir)
        )
    return calibration


# 2. The test films.


def explain_test(
    explainer: Explainer,
    test: Arrays,
    calibration: Calibration,
    *,
    section: ml_collections.ConfigDict,
) -> Explained:
    """Inverts, gates and walks the test films, of each patient one that f calls so.

    If the gate rejects every film of a direction, they are walked all the same, so that the
    pictures show why; the coverage of 0 says that their figures mean nothing.
    """
    named = find_films(test, section.films)
    margin, _ = explainer.margins(test["image"])
    rows = choose(
        margin,
        section.num_images,
        section.num_skipped,
        named=named,
        patients=owners(test),
    )
    inverted = explainer.invert(test["image"][rows])
    lungs, thresholds = lungs_of(explainer, test, rows), calibration.thresholds
    reasons = films.reasons_to_reject(inverted, thresholds, section.gate_margin, lungs=lungs)
    covered = accepted(reasons)
    logger.info("%d of %d films pass the gate", covered.sum(), len(covered))
    rmse = films.rms(inverted.drawn - inverted.image)
    groups, coverage = {}, {}
    for direction, towards in DIRECTIONS.items():
        member = (inverted.margin > 0) == (towards < 0)
        coverage[direction] = float(covered[member].mean())
        picked = member & covered if (member & covered).any() else member
        some = inverted.rows(picked)
        groups[direction] = Group(
            towards=towards,
            films=some,
            truth=truth_of(test, rows[picked]),
            walks=explainer.walk(some, calibration.guide, thresholds, towards=towards),
        )
    return Explained(
        rows=rows,
        reasons=reasons,
        looked_at=looked_at(lungs, len(rows)),
        groups=groups,
        coverage=coverage,
        rmse=rmse,
        lung_rmse=rmse if lungs is None else films.lung_error(inverted, lungs),
        margin=margin,
    )


def healthy_films(explainer: Explainer, train: Arrays, *, count: int, seed: int) -> np.ndarray:
    """At most `count` training films that f calls negative [n, h, w, 1] in [-1, 1].

    Raises:
      InputError: if f calls none so.
    """
    shuffle = np.random.Generator(np.random.Philox(seed)).permutation
    rows = shuffle(len(train["image"]))[: 2 * count]
    margin, _ = explainer.margins(train["image"][rows])
    rows = rows[margin <= 0][:count]
    if len(rows) == 0:
        raise InputError("the classifier calls no training film negative: see its test figures")
    return to_unit_range(train["image"][rows])


def map_inputs(
    explainer: Explainer,
    group: Group,
    calibration: Calibration,
    *,
    train: Arrays,
    seed: int,
    num_healthy: int = NUM_HEALTHY,
) -> MapInputs:
    """What maps of the positives are made of."""
    return MapInputs(
        healthy=healthy_films(explainer, train, count=num_healthy, seed=seed),
        seed=seed,
        films=group.films,
        truth=group.truth,
        walks=group.walks,
        stopped=group.walks[calibration.path],
        train_lesions=train.get("lesion_mask"),
    )


def interpolate(
    explainer: Explainer, some: films.Films, strong: float
) -> tuple[np.ndarray, np.ndarray]:
    """Images drawn with shares of each film's z_class [n, k, h, w, 1], and f on them [n, k].

    Then, where there is a prior, the same of patients that it draws.

    Args:
      strong: what f shall answer of these.
    """
    z_structure, z_class = some.z_structure, some.z_class
    if explainer.draw_latents:
        number = np.arange(NUM_DRAWN, dtype=np.int32)
        drawn = explainer.draw_latents(number, number, np.full(NUM_DRAWN, strong, np.float32))
        z_structure, z_class = (
            np.concatenate(pair) for pair in zip((z_structure, z_class), drawn, strict=True)
        )
    shares, rows = np.linspace(0, 1, INTERPOLATED, dtype=np.float32), len(z_class)
    z_class = shares[:, None] * z_class[:, None]
    drawn = explainer.draw(
        np.repeat(z_structure, INTERPOLATED, axis=0), z_class.reshape(-1, z_class.shape[-1])
    )
    margin = explainer.classify(drawn).reshape(rows, INTERPOLATED)
    return drawn.reshape(rows, INTERPOLATED, *drawn.shape[1:]), margin


# 3. What is said of them.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What is said of the explained films.

    Attributes:
      metrics: metrics.json.
      scores: the same film by film, see `save_scores`.
      maps: of the positives, by name, signed where the method is.
      audited: which regions the classifier's answers come from; by true masks without a segmenter.
      interpolated: images drawn with shares of a z_class, see `interpolate`.
    """

    metrics: dict
    scores: dict
    maps: dict[str, np.ndarray]
    audited: tables.AuditResult
    interpolated: tuple[np.ndarray, np.ndarray]


def measure(
    config: ml_collections.ConfigDict,
    explainer: Explainer,
    splits: dict[str, Arrays],
    *,
    calibration: Calibration,
    explained: Explained,
    classifier_figures: dict,
) -> Report:
    """Every table.

    Args:
      classifier_figures: the test figures of `classifier` and `judge`.
    """
    section = config.explain
    bootstrap = Bootstrap(resamples=section.bootstrap, seed=config.seed)
    positives, coverage = explained.groups["pos_to_neg"], explained.coverage["pos_to_neg"]
    inputs = map_inputs(explainer, positives, calibration, train=splits["train"], seed=config.seed)
    made = maps.make_maps(inputs, section.maps, explainer.traced_maps)
    audit_by = functools.partial(
        tables.audit_films,
        explainer,
        positives,
        calibration,
        maps=made,
        coverage=coverage,
        bootstrap=bootstrap,
    )
    by_segmenter, by_truth = audit_by(by_truth=False), audit_by(by_truth=True)
    scored, tabled = score(
        config,
        explainer,
        explained,
        calibration=calibration,
        test=splits["test"],
        made=made,
        bootstrap=bootstrap,
    )
    return Report(
        metrics={
            "commit": provenance.commit(),
            "config": config.to_dict(),
            **describe(splits["test"], explained, calibration, bootstrap=bootstrap),
            **{name: classifier_figures[name] for name in ("classifier", "judge", "errors")},
            **tabled,
            "audit": by_segmenter.table,
            "audit_true_masks": by_truth.table,
        },
        scores=scored | {"audit": by_segmenter.each, "audit_true_masks": by_truth.each},
        maps=made,
        audited=by_segmenter if by_segmenter.regions is not None else by_truth,
        interpolated=interpolate(
            explainer,
            positives.films.rows(slice(section.num_figure_rows)),
            calibration.thresholds.positive,
        ),
    )


def describe(
    test: Arrays, explained: Explained, calibration: Calibration, *, bootstrap: Bootstrap
) -> dict:
    """Of metrics.json what is said of the films themselves, and by what they are explained."""
    return {
        "images": len(explained.rows),
        "coverage": float(accepted(explained.reasons).mean()),
        "coverage_by_direction": explained.coverage,
        "gate_share": {
            **metrics.summarise(explained.looked_at, bootstrap),
            "whole_films": int((explained.looked_at == 1).sum()),
        },
        "rejected": list_rejected(test, explained.rows, explained.reasons),
        "thresholds": dataclasses.asdict(calibration.thresholds),
        "latent_path": calibration.path,
        "reconstruction_rmse": metrics.summarise(explained.rmse, bootstrap),
        "reconstruction_rmse_lungs": metrics.summarise(explained.lung_rmse, bootstrap),
    }


def score(
    config: ml_collections.ConfigDict,
    explainer: Explainer,
    explained: Explained,
    *,
    calibration: Calibration,
    test: Arrays,
    made: dict[str, np.ndarray],
    bootstrap: Bootstrap,
) -> tuple[dict, dict]:
    """Paths and maps by every measure: film by film, see `save_scores`, and as tables.

    Args:
      made: the maps of the positives, by name.
    """
    positives, coverage = explained.groups["pos_to_neg"], explained.coverage["pos_to_neg"]
    real = other_films(test, explained.margin, explained.rows) if explainer.features else ()
    walked, of_paths = tables.score_paths(
        explainer, explained, calibration, real=real, bootstrap=bootstrap
    )
    of_maps = {
        "maps": tables.score_maps(
            made, positives, calibration, coverage=coverage, bootstrap=bootstrap
        ),
        "faithfulness": tables.score_faithfulness(
            explainer,
            positives,
            made,
            coverage=coverage,
            spec=phantom_spec(config.data),
            bootstrap=bootstrap,
        ),
        "deletion": tables.score_deletion(
            explainer,
            positives,
            made,
            coverage=coverage,
            thresholds=calibration.thresholds,
            bootstrap=bootstrap,
        ),
    }
    each = walked | {name: scored for name, (scored, _) in of_maps.items()}
    told = {"paths": of_paths} | {name: table for name, (_, table) in of_maps.items()}
    for name in config.explain.maps:
        if name not in told["maps"]:
            reason = explainer.missing_maps.get(name, maps.NOT_POSSIBLE)
            told["maps"] |= scores.undefined_maps([name], reason)
    blind_shares, told["blind"] = score_blind(
        config, explainer, explained, made=made, path=calibration.path, bootstrap=bootstrap
    )
    told["disentanglement"] = tables.disentangle(explainer, explained)
    return each | blind_shares, told


def score_blind(
    config: ml_collections.ConfigDict,
    explainer: Explainer,
    explained: Explained,
    *,
    made: dict[str, np.ndarray],
    path: str,
    bootstrap: Bootstrap,
) -> tuple[dict, dict]:
    """How much of maps and walks lies where f is blind, if it is anywhere: by film, and a table."""
    part, seen = blind.used_part(config), explainer.seen
    if not part:
        return {}, {"used": ""}
    is_blind = lambda image: blind.blind_pixels(part, image, seen)
    shares = blind.score_blind(made, explained.groups, is_blind, path=path)
    rejected = {direction for direction, part in explained.coverage.items() if part == 0}
    rejected |= {"maps"} if "pos_to_neg" in rejected else set()
    shares = {group: {} if group in rejected else each for group, each in shares.items()}
    by_film = {
        f"blind_{group}": {name: {"share": values} for name, values in each.items()}
        for group, each in shares.items()
    }
    told = blind.summarise(shares, part, bootstrap)
    return by_film, told | ({"reason": tables.NONE_COVERED} if rejected else {})


def write(
    directory: Path,
    explained: Explained,
    report: Report,
    *,
    calibration: Calibration,
    section: ml_collections.ConfigDict,
    contents: str,
) -> None:
    """Writes metrics.json, report.html, figures/, and arrays film by film (.npz).

    Args:
      section: `config.explain`.
      contents: what identifies the prepared data.
    """
    figures, groups = directory / "figures", explained.groups
    shutil.rmtree(figures, ignore_errors=True)  # of an earlier choice of paths
    figures.mkdir(parents=True)
    write_json(directory / "metrics.json", report.metrics)
    save_scores(directory / "scores.npz", report.scores)
    covered = accepted(explained.reasons)
    walks = walk_arrays(groups, rows=explained.rows, covered=covered, reach=calibration.reach)
    save_walks(directory / "walks.npz", walks)
    positives = groups["pos_to_neg"]
    save_maps(directory / "maps.npz", report.maps, positives.truth["row"])
    style, num_rows = make_style(section.figures), section.num_figure_rows
    page = page_of_run(report.metrics, walks, report.maps, contents=contents)
    save_page(directory / "report.html", page, style)
    save_figures(figures, groups, calibration, maps=report.maps, num_rows=num_rows, style=style)
    save_audit(figures / "audit.png", positives, report.audited, num_rows=num_rows, style=style)
    frames, margin = report.interpolated
    path = figures / "interpolation.png"
    save_interpolation(path, positives, frames, margin=margin, num_films=num_rows, style=style)
    for direction, group in groups.items():
        walked = group.walks[calibration.path] if calibration.path in group.walks else None
        if walked is not None:
            some = walked.rows(slice(num_rows))
            save_animations(figures, some, section.figures.animations, name=f"walk_{direction}")


@precision.exactly
def run(config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]) -> None:
    """Explains the test films.

    Of several processes each explains all of them on its own devices, and the first writes.
    """
    directory, section = workdir / "explain", config.explain
    trained = restore.digests(config, workdir)
    done = is_done(directory, explain=section.to_dict(), trained=trained)
    if done and is_calibrated(directory, section, trained):
        logger.info("explain: complete, skipped")
        return
    explainer = load_explainer(config, workdir)
    calibration = calibrate_once(explainer, config, workdir, splits=splits)
    explained = explain_test(explainer, splits["test"], calibration, section=section)
    report = measure(
        config,
        explainer,
        splits,
        calibration=calibration,
        explained=explained,
        classifier_figures=read_json(workdir / "classifier" / "done.json"),
    )
    if not parallel.is_first():
        return
    write(
        directory,
        explained,
        report,
        calibration=calibration,
        section=section,
        contents=read_contents(workdir),
    )
    mark_done(directory, explain=section.to_dict(), trained=trained)
