"""What is each part of the method worth? The same run with one thing changed, in one table.

Trains one GAN for each row, all of one classifier, and explains the same test films along `linear`.
What is complete is not run again. One seed: a difference smaller than that between seeds (see
fidelity.md) means nothing.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from cxr_jax import metrics
from experiments import markdown, runs
from experiments.markdown import cell
from experiments.reading import BOOTSTRAP, check_phantoms, entry_of, read_report
from experiments.study import Options, Study

# Each row's difference from the config.
ROWS: Mapping[str, Mapping[str, object]] = {
    "ours": {},
    "binary conditioning": {"gan.conditioning": "binary", "gan.num_grades": 2},
    "label conditioning": {"gan.conditioning": "label", "gan.num_grades": 2},
    "modulation only": {"gan.spatial_z_class": False, "gan.z_class_channels": (64,)},
    "locality 0": {"gan.weights.locality": 0.0},
    "smoothness 0": {"gan.weights.smoothness": 0.0},
    "transplant 0": {"gan.weights.transplant": 0.0},
    "null_change 0": {"gan.weights.null_change": 0.0},
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
        "explain.inversion.alternate_lesion_free_steps": False,
        "explain.inversion.z_class_lr_scale": 1.0,
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
ONLY = {"explain.paths": ("linear",), "explain.maps": ("latent",)}


def folder(name: str) -> str:
    """A row's work directory."""
    return name.replace(" ", "_").replace("'", "")


def read(workdir: Path) -> dict[str, dict]:
    """A row's entries by column, from its metrics.json."""
    report = read_report(workdir)
    return {column: entry_of(report, keys) for column, keys in COLUMNS}


def by_film(workdir: Path) -> dict[str, dict[int, float]]:
    """By column the score of each covered positive, by its row of the test split; {} of none."""
    with np.load(workdir / "explain" / "walks.npz") as walks:
        row = walks["pos_to_neg/row"]
        lesioned = walks["pos_to_neg/lesion_mask"].any(axis=(1, 2, 3))
    with np.load(workdir / "explain" / "scores.npz") as arrays:
        found = {}
        for column, key in PAIRED:
            rows = row[lesioned] if key.startswith("maps/") else row
            scores = arrays[key] if key in arrays else ()
            found[column] = dict(zip(rows, scores, strict=True)) if len(scores) else {}
        return found


def less(one: Mapping[str, Mapping], other: Mapping[str, Mapping]) -> dict[str, dict]:
    """By column the paired difference over the films that both runs explain; see `by_film`."""
    found = {}
    for column, films in one.items():
        shared = sorted(films.keys() & other[column].keys())
        difference = [float(films[row]) - float(other[column][row]) for row in shared]
        found[column] = metrics.summarise(np.array(difference), BOOTSTRAP)
    return found


def entry_table(rows: Mapping[str, Mapping[str, Mapping]], columns: list[str]) -> list[str]:
    """Lines of a Markdown table; every row has every column."""
    cells = ([name, *(cell(row[column]) for column in columns)] for name, row in rows.items())
    return markdown.table(["", *columns], cells)


def to_markdown(results: Mapping) -> str:
    """The tables for people."""
    gan, rows = results["gan"], results["rows"]
    differences = {name: row["less_ours"] for name, row in rows.items() if name != "ours"}
    lines = [
        "## Ablations: one GAN each, the same classifier and test films "
        f"({gan['num_steps']} steps of {gan['batch_size']} films)",
        "",
        "Path `linear`; means over covered films with bootstrap 95% intervals.",
        "",
        *entry_table(rows, [column for column, _ in COLUMNS]),
        "",
        "Film by film, less `ours`:",
        "",
        *entry_table(differences, [column for column, _ in PAIRED]),
    ]
    return "\n".join(lines) + "\n"


def run(options: Options) -> Iterator[dict]:
    """Runs what is missing; the rows so far."""
    check_phantoms(options.config, options.config_file)
    rows, scores = {}, {}
    for name, changes in ROWS.items():
        workdir = options.workdir / folder(name)
        runs.copy_finished(["classifier"], options.workdir / folder("ours"), workdir)
        own = [*runs.as_flags(ONLY), *runs.as_flags(changes)]
        runs.run_main(options.config_file, workdir, [*options.overrides, *own])
        scores[name] = by_film(workdir)
        rows[name] = read(workdir) | {"less_ours": less(scores[name], scores["ours"])}
        yield {"gan": options.config.gan.to_dict(), "rows": rows}


STUDY = Study(
    name="ablations",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    config="configs/phantom.py",
    workdir="runs/ablations",
)
