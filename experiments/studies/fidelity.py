"""Does the explanation tell the truth? Every path, map and control over several GANs.

Runs `main.py` once for each GAN seed (the classifiers and evaluators are trained once and shared),
each on test films of its own, and pools the films. With two seeds or more the maps' sanity is
measured too (see sanity.py), which is one more GAN and one more classifier. What is complete is not
run again, so that a killed study goes on where it was.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from cxr_jax import metrics
from cxr_jax.data.arrays import load_splits
from cxr_jax.evaluate import audit, scores
from cxr_jax.explain.paths import DIRECTIONS
from cxr_jax.metrics import Bootstrap
from cxr_jax.report import tables
from experiments import runs
from experiments.markdown import cell, entry_table, table
from experiments.reading import PerFilm, average, load_group, mean_tree, read_report
from experiments.studies import realism, sanity
from experiments.study import Flag, Options, Study

SHARED = ("classifier", "evaluators")  # tasks of the first run that the others copy
COMPARED = ("flip_auc", "flip_rate", "transfer", "twin_error")
STRAIGHT = ("linear", "global", "chord")
RIVALS = {
    **dict.fromkeys(("aligned", "natural"), STRAIGHT),
    # Which has the same ends.
    **dict.fromkeys(("geodesic", "geodesic_pixel", "necessary"), ("linear",)),
}
PATH_COLUMNS = ("flip_rate", "flip_auc", "transfer", "twin_error", "structure", "realism", "length")
SANITY_COLUMNS = ("sanity", "between_seeds", "to_shuffled", "to_other_film")
MAP_COLUMNS = ("on_target", "pixel_auroc_lung", "pixel_auroc", "iou", "lookalike")


def run_seed(
    config: str,
    seed: int,
    workdir: Path,
    *,
    first: Path,
    num_skipped: int,
    overrides: Sequence[str],
) -> None:
    """Runs `main.py` for one GAN seed to its end."""
    runs.copy_finished(SHARED, first, workdir)
    own = runs.as_flags({"gan.seed": seed, "explain.num_skipped": num_skipped})
    runs.run_main(config, workdir, [*own, *overrides])


def compare(
    each: PerFilm, bootstrap: Bootstrap, draws: Mapping[str, np.ndarray]
) -> dict[str, dict]:
    """Paired differences, film by film, of gradient paths and geodesics from straight ones.

    Args:
      draws: of `realism`, by path.
    """
    found = {}
    pairs = [(one, other) for one, others in RIVALS.items() for other in others]
    for one, other in pairs:
        if not {one, other} <= each.keys():
            continue
        entry = {
            metric: metrics.summarise(each[one][metric] - each[other][metric], bootstrap)
            for metric in COMPARED
            if metric in each[one]
        }
        if {one, other} <= draws.keys():
            entry["realism"] = realism.summarise(draws[one] - draws[other])
        found[f"{one} - {other}"] = entry
    return found


def pool(workdirs: Sequence[Path], drawn: Sequence[realism.Draws] = ()) -> dict:
    """The tables over all runs; `drawn`: what each run's `realism.draw` gave."""
    reports = [read_report(workdir) for workdir in workdirs]
    bootstrap = Bootstrap(resamples=reports[0]["config"]["explain"]["bootstrap"], seed=0)
    paths, comparisons = {}, {}
    for direction in DIRECTIONS:
        each = load_group(workdirs, direction)
        draws = realism.join([run.get(direction, {}) for run in drawn])
        each_run = zip(workdirs, reports, strict=True)
        num_rejected = sum(count_rejected(direction, *run) for run in each_run)
        for path, values in each.items():
            entry = scores.summarise_paths(values, num_rejected, bootstrap)
            if path in draws:
                entry["realism"] = realism.summarise(draws[path])
            else:
                entry["realism"] = average(reports, "paths", path, direction, "realism")
            paths.setdefault(path, {})[direction] = entry
        comparisons[direction] = compare(each, bootstrap, draws)
    for entry in paths.values():
        for direction in DIRECTIONS:
            nothing = {"mean": None, "reason": tables.NOT_WALKED}
            entry.setdefault(direction, dict.fromkeys(paths["linear"][direction], nothing))
    by_map, by_region = load_group(workdirs, "maps"), load_group(workdirs, "audit_true_masks")
    return {
        "paths": paths,
        "comparisons": comparisons,
        "config": reports[0]["config"],
        "seeds": len(reports),
        "coverage": float(np.mean([report["coverage"] for report in reports])),
        "latent_path": [report["latent_path"] for report in reports],
        "classifier": reports[0]["classifier"],
        "reconstruction_rmse": average(reports, "reconstruction_rmse"),
        "maps": scores.summarise_maps(by_map, bootstrap) if by_map else reports[0]["maps"],
        "audit": audit.summarise(by_region, bootstrap)
        if by_region
        else reports[0]["audit_true_masks"],
        "disentanglement": mean_tree([report["disentanglement"] for report in reports]),
        "each_seed": {
            name: [report["maps"]["latent"][name]["mean"] for report in reports]
            for name in ("on_target", "pixel_auroc_lung", "lookalike")
        }
        | {
            name: [_of_latent(report)[name]["mean"] for report in reports]
            for name in ("flip_rate", "twin_error")
        },
    }


