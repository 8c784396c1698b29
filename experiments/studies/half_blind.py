"""Does a walk change what the classifier cannot see, or does not use?

f and h are shown one half of the picture and its mirror image, or see all of it but were taught a
label that is about one half alone (`left_alone`, ...). Whatever changes in the other half is false,
and no annotator is needed to say so. Reads finished runs of configs/half_blind.py, one folder for
each variant.

  share     of the change that lies in that half; of a walk the largest of any frame to its stop
  kept      flips of f, and of f and h, by the walk of map `latent` over those by `linear`
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from cxr_jax import metrics
from cxr_jax.errors import InputError
from cxr_jax.explain.paths import DIRECTIONS
from experiments.markdown import entry_table
from experiments.reading import (
    BOOTSTRAP,
    check_films_differ,
    commits_of,
    configs_below,
    load_group,
    read_report,
    runs_below,
)
from experiments.study import Options, Study


def shares(workdirs: Sequence[Path], group: str) -> dict[str, dict]:
    """Of every map or path of some runs, its share in the blind half over all films."""
    return {
        name: metrics.summarise(columns["share"], BOOTSTRAP)
        for name, columns in load_group(workdirs, group).items()
    }


def flips_kept(workdirs: Sequence[Path], direction: str, paths: Sequence[str]) -> dict[str, dict]:
    """By metric, the flips along paths over those along `linear`; a ratio of means over films.

    Args:
      paths: one of each run.
    """
    found = [load_group([workdir], direction) for workdir in workdirs]
    straight = ["linear"] * len(paths)
    kept = {}
    for metric in ("flip_rate_f", "flip_rate"):
        one, other = (
            np.concatenate([run[name][metric] for run, name in zip(found, names, strict=True)])
            for names in (paths, straight)
        )
        picks = BOOTSTRAP.rows(len(one))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = one[picks].mean(axis=1) / other[picks].mean(axis=1)
        whole = other.mean()
        kept[metric] = (
            {
                "mean": float(one.mean() / whole),
                "ci95": metrics.interval(ratios),
                "images": len(one),
            }
            if whole > 0
            else {"mean": None, "reason": "no linear walk flips"}
        )
    return kept


def measure(workdirs: Sequence[Path]) -> dict:
    """One variant, over its runs."""
    reports = [read_report(workdir) for workdir in workdirs]
    for workdir, report in zip(workdirs, reports, strict=True):
        if not report["blind"]["used"]:
            raise InputError(f"{workdir} is no run of configs/half_blind.py")
        if "reason" in report["blind"]:
            raise InputError(f"{workdir}: {report['blind']['reason']}")
    check_films_differ(workdirs)
    paths = [report["latent_path"] for report in reports]
    return {
        "commits": commits_of(reports),
        "latent_path": ", ".join(dict.fromkeys(paths)),
        "auroc": float(np.mean([report["classifier"]["auroc"] for report in reports])),
        "maps": shares(workdirs, "blind_maps"),
        "frames": {name: shares(workdirs, f"blind_{name}") for name in DIRECTIONS},
        "flips": {
            name: {
                metric: [
                    report["paths"][path][name][metric]["mean"]
                    for report, path in zip(reports, paths, strict=True)
                ]
                for metric in ("flip_rate_f", "flip_rate")
            }
            for name in DIRECTIONS
        },
        "kept": {name: flips_kept(workdirs, name, paths) for name in DIRECTIONS},
    }


def to_markdown(results: Mapping[str, Mapping]) -> str:
    """A table of maps and one of walks, variants side by side."""
    lines = ["## Half-blind classifiers", ""]
    for kind, pick in (
        ("map", lambda result: result["maps"]),
        ("walk from positive, worst frame", lambda result: result["frames"]["pos_to_neg"]),
        ("walk from negative, worst frame", lambda result: result["frames"]["neg_to_pos"]),
        ("flips kept, from positive", lambda result: result["kept"]["pos_to_neg"]),
        ("flips kept, from negative", lambda result: result["kept"]["neg_to_pos"]),
    ):
        names = dict.fromkeys(name for result in results.values() for name in pick(result))
        rows = {
            name: {variant: pick(result).get(name) for variant, result in results.items()}
            for name in names
        }
        lines += [entry_table(rows, list(results), kind), ""]
    chosen = ", ".join(f"{name} `{result['latent_path']}`" for name, result in results.items())
    lines.append(f"Map `latent` is the change along: {chosen}.")
    if "all" in results:
        lines += ["", f"`all` is the worst by map `latent`, `{results['all']['variant']}`."]
    return "\n".join(lines) + "\n"


def run(options: Options) -> Iterator[dict]:
    """Reads every variant's runs."""
    found = {name: one for name, one in options.known.items() if name != "all"}
    for name, runs in runs_below(options).items():
        found[name] = measure(runs)
    yield found | {"all": overall(found)}


def overall(found: Mapping[str, Mapping]) -> dict:
    """The variant of whose map `latent` most may lie there, by the upper end; with its figures."""
    worst = max(found, key=lambda name: found[name]["maps"]["latent"]["ci95"][1])
    return found[worst] | {"variant": worst}


STUDY = Study(
    name="half_blind",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    workdir="runs/half_blind",
    seeds=0,
    configs=configs_below,
)
