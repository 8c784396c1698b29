"""What does the method do on real films: does it flip, reconstruct, and leave alone what f ignores?

Reads finished runs on real films, a folder each. No annotator is needed for any of it: a classifier
that is shown lungs alone, or half of the picture, makes every change elsewhere false.

  flips     f, and f and h, by the walk of map `latent`; the latter also of the films alone that h
            calls as f does before the walk: there is nothing to flip of what h calls otherwise
  blind     share of the change where f is blind; of a walk the largest of any frame to its stop
  rmse      of reconstructions where the gate looks, the lungs if there is a segmenter; films in
            [-1, 1]
  outside   share of f's evidence that lies outside the lungs, by the audit: the segmenter's two
            largest parts and, of an f that is shown lungs, all that it is shown around them. (The
            latter was outside for runs that were explained before commit a5c265e.)
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from cxr_jax import metrics
from cxr_jax.errors import InputError
from cxr_jax.explain.paths import DIRECTIONS
from cxr_jax.runtime.workdir import read_json
from experiments.markdown import cell, counted, side_by_side
from experiments.reading import commits_of, configs_below, load_group, read_report, runs_below
from experiments.study import Options, Study

AGREED = "f and h, where h agreed"
FLIPS = {"f": "flip_rate_f", "f and h": "flip_rate"}
NO_PART = {"mean": None, "reason": "f is shown whole films"}


def measure(workdir: Path) -> dict:
    """One run.

    Raises:
      InputError: if it was explained by a version that does not say all of it.
    """
    report, config = read_report(workdir), read_json(workdir / "config.json")
    if "reconstruction_rmse_lungs" not in report:
        raise InputError(
            f"{workdir / 'explain'} is of an earlier version; remove it and run main.py "
            "--task=explain with this --workdir again"
        )
    path, blind = report["latent_path"], report["blind"]
    no_share = {"mean": None, "reason": blind["reason"]} if "reason" in blind else NO_PART
    share = lambda group, name: blind.get(group, {}).get(name, no_share)
    return {
        "commits": commits_of([report]),
        "image_size": config["data"]["image_size"],
        "visible": blind["used"] or "all",
        "architecture": config["classifier"]["module"] or config["classifier"]["architecture"],
        "gan_images": config["gan"]["batch_size"] * config["gan"]["num_steps"],
        "inversion_steps": config["explain"]["inversion"]["num_steps"],
        "latent_path": path,
        "auroc": {name: report[name]["auroc"] for name in ("classifier", "judge")},
        "coverage": report["coverage"],
        "rmse": report["reconstruction_rmse_lungs"],
        "outside": report["audit"].get("outside_share", {"mean": None}),
        "verdict": report["audit"]["verdict"],
        "flips": {name: flips(workdir, report, name) for name in DIRECTIONS},
        "blind": {
            "map": share("maps", "latent"),
            "grad_cam": share("maps", "grad_cam"),
            "linear": share("pos_to_neg", "linear"),
            **{name: share(name, path) for name in DIRECTIONS},
        },
    }


def flips(workdir: Path, report: Mapping, direction: str) -> dict[str, dict]:
    """Flips in one direction; AGREED are of the films that h calls as f does before the walk."""
    path = report["latent_path"]
    found = {who: report["paths"][path][direction][metric] for who, metric in FLIPS.items()}
    if found["f and h"]["mean"] is None:
        return found | {AGREED: found["f and h"]}
    with np.load(workdir / "explain" / "walks.npz") as walks:
        before = walks[f"{direction}/{path}/judge_margin"][:, 0]
    flipped = load_group([workdir], direction)[path]["flip_rate"]
    agreed = before * DIRECTIONS[direction] < 0
    return found | {AGREED: metrics.summarise_proportion(flipped[agreed])}


def rows_of(result: Mapping) -> dict[str, str]:
    """The cells of a run, by what they say."""
    auroc = result["auroc"]
    rows = {
        "pixels a side": str(result["image_size"]),
        "f is shown": result["visible"],
        "architecture of f": result["architecture"],
        "images that the GAN was shown": f"{result['gan_images']:,}",
        "steps of the inversion": str(result["inversion_steps"]),
        "AUROC of f, h": f"{auroc['classifier']:.3f}, {auroc['judge']:.3f}",
        "coverage": f"{result['coverage']:.2f}",
        "RMSE where the gate looks": cell(result["rmse"]),
        "evidence outside the lungs": cell(result["outside"]),
    }
    for direction, flips in result["flips"].items():
        rows |= {f"flips of {name}, {direction}": counted(entry) for name, entry in flips.items()}
    names = {"map": "map `latent`", "grad_cam": "map `grad_cam`"}
    names["linear"] = "worst frame of `linear`, pos_to_neg"
    names |= {name: f"worst frame of `{result['latent_path']}`, {name}" for name in DIRECTIONS}
    return rows | {
        f"blind share, {names[name]}": cell(entry) for name, entry in result["blind"].items()
    }


def to_markdown(results: Mapping[str, Mapping]) -> str:
    """A table of the runs side by side, and what each audit says."""
    runs = side_by_side({name: rows_of(result) for name, result in results.items()})
    audits = [f"- Audit of `{name}`. {result['verdict']}" for name, result in results.items()]
    return "\n".join(["## Runs on real films", "", *runs, "", *audits]) + "\n"


def run(options: Options) -> Iterator[dict]:
    """Reads every run, beside those that an earlier call read."""
    found = {name: measure(workdir) for name, (workdir,) in runs_below(options).items()}
    yield dict(options.known) | found


STUDY = Study(
    name="real_films",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    workdir="runs/real_films",
    configs=configs_below,
)
