"""The paper's system and ours side by side: the same films, classifier, and images seen.

    python benchmarks/paper_vs_ours.py

Runs configs/phantom.py and configs/paper.py:64 through `main.py`, the classifiers and evaluators
trained once, the GANs for as many steps of as many films. Writes benchmarks/results/
paper_vs_ours.json and .md. What is complete is not run again. Any `--config.field=value` is handed
to both.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import ml_collections
import numpy as np
from absl import app, flags, logging

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import runs  # noqa: E402
from benchmarks.markdown import cell  # noqa: E402
from cxr_jax import data, metrics, tools  # noqa: E402

SHARED = ("classifier", "evaluators")
SETTINGS = (
    "--config.evaluators.names=('segmenter','regressor')",
    "--config.explain.paths=('linear',)",
    "--config.explain.maps=('latent',)",
)
SAMPLES = 500  # images drawn from each prior
LENDERS = 64  # films whose class latents ours draws with
TIMED = 8  # films whose inversion is timed


class Row(NamedTuple):
    """One comparison.

    Attributes:
      keys: where metrics.json has it; or () for what is measured here under the row's name.
      more_is_better: which of two is the better one.
    """

    keys: tuple[str, ...]
    more_is_better: bool


POSITIVES = ("paths", "linear", "pos_to_neg")
NEGATIVES = ("paths", "linear", "neg_to_pos")
ROWS: Mapping[str, Row] = {
    "samples: MMD²": Row((), False),
    "samples: Fréchet distance": Row((), False),
    "coverage": Row(("coverage",), True),
    "reconstruction RMSE": Row(("reconstruction_rmse",), False),
    "flips of f, pos→neg": Row((*POSITIVES, "flip_rate"), True),
    "flips of f, neg→pos": Row((*NEGATIVES, "flip_rate"), True),
    "transfer to h, pos→neg": Row((*POSITIVES, "transfer"), True),
    "structure": Row((*POSITIVES, "structure"), True),
    "twin_error": Row((*POSITIVES, "twin_error"), False),
    "on_target": Row(("maps", "latent", "on_target"), True),
    "pixel_auroc_lung": Row(("maps", "latent", "pixel_auroc_lung"), True),
    "training images/s": Row((), True),
    "inversion, seconds a film": Row((), False),
}


def read(report: Mapping, keys: Sequence[str]) -> dict:
    """An entry of metrics.json, as {"mean", ...}."""
    for key in keys:
        report = report[key]
    return report if isinstance(report, dict) else {"mean": report}


def draw_samples(
    networks: tools.Networks, trained: tools.Trained, lent: np.ndarray | None
) -> np.ndarray:
    """Images of which every second is a positive, from the prior [SAMPLES, h, w, 1].

    Args:
      lent: class latents of films [N, c], which ours has in place of a prior; None for N(0, I).
    """
    keys = jax.random.split(jax.random.key(0), 2)
    num_structure, num_severity = networks.generator.latent_sizes
    structure = jax.random.normal(keys[0], (SAMPLES, num_structure))
    severity = jax.random.normal(keys[1], (SAMPLES, num_severity))
    if lent is not None:
        severity = lent[np.arange(SAMPLES) // 2 % len(lent)]
    severity = severity * (np.arange(SAMPLES) % 2)[:, None]
    draw = jax.jit(lambda *z: networks.generator.apply({"params": trained.generator}, *z))
    return np.asarray(draw(structure, severity))


def measure(config: ml_collections.ConfigDict, workdir: Path) -> dict[str, dict]:
    """What no report has: the quality of samples and how long an inversion takes."""
    splits, _ = data.load_splits(config.data, config.seed)
    networks, _, trained = tools.load_trained(config, workdir, splits)
    bound = tools.make_tools(config, workdir, splits)
    lent = None
    if networks.encoder is not None:
        found = bound.invert(splits["validation"]["image"][:LENDERS])
        lent = found.severity[found.margin > 0]
    real = data.to_unit_range(splits["test"]["image"])
    samples = bound.features(draw_samples(networks, trained, lent))
    features = bound.features(real)
    pixels = splits["test"]["image"][:TIMED]
    bound.invert(pixels)  # compiles
    start = time.perf_counter()
    bound.invert(pixels)
    seconds = (time.perf_counter() - start) / TIMED
    return {
        "samples: MMD²": {"mean": metrics.kernel_distance(samples, features)},
        "samples: Fréchet distance": {"mean": metrics.frechet_distance(samples, features)},
        "training images/s": {"mean": training_rate(workdir)},
        "inversion, seconds a film": {"mean": seconds},
    }


def training_rate(workdir: Path) -> float:
    """Median images per second of the GAN's log intervals."""
    lines = (workdir / "gan" / "metrics.jsonl").read_text().splitlines()
    return float(np.median([json.loads(line)["images_per_second"] for line in lines]))


