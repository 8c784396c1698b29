"""Does the explanation tell the truth? Every path, map and control over several GANs.

    python benchmarks/fidelity.py --config=configs/phantom.py:full --seeds=3

Runs `main.py` once for each GAN seed (the classifiers and evaluators are trained once and shared),
each on test films of its own, pools the films, and writes benchmarks/results/fidelity.json and .md.
With two seeds or more the maps' sanity is measured too (see sanity.py), which is one more GAN
and one more classifier.
What is complete is not run again, so a killed benchmark goes on where it was. Any
`--config.field=value` is handed to every run.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import app, flags
from ml_collections import config_flags

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import realism, runs, sanity  # noqa: E402
from benchmarks.markdown import cell, markdown_table  # noqa: E402
from benchmarks.pooling import PerFilm, average, load_group, mean_tree  # noqa: E402
from cxr_jax.evaluate import audit
from cxr_jax.data import arrays
from cxr_jax import metrics
from cxr_jax.evaluate import scores
from cxr_jax.report import tables
from cxr_jax.explain.paths import DIRECTIONS

SHARED = ("classifier", "evaluators")  # tasks of the first run that the others copy
COMPARED = ("flip_auc", "flip_rate", "transfer", "twin_error")
SAME_END = "linear, same end"
STRAIGHT = ("linear", "linear_best", "global", "chord")
RIVALS = {
    **dict.fromkeys(("aligned", "natural"), STRAIGHT),
    **dict.fromkeys(("geodesic", "geodesic_pixel"), (SAME_END,)),
}
PATH_COLUMNS = ("flip_rate", "flip_auc", "transfer", "twin_error", "structure", "realism", "length")
SANITY_COLUMNS = ("sanity", "between_seeds", "to_shuffled", "to_other_film")
MAP_COLUMNS = ("on_target", "pixel_auroc_lung", "pixel_auroc", "iou", "lookalike")


def run_seed(config: str, seed: int, workdir: Path, first: Path, skip: int) -> None:
    """Runs `main.py` for one GAN seed to its end."""
    runs.copy_finished(SHARED, first, workdir)
    own = [f"--config.gan.seed={seed}", f"--config.explain.skip={skip}"]
    chosen = runs.config_flags(sys.argv)
    runs.run_main(config, workdir, [*own, *chosen])


def compare(
    each: PerFilm, bootstrap: tuple[int, int], draws: Mapping[str, np.ndarray]
) -> dict[str, dict]:
    """Paired differences, film by film.

    Of the gradient's paths from the straight ones; and of the geodesics from the straight line to
    the same end, the first of those to which `linear` walks.

    Args:
      draws: of `realism`, by path; of several walks of a film, of the first.
    """
    same_end = {
        name: values.reshape(len(values), -1)[:, 0] for name, values in each["linear"].items()
    }
    each = {**each, SAME_END: same_end}
    if "linear" in draws:
        draws = {**draws, SAME_END: draws["linear"]}
    table = {}
    pairs = [(one, other) for one, others in RIVALS.items() for other in others]
    for one, other in pairs:
        if not {one, other} <= each.keys():
            continue
        entry = {
            metric: metrics.summarise(
                scores.by_film(each[one][metric]) - scores.by_film(each[other][metric]), *bootstrap
            )
            for metric in COMPARED
            if metric in each[one]
        }
        if {one, other} <= draws.keys():
            entry["realism"] = realism.summarise(draws[one] - draws[other])
        table[f"{one} - {other}"] = entry
    return table


def pool(workdirs: Sequence[Path], drawn: Sequence[realism.Draws] = ()) -> dict:
    """The tables over all runs; `drawn`: what each run's `realism.draw` gave."""
    reports = [runs.read_report(workdir) for workdir in workdirs]
    bootstrap = (reports[0]["config"]["explain"]["bootstrap"], 0)
    table = {"paths": {}, "comparisons": {}}
    for direction in DIRECTIONS:
        each = load_group(workdirs, direction)
        draws = realism.join([run.get(direction, {}) for run in drawn])
        share = float(np.mean([report["coverage_by_direction"][direction] for report in reports]))
        for path, values in each.items():
            entry = scores.summarise_paths(values, share, bootstrap)
            if path in draws:
                entry["realism"] = realism.summarise(draws[path])
            else:
                entry["realism"] = average(reports, "paths", path, direction, "realism")
            table["paths"].setdefault(path, {})[direction] = entry
        table["comparisons"][direction] = compare(each, bootstrap, draws)
    for entry in table["paths"].values():
        for direction in DIRECTIONS:
            nothing = {"mean": None, "reason": tables.NOT_WALKED}
            entry.setdefault(direction, dict.fromkeys(table["paths"]["linear"][direction], nothing))
    by_map, by_region = load_group(workdirs, "maps"), load_group(workdirs, "audit")
    return table | {
        "config": reports[0]["config"],
        "seeds": len(reports),
        "coverage": float(np.mean([report["coverage"] for report in reports])),
        "latent_path": [report["latent_path"] for report in reports],
        "classifier": reports[0]["classifier"],
        "reconstruction_rmse": average(reports, "reconstruction_rmse"),
        "maps": scores.summarise_maps(by_map, bootstrap) if by_map else reports[0]["maps"],
        "audit": audit.summarise(by_region, bootstrap) if by_region else reports[0]["audit"],
        "disentanglement": mean_tree([report["disentanglement"] for report in reports]),
        "each_seed": {
            name: [report["maps"]["latent"][name]["mean"] for report in reports]
            for name in ("on_target", "pixel_auroc_lung", "lookalike")
        }
        | {
            name: [report["paths"]["linear"]["pos_to_neg"][name]["mean"] for report in reports]
            for name in ("flip_rate", "twin_error")
        },
    }


