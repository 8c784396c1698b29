"""Does the audit find a planted shortcut, and no shortcut where there is none?

For each of `phantom`, `shortcut` and `shortcut:control`, or for `--config` alone, runs `main.py`
once a seed: other patients, another classifier, another GAN. Budgets are smaller than the configs'
own (see BUDGET). Pools the films. What is complete is not run again.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from cxr_jax.errors import InputError
from cxr_jax.evaluate import audit
from experiments import markdown, runs
from experiments.command import load_config
from experiments.markdown import cell, entry_table
from experiments.reading import BOOTSTRAP, check_phantoms, load_group, read_report
from experiments.study import Options, Study

CONFIGS = {
    "phantom": "configs/phantom.py",
    "shortcut": "configs/shortcut.py",
    "shortcut:control": "configs/shortcut.py:control",
}
BUDGET = {
    "data.num_train": 2000,
    "data.num_validation": 200,
    "data.num_test": 300,
    "classifier.num_steps": 400,
    "judge.num_steps": 300,
    "gan.num_steps": 350,
    "encoder.num_steps": 50,
    "explain.num_images": 128,
    "explain.paths": ("linear",),
    "explain.maps": ("latent", "grad_cam", "integrated_gradients"),
}


def files(options: Options) -> dict[str, str]:
    """The config files that are audited, by what the results call them."""
    if not options.config_file:
        return CONFIGS
    stem, colon, variant = options.config_file.partition(":")
    return {f"{Path(stem).stem}{colon}{variant}": options.config_file}


def configs(options: Options) -> dict[str, object]:
    """What is run, by name, but for the seeds."""
    chosen = [*runs.as_flags(BUDGET), *options.overrides]
    return {name: load_config(file, chosen) for name, file in files(options).items()}


def pool(workdirs: Sequence[Path]) -> dict:
    """One config's entry: how many runs were flagged, and the evidence of all their films."""
    reports = [read_report(workdir) for workdir in workdirs]
    films = load_group(workdirs, "audit_true_masks")
    if not films:
        raise InputError(f"no positive of {workdirs[0].parent} passes the gate: train GANs longer")
    found = audit.summarise(films, BOOTSTRAP)
    audits = [report["audit_true_masks"] for report in reports]
    kept = ("evidence", "truth", "outside_share", "map_shares", "agreement", "rule")
    return {
        "seeds": len(reports),
        "flagged": sum(each["flagged"] for each in audits),
        "each_outside_share": [  # none where no positive of a run has passed the gate
            each["outside_share"]["mean"] if each["evidence"] else None for each in audits
        ],
        "classifier_auroc": [report["classifier"]["auroc"] for report in reports],
        "coverage": float(np.mean([report["coverage"] for report in reports])),
        "rank_correlation": found["agreement"]["rank_correlation"],
        **{name: found[name] for name in kept},
    }


def summary(name: str, result: Mapping) -> list[str]:
    """The row of a config."""
    share, agreement = result["outside_share"], result["agreement"]
    rank, slope = (
        "–" if value is None else f"{value:.3f}"
        for value in (agreement["rank_correlation"], agreement["slope"])
    )
    flagged, films = f"{result['flagged']} of {result['seeds']}", f"{share.get('images', 0)}"
    return [f"`{name}`", flagged, cell(share), rank, slope, films]


def to_markdown(results: Mapping[str, Mapping]) -> str:
    """The tables for people."""
    head = ["config", "flagged", "outside the lungs", "rank correlation", "slope", "films"]
    lines = ["## The shortcut audit", "", f"Rule: {next(iter(results.values()))['rule']}.", ""]
    lines += markdown.table(head, (summary(name, result) for name, result in results.items()))
    for name, result in results.items():
        rows = {"evidence": result["evidence"], "truth": result["truth"]}
        shares = {f"{method}, share": values for method, values in result["map_shares"].items()}
        lines += ["", f"### `{name}`: logits by region, and where maps point", ""]
        lines += [entry_table(rows | shares, list(result["evidence"]), "")]
    return "\n".join(lines) + "\n"


def run(options: Options) -> Iterator[dict]:
    """Runs what is missing; the configs so far."""
    for name, config in configs(options).items():
        check_phantoms(config, name)
    results = dict(options.known)
    for name, file in files(options).items():
        base = options.workdir / name.replace(":", "_")
        workdirs = [base / f"seed{seed}" for seed in range(options.seeds)]
        for seed, workdir in enumerate(workdirs):
            own = runs.as_flags({**BUDGET, "seed": seed})
            runs.run_main(file, workdir, [*own, *options.overrides])
        results[name] = pool(workdirs)
        yield dict(results)


STUDY = Study(
    name="audit",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    workdir="runs/audit",
    seeds=5,
    configs=configs,
)