def compare(workdirs: Mapping[str, Path]) -> dict[str, dict]:
    """Every row: the entry of each system, and whether ours is the better."""
    columns = {}
    for system, workdir in workdirs.items():
        report = json.loads((workdir / "explain" / "metrics.json").read_text())
        config = ml_collections.ConfigDict(report["config"])
        columns[system] = measure(config, workdir) | {
            name: read(report, row.keys) for name, row in ROWS.items() if row.keys
        }
    table = {}
    for name, row in ROWS.items():
        ours, paper = (columns[system][name] for system in ("ours", "paper"))
        table[name] = {"ours": ours, "paper": paper, "ours_is_better": better(ours, paper, row)}
    return table


def better(ours: Mapping, paper: Mapping, row: Row) -> bool | None:
    """Whether ours is; None where one of the two is undefined."""
    if None in (ours["mean"], paper["mean"]):
        return None
    difference = ours["mean"] - paper["mean"]
    return bool(difference > 0) if row.more_is_better else bool(difference < 0)


def to_markdown(table: Mapping[str, Mapping], settings: str) -> str:
    """The table for people."""
    lines = [f"## The paper's system and ours ({settings})", ""]
    lines += ["| | ours | paper | better |", "|---|---|---|---|"]
    verdicts = {True: "ours", False: "paper", None: "–"}
    for name, row in table.items():
        better = verdicts[row["ours_is_better"]]
        lines.append(f"| {name} | {cell(row['ours'])} | {cell(row['paper'])} | {better} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Runs what is missing, measures and writes."""
    del argv
    logging.set_verbosity(logging.WARNING)  # Orbax narrates every load
    asked, base = flags.FLAGS, Path(flags.FLAGS.workdir)
    workdirs = {"ours": base / "ours", "paper": base / "paper"}
    configs = {"ours": "configs/phantom.py", "paper": "configs/paper.py:64"}
    steps = f"--config.gan.num_steps={asked.gan_steps}"
    for system, workdir in workdirs.items():
        runs.copy_finished(SHARED, workdirs["ours"], workdir)
        chosen = [*SETTINGS, steps, *runs.config_flags(sys.argv)]
        runs.run_main(configs[system], workdir, chosen)
    table = compare(workdirs)
    out = Path(asked.out)
    out.mkdir(parents=True, exist_ok=True)
    content = {"gan_steps": asked.gan_steps, "rows": table}
    (out / "paper_vs_ours.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    text = to_markdown(table, f"phantom, 64 px, {asked.gan_steps} steps of 32 films each")
    (out / "paper_vs_ours.md").write_text(text)
    print(text)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "runs/paper_vs_ours", "Where the runs are kept.")
    flags.DEFINE_integer("gan_steps", 1400, "Steps of each GAN.")
    flags.DEFINE_string("out", "benchmarks/results", "Folder of the results.")
    app.run(main, flags_parser=runs.parse_flags)
