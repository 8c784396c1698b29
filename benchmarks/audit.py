"""Does the audit find the shortcut, and no shortcut where there is none?

    python benchmarks/audit.py --seeds=5

For each of `phantom`, `shortcut` and `shortcut:control`, runs `main.py` once a seed: other
patients, another classifier, another GAN. Budgets are smaller than the configs' own (see BUDGET).
Pools the films and writes benchmarks/results/audit.json and .md. What is complete is not run
again. Any `--config.field=value` is handed to every run.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import app, flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import runs  # noqa: E402
from benchmarks.markdown import cell, markdown_table  # noqa: E402
from benchmarks.pooling import load_group  # noqa: E402
from cxr_jax.evaluate import audit

CONFIGS = {
    "phantom": "configs/phantom.py",
    "shortcut": "configs/shortcut.py",
    "shortcut:control": "configs/shortcut.py:control",
}
BUDGET = (
    *("--config.data.num_train=2000", "--config.data.num_validation=200"),
    *("--config.data.num_test=300", "--config.classifier.num_steps=400"),
    *("--config.judge.num_steps=300", "--config.gan.num_steps=350"),
    *("--config.encoder.num_steps=50", "--config.explain.images=128"),
    "--config.explain.paths=('linear',)",
    "--config.explain.maps=('latent','grad_cam','integrated_gradients')",
)
BOOTSTRAP = (2000, 0)


def pool(workdirs: Sequence[Path]) -> dict:
    """One config's entry: how many runs were flagged, and the evidence of all their films."""
    reports = [runs.read_report(workdir) for workdir in workdirs]
    table = audit.summarise(load_group(workdirs, "audit"), BOOTSTRAP)
    kept = ("evidence", "truth", "outside_share", "map_shares", "agreement", "rule")
    return {
        "seeds": len(reports),
        "flagged": sum(report["audit"]["flagged"] for report in reports),
        "each_outside_share": [report["audit"]["outside_share"]["mean"] for report in reports],
        "classifier_auroc": [report["classifier"]["auroc"] for report in reports],
        "coverage": float(np.mean([report["coverage"] for report in reports])),
        "rank_correlation": table["agreement"]["rank_correlation"],
        **{name: table[name] for name in kept},
    }


def to_markdown(results: Mapping[str, Mapping]) -> str:
    """The tables for people."""
    lines = ["## The shortcut audit", "", f"Rule: {next(iter(results.values()))['rule']}.", ""]
    lines += ["| config | flagged | outside the lungs | rank correlation | slope | films |"]
    lines += ["|---" * 6 + "|"]
    for name, table in results.items():
        share, agreement = table["outside_share"], table["agreement"]
        rank, slope = (
            "–" if value is None else f"{value:.3f}"
            for value in (agreement["rank_correlation"], agreement["slope"])
        )
        lines.append(
            f"| `{name}` | {table['flagged']} of {table['seeds']} | {cell(share)} | {rank} | "
            f"{slope} | {share.get('images', 0)} |"
        )
    for name, table in results.items():
        rows = {"evidence": table["evidence"], "truth": table["truth"]}
        shares = {f"{method}, share": values for method, values in table["map_shares"].items()}
        regions = list(table["evidence"])
        lines += ["", f"### `{name}`: logits by region, and where maps point", ""]
        lines += [markdown_table(rows | shares, regions, "")]
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Runs what is missing and writes the results."""
    del argv
    out, results = Path(flags.FLAGS.out), {}
    for name, config in CONFIGS.items():
        base = Path(flags.FLAGS.workdir) / name.replace(":", "_")
        workdirs = [base / f"seed{seed}" for seed in range(flags.FLAGS.seeds)]
        for seed, workdir in enumerate(workdirs):
            chosen = [*BUDGET, f"--config.seed={seed}", *runs.config_flags(sys.argv)]
            runs.run_main(config, workdir, chosen)
        results[name] = pool(workdirs)
    known = runs.read_results(out, "audit")
    runs.write_results(out, "audit", known | results, to_markdown(results))


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "runs/audit", "Where the runs are kept.")
    flags.DEFINE_integer("seeds", 5, "Runs of each config.")
    flags.DEFINE_string("out", "benchmarks/results", "Folder of the results.")
    app.run(main, flags_parser=runs.parse_flags)
