"""How far is the paper's system from ours? Side by side: the same films, the same classifier.

Runs `--config` and configs/paper.py:64 through `main.py`, the classifiers and evaluators trained
once. Both see as many films: the paper's GAN gets the steps that our encoder's own training takes
as well. One seed each. Lungs are drawn from N(0, I) in both, although ours may have a better prior;
our samples have the class latents of validation films, the paper's N(0, I). What is complete is not
run again.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import jax
import ml_collections
import numpy as np

from benchmarks import contenders
from cxr_jax import metrics
from cxr_jax.data.arrays import load_splits, to_unit_range
from cxr_jax.networks.build import make_gan_networks
from cxr_jax.pipeline.explain import load_explainer
from cxr_jax.runtime import precision
from experiments import markdown, runs
from experiments.command import load_config
from experiments.markdown import cell
from experiments.reading import entry_of, overlap, read_report
from experiments.study import Flag, Options, Study

PAPER = "configs/paper.py:64"
SHARED = ("classifier", "evaluators")
SETTINGS = {
    "evaluators.names": ("segmenter", "regressor"),
    "explain.paths": ("linear",),
    "explain.maps": ("latent",),
}
SAMPLES = 500  # images drawn from each prior
LENDERS = 64  # films whose class latents ours draws with


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
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
    "samples: MMD²": Row(keys=(), best=0.0),
    "samples: Fréchet distance": Row(keys=(), best=0.0),
    "samples: spread of a pixel, films = 1": Row(keys=(), best=1.0),
    "coverage": Row(keys=("coverage",), best=1.0),
    "reconstruction RMSE, all films": Row(keys=("reconstruction_rmse",), best=0.0),
    "flips of f and h, + → −": Row(keys=(*POSITIVES, "flip_rate"), best=1.0),
    "the same of all positives": Row(keys=(*POSITIVES, "flip_rate_all"), best=1.0),
    "flips of f alone, + → −": Row(keys=(*POSITIVES, "flip_rate_f"), best=1.0),
    "flips of f and h, − → +": Row(keys=(*NEGATIVES, "flip_rate"), best=1.0),
    "transfer to h, + → −": Row(keys=(*POSITIVES, "transfer"), best=1.0),
    "structure": Row(keys=(*POSITIVES, "structure"), best=1.0),
    "twin_error": Row(keys=(*POSITIVES, "twin_error"), best=0.0),
    "on_target": Row(keys=("maps", "latent", "on_target"), best=1.0),
    "pixel_auroc_lung": Row(keys=("maps", "latent", "pixel_auroc_lung"), best=1.0),
    "training, ms an image": Row(keys=(), best=0.0),
    "inversion, seconds a film": Row(keys=(), best=0.0),
}


def draw_samples(
    draw: Callable, latent_sizes: tuple[int, int], lent: np.ndarray | None
) -> np.ndarray:
    """Images of which every second is a positive, from the prior [SAMPLES, h, w, 1].

    Args:
      draw: (z_structure, z_class) to images, and how many components these have.
      lent: class latents of films [N, c], for ours; None for N(0, I).
    """
    keys = jax.random.split(jax.random.key(0), 2)
    num_structure, num_class = latent_sizes
    z_structure = jax.random.normal(keys[0], (SAMPLES, num_structure))
    z_class = jax.random.normal(keys[1], (SAMPLES, num_class))
    if lent is not None:
        z_class = lent[np.arange(SAMPLES) // 2 % len(lent)]
    z_class = z_class * (np.arange(SAMPLES) % 2)[:, None]
    return draw(np.asarray(z_structure), np.asarray(z_class))


@precision.exactly
def measure(config: ml_collections.ConfigDict, workdir: Path) -> dict[str, dict]:
    """What no report has: the quality of samples and how long an inversion takes."""
    splits, _ = load_splits(config.data, config.seed)
    networks, explainer = make_gan_networks(config), load_explainer(config, workdir)
    lent = None
    if networks.encoder is not None:
        found = explainer.invert(splits["validation"]["image"][:LENDERS])
        lent = found.z_class[found.margin > 0]
    real = to_unit_range(splits["test"]["image"])
    drawn = draw_samples(explainer.draw, networks.generator.latent_sizes, lent)
    samples, features = (explainer.features(image).astype(np.float64) for image in (drawn, real))
    unit = np.sqrt(np.square(features).mean())  # the kernel wants order 1
    pixels = splits["test"]["image"][: config.explain.batch_size]
    explainer.invert(pixels)  # compiles
    start = time.perf_counter()
    explainer.invert(pixels)
    seconds = (time.perf_counter() - start) / len(pixels)
    pair = samples / unit, features / unit
    return {
        "samples: MMD²": {"mean": metrics.kernel_distance(*pair)},
        "samples: Fréchet distance": {"mean": metrics.frechet_distance(*pair)},
        "samples: spread of a pixel, films = 1": {"mean": spread(drawn) / spread(real)},
        "training, ms an image": {"mean": training_ms(config)},
        "inversion, seconds a film": {"mean": seconds},
    }


def training_ms(config: ml_collections.ConfigDict) -> float:
    """Of a GAN's step, an image, with its share of the lazy penalty."""
    gan, calls = contenders.gan_step(config), config.gan.r1_every
    gan.step()  # which compiles
    start = time.perf_counter()
    for _ in range(calls):
        gan.step()
    return 1000 * (time.perf_counter() - start) / calls / gan.images


