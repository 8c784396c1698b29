"""What does one run of the default config say? Its walks, its maps, and what f uses.

Keeps of a finished run of configs/phantom.py what README and docs/outputs.md tell of it.
"""

from collections.abc import Iterator, Mapping

from cxr_jax.errors import InputError
from cxr_jax.explain.paths import DIRECTIONS
from experiments.markdown import entry_table
from experiments.reading import check_finished, commits_of, read_report
from experiments.study import Options, Study

WALKS = ("flip_rate_f", "flip_rate", "twin_error", "necessity")
MAPS = ("on_target", "pixel_auroc_lung", "lookalike")
FAITHFULNESS = ("partial", "minus", "rank", "top", "unvalued")


def keep(report: Mapping) -> dict:
    """Of metrics.json what is told; an `InputError` where no positive was explained."""
    faithful = report["faithfulness"]
    if not faithful["maps"]:
        raise InputError(f"of this run nothing can be told: {faithful['reason']}")
    return {
        "commits": commits_of([report]),
        "coverage": report["coverage"],
        "latent_path": report["latent_path"],
        "auroc": {name: report[name]["auroc"] for name in ("classifier", "judge")},
        "errors": report["errors"],
        "walks": {
            direction: {
                name: {metric: entry[direction][metric] for metric in WALKS}
                for name, entry in report["paths"].items()
            }
            for direction in DIRECTIONS
        },
        "maps": {
            name: {metric: entry[metric] for metric in MAPS}
            for name, entry in report["maps"].items()
        },
        "faithfulness": {
            "components": faithful["components"],
            "hidden": faithful["hidden"],
            "maps": faithful["maps"],
            "paths": faithful["paths"],
        },
        "audit": report["audit"]["verdict"],
    }


def to_markdown(result: Mapping) -> str:
    """The tables for people."""
    errors, faithful = result["errors"], result["faithfulness"]
    parts = [
        "## One run of the default config",
        f"Coverage {result['coverage']:.2f}; AUROC {result['auroc']['classifier']:.3f} of f and "
        f"{result['auroc']['judge']:.3f} of h, whose errors are {errors['classifier']} and "
        f"{errors['judge']} test films, {errors['both']} of them the same. Map `latent` is the "
        f"change of path `{result['latent_path']}`. {result['audit']}",
    ]
    for direction in DIRECTIONS:
        parts.append(entry_table(result["walks"][direction], WALKS, f"walk, {direction}"))
    parts.append(entry_table(result["maps"], MAPS, "map"))
    parts.append(
        f"Faithfulness, {faithful['components']} components, {faithful['hidden']} more hidden; "
        "`minus`: `latent` less the map, paired. Maps enter by their size, unsmoothed."
    )
    for kind in ("maps", "paths"):
        parts.append(entry_table(faithful[kind], FAITHFULNESS, kind.removesuffix("s")))
    return "\n\n".join(parts) + "\n"


def run(options: Options) -> Iterator[dict]:
    """Reads the run."""
    check_finished(options.config, options.workdir, "explain")
    yield keep(read_report(options.workdir))


STUDY = Study(
    name="default_run",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    config="configs/phantom.py",
    workdir="runs/phantom",
)
