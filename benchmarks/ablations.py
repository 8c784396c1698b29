"""What each part of the method is worth: the same run with one thing changed, in one table.

    python benchmarks/ablations.py --config=configs/phantom.py --config.gan.num_steps=1000

Trains one GAN for each row, all of one classifier, and explains the same test films along `linear`.
Writes benchmarks/results/ablations.json and .md. What is complete is not run again. Any
`--config.field=value` is handed to every run. One seed: a difference smaller than that between
seeds (see fidelity.md) means nothing.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import ml_collections
import numpy as np
from absl import app, flags
from ml_collections import config_flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import runs  # noqa: E402
from benchmarks.markdown import cell  # noqa: E402
from cxr_jax import metrics

# Each row's difference from the config.
ROWS: Mapping[str, Mapping[str, object]] = {
    "ours": {},
    "binary conditioning": {"gan.conditioning": "binary", "gan.num_grades": 2},
    "label conditioning": {"gan.conditioning": "label", "gan.num_grades": 2},
    "modulation only": {"gan.severity_is_placed": False, "gan.severity_channels": (64,)},
    "locality 0": {"gan.weights.locality": 0.0},
    "smoothness 0": {"gan.weights.smoothness": 0.0},
    "finding 0": {"gan.weights.finding": 0.0},
    "silence 0": {"gan.weights.silence": 0.0},
    "classifier weight 0": {"gan.weights.margin": 0.0, "gan.weights.feature": 0.0},
    "the paper's objective": {
        "gan.objective": "paper",
        "gan.conditioning": "binary",
        "gan.num_grades": 1,
        "encoder.num_steps": 0,
        "explain.inversion.start": "origin",
        "explain.inversion.num_steps": 300,
        "explain.inversion.learning_rate": 0.03,  # from the origin Adam goes at a steadier pace
        "explain.inversion.beta1": 0.9,
        "explain.inversion.beta2": 0.999,
        "explain.inversion.keep_change": False,
        "explain.inversion.severity_share": 1.0,
    },
}
# (column, where it stands in metrics.json)
COLUMNS = (
    ("coverage", ("coverage",)),
    ("flips pos→neg", ("paths", "linear", "pos_to_neg", "flip_rate")),
    ("flips neg→pos", ("paths", "linear", "neg_to_pos", "flip_rate")),
    ("transfer", ("paths", "linear", "pos_to_neg", "transfer")),
    ("twin_error", ("paths", "linear", "pos_to_neg", "twin_error")),
    ("on_target", ("maps", "latent", "on_target")),
    ("pixel_auroc_lung", ("maps", "latent", "pixel_auroc_lung")),
    ("lookalike", ("maps", "latent", "lookalike")),
)


# (column, where it stands film by film in scores.npz)
PAIRED = (
    ("flips pos→neg", "pos_to_neg/linear/flip_rate"),
    ("twin_error", "pos_to_neg/linear/twin_error"),
    ("on_target", "maps/latent/on_target"),
    ("pixel_auroc_lung", "maps/latent/pixel_auroc_lung"),
    ("lookalike", "maps/latent/lookalike"),
)
BOOTSTRAP = (2000, 0)


def folder(name: str) -> str:
    """A row's work directory."""
    return name.replace(" ", "_").replace("'", "")


def read(workdir: Path) -> dict[str, dict]:
    """A row's entries by column, from its metrics.json."""
    report = runs.read_report(workdir)
    return {column: runs.entry_of(report, keys) for column, keys in COLUMNS}


def by_film(workdir: Path) -> dict[str, dict[int, float]]:
    """By column the score of each covered positive, by its row of the test split; {} of none."""
    with np.load(workdir / "explain" / "walks.npz") as walks:
        row = walks["pos_to_neg/row"]
        lesioned = walks["pos_to_neg/lesion_mask"].any(axis=(1, 2, 3))
    with np.load(workdir / "explain" / "scores.npz") as arrays:
        table = {}
        for column, key in PAIRED:
            rows = row[lesioned] if key.startswith("maps/") else row
            scores = arrays[key].ravel() if key in arrays else ()
            table[column] = dict(zip(rows, scores, strict=True)) if len(scores) else {}
        return table


def less(one: Mapping[str, Mapping], other: Mapping[str, Mapping]) -> dict[str, dict]:
    """By column the paired difference over the films that both runs explain; see `by_film`."""
    table = {}
    for column, films in one.items():
        shared = sorted(films.keys() & other[column].keys())
        difference = [float(films[row]) - float(other[column][row]) for row in shared]
        table[column] = metrics.summarise(np.array(difference), *BOOTSTRAP)
    return table


def table(rows: Mapping[str, Mapping[str, Mapping]], columns: Sequence[str]) -> list[str]:
    """Lines of a Markdown table; every row has every column."""
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(cell(row[column]) for column in columns) + " |")
    return lines


def to_markdown(rows: Mapping[str, Mapping[str, Mapping]], settings: str) -> str:
    """The tables for people."""
    differences = {name: row["less_ours"] for name, row in rows.items() if name != "ours"}
    lines = [
        f"## Ablations: one GAN each, the same classifier and test films ({settings})",
        "",
        "Path `linear`; means over covered films with bootstrap 95% intervals.",
        "",
        *table(rows, [column for column, _ in COLUMNS]),
        "",
        "Film by film, less `ours`:",
        "",
        *table(differences, [column for column, _ in PAIRED]),
    ]
    return "\n".join(lines) + "\n"


def write(out: Path, rows: Mapping[str, Mapping], gan: ml_collections.ConfigDict) -> None:
    """Writes the rows so far."""
    text = to_markdown(rows, f"{gan.num_steps} steps of {gan.batch_size} films")
    content = {"num_steps": gan.num_steps, "gan": gan.to_dict(), "rows": rows}
    runs.write_results(out, "ablations", content, text)


def main(argv: list[str]) -> None:
    """Runs what is missing and writes the results."""
    del argv
    rows, scores = {}, {}
    base, chosen = Path(flags.FLAGS.workdir), runs.config_flags(sys.argv)
    only = ["--config.explain.paths=('linear',)", "--config.explain.maps=('latent',)"]
    for name, changes in ROWS.items():
        workdir = base / folder(name)
        runs.copy_finished(["classifier"], base / folder("ours"), workdir)
        config = flags.FLAGS["config"].config_filename
        runs.run_main(config, workdir, [*chosen, *only, *runs.as_flags(changes)])
        rows[name] = read(workdir)
        scores[name] = by_film(workdir)
        rows[name]["less_ours"] = less(scores[name], scores["ours"])
        write(Path(flags.FLAGS.out), rows, flags.FLAGS.config.gan)


if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", "configs/phantom.py", "The experiment.")
    flags.DEFINE_string("workdir", "runs/ablations", "Where the runs are kept.")
    flags.DEFINE_string("out", "benchmarks/results", "Folder of the results.")
    app.run(main)