def spread(image: np.ndarray) -> float:
    """Standard deviation of a pixel over images, its mean over pixels: 0 where all are the same."""
    return float(image.std(axis=0).mean())


def compare(workdirs: Mapping[str, Path]) -> dict[str, dict]:
    """Every row: the entry of each system, and which is the better."""
    columns = {}
    for system, workdir in workdirs.items():
        report = read_report(workdir)
        columns[system] = measure(ml_collections.ConfigDict(report["config"]), workdir) | {
            name: entry_of(report, row.keys) for name, row in ROWS.items() if row.keys
        }
    table = {}
    for name, row in ROWS.items():
        ours, paper = (columns[system][name] for system in ("ours", "paper"))
        table[name] = {"ours": ours, "paper": paper, "better": better(ours, paper, row.best)}
    return table


def better(ours: Mapping, paper: Mapping, best: float) -> str:
    """Which of two is nearer to the best; "" where either is undefined or the intervals overlap."""
    if None in (ours["mean"], paper["mean"]) or overlap(ours, paper):
        return ""
    one, other = (abs(entry["mean"] - best) for entry in (ours, paper))
    return "" if one == other else "ours" if one < other else "paper"


def to_markdown(results: Mapping) -> str:
    """The table for people."""
    lines = [f"## The paper's system and ours: {results['budgets']}", ""]
    lines += ["Each over the films that it covers. `better`: where the intervals are apart, or"]
    lines += ["where there are none, the smaller distance from the best value.", ""]
    rows = []
    for name, row in results["rows"].items():
        means = row["ours"]["mean"], row["paper"]["mean"]
        apart = "–" if None in means else f"{means[0] - means[1]:+.3f}"
        rows.append([name, cell(row["ours"]), cell(row["paper"]), apart, row["better"]])
    lines += markdown.table(["", "ours", "paper", "ours − paper", "better"], rows)
    return "\n".join(lines) + "\n"


def say_budgets(workdirs: Mapping[str, Path]) -> str:
    """What each was trained with."""
    parts = []
    for system, workdir in workdirs.items():
        config = read_report(workdir)["config"]
        gan, encoder = config["gan"], config["encoder"]
        part = f"{system}, {gan['num_steps']} GAN steps of {gan['batch_size']} films"
        if encoder["num_steps"]:
            part += f" and {encoder['num_steps']} of its encoder's"
        parts.append(f"{part}, {config['explain']['inversion']['num_steps']} steps of inversion")
    return "; ".join(parts)


def plan(options: Options) -> dict[str, tuple[str, list[str]]]:
    """By system its config file and its flags."""
    steps, own = options.own["gan_steps"], options.own["encoder_steps"]
    ours = SETTINGS | {"gan.num_steps": steps, "encoder.num_steps": own}
    paper = SETTINGS | {"gan.num_steps": steps + own}
    return {
        "ours": (options.config_file, [*runs.as_flags(ours), *options.overrides]),
        "paper": (PAPER, [*runs.as_flags(paper), *options.overrides]),
    }


def configs(options: Options) -> dict[str, object]:
    """Both configs."""
    return {system: load_config(file, flags) for system, (file, flags) in plan(options).items()}


def run(options: Options) -> Iterator[dict]:
    """Runs what is missing and measures."""
    workdirs = {system: options.workdir / system for system in ("ours", "paper")}
    for system, (file, flags) in plan(options).items():
        runs.copy_finished(SHARED, workdirs["ours"], workdirs[system])
        runs.run_main(file, workdirs[system], flags)
    yield {"budgets": say_budgets(workdirs), "rows": compare(workdirs)}


STUDY = Study(
    name="paper_vs_ours",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    config="configs/phantom.py",
    workdir="runs/paper_vs_ours",
    flags=(
        Flag(name="gan_steps", default=1400, help="Steps of our GAN."),
        Flag(
            name="encoder_steps",
            default=200,
            help="Steps of our encoder; the paper's GAN gets both.",
        ),
    ),
    configs=configs,
)