def each_gan(table: Mapping) -> str:
    """GAN by GAN: the intervals above are over films, and say nothing of other trainings."""
    columns = table["each_seed"]
    rows = zip(table["latent_path"], *columns.values(), strict=True)
    lines = ["| seed | path of map `latent` | " + " | ".join(columns) + " |"]
    lines.append("|---" * (len(columns) + 2) + "|")
    for seed, (path, *values) in enumerate(rows):
        cells = (cell({"mean": value}) for value in values)
        lines.append(f"| {seed} | `{path}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def sanity_table(latent: Mapping) -> str:
    """Rank correlations of maps by region: between GANs of f, to the control, to other films."""
    knows, flips = (latent.get(f"sanity_control_{name}") for name in ("knows", "flips"))
    rows = {}
    for name, prefix in (("body", "sanity"), ("lungs", "sanity_lung")):
        kinds = {kind: latent.get(f"{prefix}_{kind}") for kind in SANITY_COLUMNS[1:]}
        rows[name] = {"sanity": latent.get(prefix)} | kinds
    known = f"The control knows {cell(knows)} of its labels; of its films flip {cell(flips)}."
    return f"{known}\n\n" + markdown_table(rows, SANITY_COLUMNS, "over")


def to_markdown(name: str, table: Mapping) -> str:
    """The whole result for people."""
    films = table["paths"]["linear"]["pos_to_neg"]["flip_rate"]["images"]
    parts = [
        f"## {name}: {table['seeds']} GANs, {films} covered positives, "
        f"coverage {table['coverage']:.0%}",
        "Means over films with bootstrap 95% intervals; in brackets of how many films, where "
        "it is of fewer than the others.",
    ]
    for direction in DIRECTIONS:
        rows = {path: each[direction] for path, each in table["paths"].items()}
        films = rows["linear"]["flip_rate"].get("images")
        parts += [f"### Paths, {direction}", markdown_table(rows, PATH_COLUMNS, "path", films)]
        rows = table["comparisons"][direction]
        if rows:
            columns = (*COMPARED, "realism")
            parts.append(markdown_table(rows, columns, "paired difference", films))
    if table["maps"]["latent"]["on_target"]["mean"] is not None:
        lesioned = table["maps"]["latent"]["on_target"]["images"]
        parts.append(f"### Maps of the {lesioned} films with lesions")
        parts.append(markdown_table(table["maps"], MAP_COLUMNS, "map", lesioned))
    if "sanity" in table["maps"]["latent"]:
        parts += ["### Sanity of map `latent`", sanity_table(table["maps"]["latent"])]
    parts += ["### Each GAN", each_gan(table)]
    parts.append(f"Audit: {table['audit']['verdict']}")
    parts.append(f"Disentanglement: `{json.dumps(table['disentanglement'])}`")
    return "\n\n".join(parts) + "\n"


def write(out: Path, name: str, table: Mapping) -> None:
    """Writes the result beside those of other names."""
    results = runs.read_results(out, "fidelity") | {name: table}
    text = "\n".join(to_markdown(name, table) for name, table in results.items())
    runs.write_results(out, "fidelity", results, text)


def main(argv: list[str]) -> None:
    """Runs what is missing and writes the results."""
    del argv
    asked = flags.FLAGS
    base = Path(asked.workdir) / asked.name
    workdirs = [base / f"seed{seed}" for seed in range(asked.seeds)]
    config = asked["config"].config_filename
    for seed, workdir in enumerate(workdirs):
        skip = seed * (asked.config.explain.images // 2)
        run_seed(config, seed, workdir, workdirs[0], skip)
    test = arrays.load_splits(asked.config.data, asked.config.seed)[0]["test"]
    resamples, out = asked.config.explain.bootstrap, Path(asked.out)
    drawn = [
        realism.draw(asked.config, workdir, test, (resamples, seed))
        for seed, workdir in enumerate(workdirs)
    ]
    table = pool(workdirs, drawn)
    write(out, asked.name, table)  # whatever becomes of the controls
    if len(workdirs) > 1:
        chosen = runs.config_flags(sys.argv)
        table["maps"]["latent"] |= sanity.measure(asked.config, config, base, workdirs, chosen)
        write(out, asked.name, table)


if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", "configs/phantom.py:full", "The experiment.")
    flags.DEFINE_string("name", "phantom", "What the results call it.")
    flags.DEFINE_integer("seeds", 3, "GANs trained.")
    flags.DEFINE_string("workdir", "runs/fidelity", "Where the runs are kept.")
    flags.DEFINE_string("out", "benchmarks/results", "Folder of the results.")
    app.run(main)
