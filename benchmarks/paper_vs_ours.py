"""The paper's system and ours side by side: the same films, the same classifier.

    python benchmarks/paper_vs_ours.py

Runs configs/phantom.py and configs/paper.py:64 through `main.py`, the classifiers and evaluators
trained once. Both see as many films: the paper's GAN gets the steps that our encoder's own training
takes as well. One seed each. Our samples have the class latents of validation films, which ours has
in place of a prior; the paper's have N(0, I). Writes benchmarks/results/paper_vs_ours.json and .md.
What is complete is not run again. Any `--config.field=value` is handed to both.
"""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import ml_collections
import numpy as np
from absl import app, flags, logging

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import runs, throughput  # noqa: E402
from benchmarks.markdown import cell  # noqa: E402
from cxr_jax.data import arrays
from cxr_jax import metrics
from cxr_jax.explain import explainer
from cxr_jax.training import gan

SHARED = ("classifier", "evaluators")
SETTINGS = (
    "--config.evaluators.names=('segmenter','regressor')",
    "--config.explain.paths=('linear',)",
    "--config.explain.maps=('latent',)",
)
SAMPLES = 500  # images drawn from each prior
LENDERS = 64  # films whose class latents ours draws with
TIMED_CALLS = 15


class Row(NamedTuple):
    """One comparison.

    Attributes:
      keys: where metrics.json has it; or () for what is measured here under the row's name.
      best: the value that would be best; of two, the nearer one is the better.
    """

    keys: tuple[str, ...]
    best: float


POSITIVES = ("paths", "linear", "pos_to_neg")
NEGATIVES = ("paths", "linear", "neg_to_pos")
ROWS: Mapping[str, Row] = {
    "samples: MMD²": Row((), 0.0),
    "samples: Fréchet distance": Row((), 0.0),
    "samples: spread of a pixel, films = 1": Row((), 1.0),
    "coverage": Row(("coverage",), 1.0),
    "reconstruction RMSE, all films": Row(("reconstruction_rmse",), 0.0),
    "flips of f and h, + → −": Row((*POSITIVES, "flip_rate"), 1.0),
    "the same of all positives": Row((*POSITIVES, "flip_rate_all"), 1.0),
    "flips of f alone, + → −": Row((*POSITIVES, "flip_rate_f"), 1.0),
    "flips of f and h, − → +": Row((*NEGATIVES, "flip_rate"), 1.0),
    "transfer to h, + → −": Row((*POSITIVES, "transfer"), 1.0),
    "structure": Row((*POSITIVES, "structure"), 1.0),
    "twin_error": Row((*POSITIVES, "twin_error"), 0.0),
    "on_target": Row(("maps", "latent", "on_target"), 1.0),
    "pixel_auroc_lung": Row(("maps", "latent", "pixel_auroc_lung"), 1.0),
    "training, ms an image": Row((), 0.0),
    "inversion, seconds a film": Row((), 0.0),
}


