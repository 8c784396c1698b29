"""How long must GAN and encoder train, and what is gained by it? By this their steps are chosen.

Trains them for several numbers of steps and sizes of a batch (the average is over as long a part of
the training, and the encoder's is in proportion), each with the finished classifiers and evaluators
of one run, one after the other, and scores validation films along `linear` and `necessary`. The
seconds are of `main.py`'s two tasks, with start and compilation, so that the machine must be left
alone. Figures of merit are those of `validation`; `partial` is a path's faithfulness. What is
complete is not run again.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import ml_collections

from cxr_jax.data.arrays import load_splits, phantom_spec
from cxr_jax.errors import InputError
from cxr_jax.evaluate import faithfulness
from cxr_jax.explain.explained import Calibration, Explained
from cxr_jax.explain.explainer import Explainer
from cxr_jax.pipeline.calibrate import calibrate
from cxr_jax.pipeline.explain import explain_test, load_explainer
from cxr_jax.runtime import precision
from cxr_jax.runtime.workdir import read_json, write_json
from experiments import runs
from experiments.markdown import entry_table
from experiments.reading import BOOTSTRAP, check_done, check_phantoms
from experiments.studies import validation
from experiments.study import Flag, Options, Study

SHARED = ("classifier", "evaluators")  # tasks of the source that every run copies
TIMED = ("gan", "encoder")
PATHS = ("linear", "necessary")
TRAININGS = ("350x32", "700x32", "1400x16", "1400x32")
SECONDS = "seconds.json"  # of a run, beside its tasks
COLUMNS = ("flip_rate", "flip_rate_to_positive", "twin_error", "on_target", "partial")


def scaled(config: ml_collections.ConfigDict, num_steps: int, batch: int) -> dict[str, float | int]:
    """The fields of a shorter or longer training: the average and the encoder in proportion."""
    share = num_steps / config.gan.num_steps
    return {
        "gan.num_steps": num_steps,
        "gan.batch_size": batch,
        "gan.ema_half_life": round(config.gan.ema_half_life * share, 1),
        "encoder.num_steps": round(config.encoder.num_steps * share),
    }


def train(config: str, workdir: Path, *, source: Path, flags: Sequence[str]) -> dict[str, float]:
    """Runs both tasks; their seconds, also of a run that was finished before."""
    runs.copy_finished(SHARED, source, workdir)
    taken = read_json(workdir / SECONDS) if (workdir / SECONDS).exists() else {}
    for task in TIMED:
        if task not in taken:
            begun = time.perf_counter()
            runs.run_main(config, workdir, [f"--task={task}", *flags])
            taken[task] = round(time.perf_counter() - begun, 1)
            write_json(workdir / SECONDS, taken)
    return taken


def score_path(
    path: str,
    explained: Explained,
    calibration: Calibration,
    *,
    films: Sequence[faithfulness.Valued],
) -> dict[str, dict]:
    """The figures of walks along one path, of films that pass the gate."""
    positives, negatives = (explained.groups[name] for name in ("pos_to_neg", "neg_to_pos"))
    change = positives.walks[path].change
    faithful = faithfulness.summarise(faithfulness.score_maps({path: change}, films), BOOTSTRAP)
    figures = validation.summarise(positives, negatives, calibration, path=path)
    return figures | {"partial": faithful[path]["partial"]}


def score(
    explainer: Explainer, splits: Mapping, config: ml_collections.ConfigDict
) -> dict[str, dict]:
    """By path, the figures on validation films."""
    calibration = calibrate(explainer, splits, config.explain, seed=config.seed)
    explained = explain_test(explainer, splits["validation"], calibration, section=config.explain)
    if 0 in explained.coverage.values():
        return {path: dict.fromkeys(COLUMNS, validation.NONE_COVERED) for path in PATHS}
    spec = phantom_spec(config.data, "validation")
    patients = explained.groups["pos_to_neg"].truth["patient_id"]
    films = faithfulness.value_films(patients, spec, explainer.classify)
    return {path: score_path(path, explained, calibration, films=films) for path in PATHS}


@precision.exactly
def measure(config: ml_collections.ConfigDict, workdir: Path) -> dict[str, dict]:
    """The figures of one run's GAN."""
    splits, _ = load_splits(config.data, config.seed)
    return score(load_explainer(config, workdir, prior=False), splits, config)


def read_training(name: str) -> tuple[int, int]:
    """Steps and films a step, of "1400x32".

    Raises:
      InputError: if it is none.
    """
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", name)
    if not found:
        raise InputError(f"--trainings={name} is none; write STEPSxFILMS, such as 1400x32")
    return int(found[1]), int(found[2])


def run(options: Options) -> Iterator[dict]:
    """Trains and measures; the trainings so far, beside those of an earlier call."""
    source = Path(options.own["source"])
    for task in SHARED:
        check_done(source, task)
    check_phantoms(options.config, options.config_file)
    results = dict(options.known)
    for name in options.own["trainings"]:
        steps, batch = read_training(name)
        workdir = options.workdir / name
        flags = [*options.overrides, *runs.as_flags(scaled(options.config, steps, batch))]
        seconds = train(options.config_file, workdir, source=source, flags=flags)
        config = validation.along(validation.read_config(workdir), options.own["images"], PATHS)
        results[name] = {"seconds": seconds, "figures": measure(config, workdir)}
        yield dict(sorted(results.items(), key=lambda item: read_training(item[0])))


def to_markdown(results: Mapping[str, Mapping]) -> str:
    """One table a path: steps and seconds against figures."""
    lines = []
    for path in PATHS:
        rows = {
            f"{name}, {sum(entry['seconds'].values()):.0f} s": entry["figures"][path]
            for name, entry in results.items()
        }
        lines += [
            f"## Validation films, path `{path}`",
            "",
            entry_table(rows, COLUMNS, "steps x films, GAN and encoder"),
            "",
        ]
    return "\n".join(lines)


STUDY = Study(
    name="time_to_quality",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    config="configs/phantom.py",
    workdir="runs/time_to_quality",
    flags=(
        Flag(name="source", default="runs/phantom", help="The finished run of the classifiers."),
        Flag(name="trainings", default=TRAININGS, help="Of the GAN: steps x films in each."),
        Flag(name="images", default=200, help="Validation films, half of them called positive."),
    ),
)