def count_rejected(direction: str, workdir: Path, report: Mapping) -> int:
    """How many films of a run the gate rejected."""
    (walked, *_) = load_group([workdir], direction).values()
    coverage = report["coverage_by_direction"][direction]
    return scores.count_rejected(len(walked["flip_rate"]), coverage)


def _of_latent(report: Mapping) -> Mapping:
    """The figures of the walks from positive whose change map `latent` is."""
    return report["paths"][report["latent_path"]]["pos_to_neg"]


def each_gan(result: Mapping) -> str:
    """GAN by GAN: the intervals above are over films, and say nothing of other trainings."""
    columns = result["each_seed"]
    rows = zip(result["latent_path"], *columns.values(), strict=True)
    cells = (
        [f"{seed}", f"`{path}`", *(cell({"mean": value}) for value in values)]
        for seed, (path, *values) in enumerate(rows)
    )
    return "\n".join(table(["seed", "path of map `latent`", *columns], cells))


def sanity_table(latent: Mapping) -> str:
    """Rank correlations of maps by region: between GANs of f, to the control, to other films."""
    knows, flips = (latent.get(f"sanity_control_{name}") for name in ("knows", "flips"))
    rows = {}
    for name, prefix in (("body", "sanity"), ("lungs", "sanity_lung")):
        kinds = {kind: latent.get(f"{prefix}_{kind}") for kind in SANITY_COLUMNS[1:]}
        rows[name] = {"sanity": latent.get(prefix)} | kinds
    known = f"The control knows {cell(knows)} of its labels; of its films flip {cell(flips)}."
    return f"{known}\n\n" + entry_table(rows, SANITY_COLUMNS, "over")


def describe(name: str, result: Mapping) -> str:
    """The result of one config for people."""
    films = result["paths"]["linear"]["pos_to_neg"]["flip_rate"].get("images", 0)
    parts = [
        f"## {name}: {result['seeds']} GANs, {films} covered positives, "
        f"coverage {result['coverage']:.0%}",
        "Means over films with bootstrap 95% intervals; in brackets of how many films, where "
        "it is of fewer than the others.",
    ]
    for direction in DIRECTIONS:
        rows = {path: each[direction] for path, each in result["paths"].items()}
        films = rows["linear"]["flip_rate"].get("images")
        walked = entry_table(rows, PATH_COLUMNS, "path", films=films)
        parts += [f"### Paths, {direction}", walked]
        rows = result["comparisons"][direction]
        if rows:
            columns = (*COMPARED, "realism")
            parts.append(entry_table(rows, columns, "paired difference", films=films))
    latent = result["maps"]["latent"]
    if latent["on_target"]["mean"] is not None:
        lesioned = latent["on_target"]["images"]
        parts.append(f"### Maps of the {lesioned} films with lesions")
        parts.append(entry_table(result["maps"], MAP_COLUMNS, "map", films=lesioned))
    if "sanity" in latent:
        parts += ["### Sanity of map `latent`", sanity_table(latent)]
    parts += ["### Each GAN", each_gan(result)]
    parts.append(f"Audit: {result['audit']['verdict']}")
    parts.append(f"Disentanglement: `{json.dumps(result['disentanglement'])}`")
    return "\n\n".join(parts) + "\n"


def to_markdown(results: Mapping[str, Mapping]) -> str:
    """The results of all configs for people."""
    return "\n".join(describe(name, result) for name, result in results.items())


def run(options: Options) -> Iterator[dict]:
    """Runs what is missing; pooled first without the controls, whatever becomes of them."""
    config, name = options.config, options.own["name"]
    base = options.workdir / name
    workdirs = [base / f"seed{seed}" for seed in range(options.seeds)]
    for seed, workdir in enumerate(workdirs):
        run_seed(
            options.config_file,
            seed,
            workdir,
            first=workdirs[0],
            num_skipped=seed * (config.explain.num_images // 2),
            overrides=options.overrides,
        )
    test = load_splits(config.data, config.seed)[0]["test"]
    drawn = [
        realism.draw(
            config,
            workdir,
            test,
            bootstrap=Bootstrap(resamples=config.explain.bootstrap, seed=seed),
        )
        for seed, workdir in enumerate(workdirs)
    ]
    result = pool(workdirs, drawn)
    yield {**options.known, name: result}
    if len(workdirs) > 1:
        result["maps"]["latent"] |= sanity.measure(
            config, options.config_file, base, seeds=workdirs, overrides=options.overrides
        )
        yield {**options.known, name: result}


STUDY = Study(
    name="fidelity",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    config="configs/phantom.py:full",
    workdir="runs/fidelity",
    seeds=3,
    flags=(Flag(name="name", default="phantom", help="What the results call the config."),),
)