def draw_samples(
    draw: Callable, latent_sizes: tuple[int, int], lent: np.ndarray | None
) -> np.ndarray:
    """Images of which every second is a positive, from the prior [SAMPLES, h, w, 1].

    Args:
      draw: (z_structure, z_class) to images, and how many components these have.
      lent: class latents of films [N, c], which ours has in place of a prior; None for N(0, I).
    """
    keys = jax.random.split(jax.random.key(0), 2)
    num_structure, num_severity = latent_sizes
    structure = jax.random.normal(keys[0], (SAMPLES, num_structure))
    severity = jax.random.normal(keys[1], (SAMPLES, num_severity))
    if lent is not None:
        severity = lent[np.arange(SAMPLES) // 2 % len(lent)]
    severity = severity * (np.arange(SAMPLES) % 2)[:, None]
    return draw(np.asarray(structure), np.asarray(severity))


def measure(config: ml_collections.ConfigDict, workdir: Path) -> dict[str, dict]:
    """What no report has: the quality of samples and how long an inversion takes."""
    splits, _ = arrays.load_splits(config.data, config.seed)
    networks = make_networks(config)
    bound = explainer.make_tools(config, workdir, splits)
    lent = None
    if networks.encoder is not None:
        found = bound.invert(splits["validation"]["image"][:LENDERS])
        lent = found.severity[found.margin > 0]
    real = arrays.to_unit_range(splits["test"]["image"])
    drawn = draw_samples(bound.draw, networks.generator.latent_sizes, lent)
    samples, features = (bound.features(image).astype(np.float64) for image in (drawn, real))
    unit = np.sqrt(np.square(features).mean())  # the kernel wants order 1
    pixels = splits["test"]["image"][: config.explain.batch_size]
    bound.invert(pixels)  # compiles
    start = time.perf_counter()
    bound.invert(pixels)
    seconds = (time.perf_counter() - start) / len(pixels)
    pair = samples / unit, features / unit
    return {
        "samples: MMD²": {"mean": metrics.kernel_distance(*pair)},
        "samples: Fréchet distance": {"mean": metrics.frechet_distance(*pair)},
        "samples: spread of a pixel, films = 1": {"mean": spread(drawn) / spread(real)},
        "training, ms an image": {"mean": 1000 / throughput.gan_rate(config, TIMED_CALLS)},
        "inversion, seconds a film": {"mean": seconds},
    }


def spread(image: np.ndarray) -> float:
    """Standard deviation of a pixel over images, its mean over pixels: 0 where all are the same."""
    return float(image.std(axis=0).mean())


def compare(workdirs: Mapping[str, Path]) -> dict[str, dict]:
    """Every row: the entry of each system, and which is the better."""
    columns = {}
    for system, workdir in workdirs.items():
        report = runs.read_report(workdir)
        columns[system] = measure(ml_collections.ConfigDict(report["config"]), workdir) | {
            name: runs.entry_of(report, row.keys) for name, row in ROWS.items() if row.keys
        }
    table = {}
    for name, row in ROWS.items():
        ours, paper = (columns[system][name] for system in ("ours", "paper"))
        table[name] = {"ours": ours, "paper": paper, "better": better(ours, paper, row.best)}
    return table


def better(ours: Mapping, paper: Mapping, best: float) -> str:
    """Which of two is nearer to the best; "" where either is undefined or the intervals overlap."""
    if None in (ours["mean"], paper["mean"]) or runs.overlap(ours, paper):
        return ""
    one, other = (abs(entry["mean"] - best) for entry in (ours, paper))
    return "" if one == other else "ours" if one < other else "paper"


def to_markdown(table: Mapping[str, Mapping], title: str) -> str:
    """The table for people."""
    lines = [f"## The paper's system and ours: {title}", ""]
    lines += ["Each over the films that it covers. `better`: where the intervals are apart, or"]
    lines += ["where there are none, the smaller distance from the best value.", ""]
    lines += ["| | ours | paper | ours − paper | better |", "|---|---|---|---|---|"]
    for name, row in table.items():
        means = row["ours"]["mean"], row["paper"]["mean"]
        apart = "–" if None in means else f"{means[0] - means[1]:+.3f}"
        cells = name, cell(row["ours"]), cell(row["paper"]), apart, row["better"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def say_budgets(workdirs: Mapping[str, Path]) -> str:
    """What each was trained with."""
    parts = []
    for system, workdir in workdirs.items():
        config = runs.read_report(workdir)["config"]
        gan, encoder = config["gan"], config["encoder"]
        part = f"{system}, {gan['num_steps']} GAN steps of {gan['batch_size']} films"
        if encoder["num_steps"]:
            part += f" and {encoder['num_steps']} of its encoder's"
        parts.append(f"{part}, {config['explain']['inversion']['num_steps']} steps of inversion")
    return "; ".join(parts)


def main(argv: list[str]) -> None:
    """Runs what is missing, measures and writes."""
    del argv
    logging.set_verbosity(logging.WARNING)  # Orbax narrates every load
    asked, base = flags.FLAGS, Path(flags.FLAGS.workdir)
    workdirs = {"ours": base / "ours", "paper": base / "paper"}
    configs = {"ours": "configs/phantom.py", "paper": "configs/paper.py:64"}
    steps = {"ours": asked.gan_steps, "paper": asked.gan_steps + asked.encoder_steps}
    for system, workdir in workdirs.items():
        runs.copy_finished(SHARED, workdirs["ours"], workdir)
        own = [f"--config.gan.num_steps={steps[system]}"]
        if system == "ours":
            own += [f"--config.encoder.num_steps={asked.encoder_steps}"]
        runs.run_main(configs[system], workdir, [*SETTINGS, *own, *runs.config_flags(sys.argv)])
    table = compare(workdirs)
    title = say_budgets(workdirs)
    content, text = {"budgets": title, "rows": table}, to_markdown(table, title)
    runs.write_results(Path(asked.out), "paper_vs_ours", content, text)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "runs/paper_vs_ours", "Where the runs are kept.")
    flags.DEFINE_integer("gan_steps", 1400, "Steps of our GAN.")
    flags.DEFINE_integer("encoder_steps", 200, "Steps of our encoder; the paper's GAN gets both.")
    flags.DEFINE_string("out", "benchmarks/results", "Folder of the results.")
    app.run(main, flags_parser=runs.parse_flags)
