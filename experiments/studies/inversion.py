"""Does an encoder with a few steps invert as well as a thousand steps of Adam, and how much sooner?

Inverts the first test films with the networks of a finished run, by the encoder alone, with its
corrections, with refinement, with both as explaining does, and from the origin with both latents
free: the same error, by Adam with its usual memory. Each is timed after a call that compiles, and
the fastest of some calls counts.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import ml_collections
import numpy as np

from cxr_jax import metrics
from cxr_jax.data.arrays import load_splits, to_unit_range
from cxr_jax.errors import InputError
from cxr_jax.evaluate import scores
from cxr_jax.explain import films, inversion
from cxr_jax.explain.films import Films
from cxr_jax.explain.traversal import carry
from cxr_jax.networks import restore
from cxr_jax.report.arrays import to_pixels
from cxr_jax.runtime import parallel, precision
from cxr_jax.types import Pixels
from experiments.markdown import cell, table
from experiments.reading import BOOTSTRAP, check_finished
from experiments.study import Flag, Options, Study

TIMED = 2  # calls
SCRATCH = dict(
    **dict(start="origin", num_steps=1000, learning_rate=0.03, beta1=0.9, beta2=0.999),
    **dict(alternate_lesion_free_steps=False, z_class_lr_scale=1.0),
)
COLUMNS = (
    *("rmse", "rmse_less_scratch", "rmse_of_positives", "rmse_of_negatives"),
    *("margin_error", "flips_at_origin", "twin_error"),
)


def twin_error(found: Films, twin: Pixels | None) -> np.ndarray:
    """Of the positives with the change to the origin carried onto them; NaN without lesions."""
    if twin is None:
        return np.array([])
    positive = found.margin > 0
    _, carried = np.asarray(carry(found.image, np.stack([found.drawn, found.origin])))
    truth = np.asarray(to_unit_range(twin))
    rows = zip(carried[positive], truth[positive], found.image[positive], strict=True)
    return np.array([metrics.relative_error(*row) for row in rows])


def measure(found: Films, scratch: Films, twin: Pixels | None = None) -> dict[str, dict]:
    """Errors of inverted films: pixels on the [-1, 1] scale, margins in logits."""
    error, positive = films.rms(found.drawn - found.image), found.margin > 0
    less = error - films.rms(scratch.drawn - scratch.image)
    off = np.abs(found.drawn_margin - found.margin)
    return {
        "rmse": metrics.summarise(error, BOOTSTRAP),
        "rmse_less_scratch": metrics.summarise(less, BOOTSTRAP),
        "rmse_of_positives": metrics.summarise(error[positive], BOOTSTRAP),
        "rmse_of_negatives": metrics.summarise(error[~positive], BOOTSTRAP),
        "margin_error": metrics.summarise(off, BOOTSTRAP),
        "twin_error": metrics.summarise(twin_error(found, twin), BOOTSTRAP, scores.NO_TWIN),
    }


def timed(call: Callable[[], Films]) -> tuple[Films, float]:
    """What a call returns, and the seconds of the fastest of `TIMED` after one that compiles."""
    found, seconds = call(), []
    for _ in range(TIMED):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return found, min(seconds)


@precision.exactly
def compare(config: ml_collections.ConfigDict, workdir: Path, count: int) -> dict[str, dict]:
    """Every way of inverting, by name."""
    splits, _ = load_splits(config.data, config.seed)
    models = restore.load_without_prior(config, workdir)
    test = {name: rows[:count] for name, rows in splits["test"].items()}
    pixels, twin = test["image"], test.get("twin")
    chosen = inversion.make_settings(config.explain.inversion)
    scratch = f"{SCRATCH['num_steps']} steps from the origin"
    vary = functools.partial(dataclasses.replace, chosen)
    ways = {
        "encoder": vary(num_steps=0, corrections=0),
        f"encoder, corrections: {chosen.corrections}": vary(num_steps=0),
        f"encoder, steps: {chosen.num_steps}": vary(corrections=0),
        f"encoder, corrections: {chosen.corrections}, steps: {chosen.num_steps}": chosen,
        scratch: vary(**SCRATCH),
    }
    found, seconds = {}, {}
    for name, settings in ways.items():
        call = parallel.in_batches(films.make_invert(settings), config.explain.batch_size)
        found[name], seconds[name] = timed(functools.partial(call, models, pixels))
    rows = {}
    for name, each in found.items():
        logits = restore.margins(models.classifier, to_pixels(each.origin))[each.margin > 0]
        rows[name] = measure(each, found[scratch], twin) | {
            "flips_at_origin": metrics.summarise((logits <= 0).astype(float), BOOTSTRAP),
            "seconds_per_film": seconds[name] / count,
            "share_of_scratch_time": seconds[name] / seconds[scratch],
        }
    return rows


def to_markdown(results: Mapping) -> str:
    """The table for people."""
    count = next(iter(results["rows"].values()))["rmse"]["images"]
    lines = [
        f"## Inversion of {count} test films",
        "",
        "`flips_at_origin`: share of positives whose G(z_structure, 0) f calls negative; without",
        "it an inversion cannot be walked, however well it reconstructs. `rmse_less_scratch`: film",
        "by film, less that of the last row. `twin_error`: of positives with the change to",
        "G(z_structure, 0) carried onto them.",
        "",
    ]
    rows = []
    for name, row in results["rows"].items():
        times = f"{1000 * row['seconds_per_film']:.0f}", f"{row['share_of_scratch_time']:.4f}"
        rows.append([name, *(cell(row[column]) for column in COLUMNS), *times])
    lines += table(["", *COLUMNS, "ms a film", "share of the last row's time"], rows)
    return "\n".join(lines) + "\n"


def run(options: Options) -> Iterator[dict]:
    """Measures."""
    config, count = options.config, options.own["images"]
    if config.explain.inversion.start != "encoder":
        raise InputError("config.explain.inversion.start must be 'encoder', as in the first rows")
    check_finished(config, options.workdir, "encoder")
    rows = compare(config, options.workdir, count)
    yield {"config": config.to_dict(), "rows": rows}


STUDY = Study(
    name="inversion",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    config="configs/phantom.py",
    workdir="runs/phantom",
    flags=(Flag(name="images", default=64, help="Test films inverted."),),
)
