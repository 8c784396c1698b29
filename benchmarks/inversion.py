"""Encoder and a few steps against a thousand steps of Adam from scratch: error and time.

    python benchmarks/inversion.py --config=configs/phantom.py --workdir=runs/phantom

Inverts the first test films with the networks of a finished run, by the encoder alone, with its
corrections, with refinement, with both as explaining does, and from the origin with both latents
free: the same error, by Adam with its usual memory. Each is timed after a call that compiles, and
the fastest of some calls counts. Writes benchmarks/results/inversion.json and .md.
"""

import functools
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import ml_collections
import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import runs  # noqa: E402
from benchmarks.markdown import cell  # noqa: E402
from cxr_jax.data import arrays
from cxr_jax.explain import films
from cxr_jax.explain import inversion
from cxr_jax import metrics
from cxr_jax.runtime import parallel
from cxr_jax.runtime import precision
from cxr_jax.evaluate import scores
from cxr_jax.explain import explainer
from cxr_jax.training import classifier
from cxr_jax.data.arrays import to_unit_range
from cxr_jax.types import Pixels
from cxr_jax.explain.traversal import carry

BOOTSTRAP = (2000, 0)
TIMED = 2  # calls
SCRATCH = dict(
    **dict(start="origin", num_steps=1000, learning_rate=0.03, beta1=0.9, beta2=0.999),
    **dict(keep_change=False, severity_share=1.0),
)
COLUMNS = (
    *("rmse", "rmse_less_scratch", "rmse_of_positives", "rmse_of_negatives"),
    *("margin_error", "flips_at_origin", "twin_error"),
)


def twin_error(found: films.Films, twin: Pixels | None) -> np.ndarray:
    """Of the positives with the change to the origin carried onto them; NaN without lesions."""
    if twin is None:
        return np.array([])
    positive = found.margin > 0
    _, carried = np.asarray(carry(found.image, np.stack([found.drawn, found.origin])))
    truth = np.asarray(to_unit_range(twin))
    rows = zip(carried[positive], truth[positive], found.image[positive], strict=True)
    return np.array([metrics.relative_error(*row) for row in rows])


def measure(
    found: films.Films, scratch: films.Films, twin: Pixels | None = None
) -> dict[str, dict]:
    """Errors of inverted films: pixels on the [-1, 1] scale, margins in logits."""
    error, positive = films.rms(found.drawn - found.image), found.margin > 0
    less = error - films.rms(scratch.drawn - scratch.image)
    off = np.abs(found.drawn_margin - found.margin)
    return {
        "rmse": metrics.summarise(error, *BOOTSTRAP),
        "rmse_less_scratch": metrics.summarise(less, *BOOTSTRAP),
        "rmse_of_positives": metrics.summarise(error[positive], *BOOTSTRAP),
        "rmse_of_negatives": metrics.summarise(error[~positive], *BOOTSTRAP),
        "margin_error": metrics.summarise(off, *BOOTSTRAP),
        "twin_error": metrics.summarise(twin_error(found, twin), *BOOTSTRAP, scores.NO_TWIN),
    }


def timed(call: Callable[[], films.Films]) -> tuple[films.Films, float]:
    """What a call returns, and the seconds of the fastest of `TIMED` after one that compiles."""
    found, seconds = call(), []
    for _ in range(TIMED):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return found, min(seconds)


@precision.exactly
def run(config: ml_collections.ConfigDict, workdir: Path, count: int) -> dict[str, dict]:
    """Every way of inverting, by name."""
    splits, _ = arrays.load_splits(config.data, config.seed)
    networks, (judge, _), trained = load_trained(config, workdir, splits)
    test = {name: rows[:count] for name, rows in splits["test"].items()}
    pixels, twin = test["image"], test.get("twin")
    chosen = inversion.make_settings(config.explain.inversion)
    scratch = f"{SCRATCH['num_steps']} steps from the origin"
    ways = {
        "encoder": chosen._replace(num_steps=0, corrections=0),
        f"encoder, corrections: {chosen.corrections}": chosen._replace(num_steps=0),
        f"encoder, steps: {chosen.num_steps}": chosen._replace(corrections=0),
        f"encoder, corrections: {chosen.corrections}, steps: {chosen.num_steps}": chosen,
        scratch: chosen._replace(**SCRATCH),
    }
    found, seconds = {}, {}
    for name, settings in ways.items():
        invert_batch = films.make_invert(networks, judge, settings)
        call = parallel.in_batches(invert_batch, 1, config.explain.batch_size)
        found[name], seconds[name] = timed(functools.partial(call, trained, pixels))
    ask = make_margins(networks.classifier)
    table = {}
    for name, each in found.items():
        origin = np.uint8((each.origin + 1) * 127.5 + 0.5)
        said = ask(trained.classifier, origin)[each.margin > 0]
        flips = metrics.summarise((said <= 0).astype(float), *BOOTSTRAP)
        table[name] = measure(each, found[scratch], twin) | {
            "flips_at_origin": flips,
            "seconds_per_film": seconds[name] / count,
            "share_of_scratch_time": seconds[name] / seconds[scratch],
        }
    return table


def to_markdown(table: Mapping[str, Mapping], count: int) -> str:
    """The table for people."""
    lines = [
        f"## Inversion of {count} test films",
        "",
        "`flips_at_origin`: share of positives whose G(z_structure, 0) f calls negative; without",
        "it an inversion cannot be walked, however well it reconstructs. `rmse_less_scratch`: film",
        "by film, less that of the last row. `twin_error`: of positives with the change to",
        "G(z_structure, 0) carried onto them.",
        "",
        "| | " + " | ".join(COLUMNS) + " | ms a film | share of the last row's time |",
        "|---" * (len(COLUMNS) + 3) + "|",
    ]
    for name, row in table.items():
        cells = " | ".join(cell(row[column]) for column in COLUMNS)
        time_taken = f"{1000 * row['seconds_per_film']:.0f} | {row['share_of_scratch_time']:.4f}"
        lines.append(f"| {name} | {cells} | {time_taken} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Measures and writes."""
    del argv
    logging.set_verbosity(logging.WARNING)  # Orbax narrates every load
    if flags.FLAGS.config.explain.inversion.start != "encoder":
        sys.exit("inversion.py: config.explain.inversion.start must be 'encoder', the first rows'")
    runs.check_finished(flags.FLAGS.config, Path(flags.FLAGS.workdir), "encoder")
    count = flags.FLAGS.images
    config = flags.FLAGS.config
    table = run(config, Path(flags.FLAGS.workdir), count)
    content = {"config": config.to_dict(), "rows": table}
    runs.write_results(Path(flags.FLAGS.out), "inversion", content, to_markdown(table, count))


if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", "configs/phantom.py", "The experiment.")
    flags.DEFINE_string("workdir", "runs/phantom", "A finished run.")
    flags.DEFINE_integer("images", 64, "Test films inverted.")
    flags.DEFINE_string("out", "benchmarks/results", "Folder of the results.")
    app.run(main)
