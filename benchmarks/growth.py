"""How does the cost of an image grow with its size, the batch, the devices and the films?

Steps as `throughput` times them, in turns; a group holds one step at several values of one field,
and a round of the GAN's as many steps as its lazy penalty comes once in, but for the largest films.
Films are explained by `main.py --task=explain` of a finished run, as many as each row says, from
its start to its figures, with programs that a call before has compiled. What the same steps cost on
a TPU, `tpu_check` tells.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from benchmarks.interleave import Entrant, Timed, race
from benchmarks.make_run import Side, check_new
from benchmarks.throughput import R1_EVERY, Ours, cells, describe
from cxr_jax.cli import TASKS
from cxr_jax.errors import InputError
from cxr_jax.runtime.user_path import user_path
from experiments import runs
from experiments.markdown import table
from experiments.reading import check_done
from experiments.results import ROOT
from experiments.study import Flag, Options, Study

SIZES, BATCHES, DEVICES, FILMS = (64, 128, 256), (8, 16, 32, 64), (1, 2, 4), (16, 64, 256)
GROUPS = ("gan_size", "gan_batch", "gan_devices", "inversion_batch")
TRAINED = tuple(task for task in TASKS if task != "explain")  # which explaining stands on
FILM_COUNT = "config.explain.num_images"


def steps_of(group: str) -> dict[int, Ours]:
    """By the field's value, the step that is timed."""
    if group == "gan_size":
        return {
            size: Ours(name="gan", overrides=(f"--config.data.image_size={size}",), steps=steps)
            for size, steps in zip(SIZES, (R1_EVERY, R1_EVERY, 4), strict=True)
        }
    if group == "gan_batch":
        return {
            rows: Ours(name="gan", overrides=(f"--config.gan.batch_size={rows}",), steps=R1_EVERY)
            for rows in BATCHES
        }
    if group == "gan_devices":
        return dict.fromkeys(DEVICES, Ours(name="gan", steps=R1_EVERY))
    return {
        rows: Ours(
            name="inversion",
            overrides=(f"--config.explain.batch_size={rows}",),
            steps=max(64 // rows, 1),
        )
        for rows in BATCHES
    }


def measure(group: str, rounds: int) -> dict[str, dict]:
    """A row for each value of the field; how much an image costs, beside the first's."""
    entrants = {}
    for value, step in steps_of(group).items():
        entrant = step.entrant(ROOT)
        if group == "gan_devices":
            entrant = _with_devices(entrant, value)
        entrants[str(value)] = entrant
    found = race(entrants, rounds)
    first = next(iter(found.values()))
    return {value: describe(each) | {"cost": cost(each, first)} for value, each in found.items()}


def _with_devices(entrant: Entrant, number: int) -> Entrant:
    environment = {**entrant.environment, "JAX_NUM_CPU_DEVICES": str(number)}
    return dataclasses.replace(entrant, environment=environment)


def cost(timed: Timed, first: Timed) -> float:
    """Seconds an image over the first's: the median of the rounds' own ratios."""
    each = (timed.seconds / timed.images) / (first.seconds / first.images)
    return float(f"{np.median(each):.3g}")


def explain(source: Path, workdir: Path, config: str, *, overrides: tuple[str, ...]) -> dict:
    """A row for each number of films: the whole task, with programs kept from a first call.

    Raises:
      InputError: if an earlier call has explained there, which would not be done again.
    """
    found = {}
    for films in (FILMS[0], *FILMS):  # the first again: its programs are compiled by then
        run = Side(
            checkout=ROOT,
            workdir=workdir / f"films{films}{'_first' * (not found)}",
            programs=workdir / "programs",
        )
        check_new(run.workdir)
        runs.copy_finished(TRAINED, source, run.workdir)
        taken = run.take("explain", config, (*overrides, f"--{FILM_COUNT}={films}"))
        found[str(films)] = taken | {"seconds_a_film": round(taken["seconds"] / films, 2)}
    return found


def run(options: Options) -> Iterator[dict]:
    """Group by group, then the films."""
    names = options.own["only"] or (*GROUPS, "films")
    if unknown := [name for name in names if name not in (*GROUPS, "films")]:
        raise InputError(f"--only={unknown[0]}: the groups are {', '.join((*GROUPS, 'films'))}")
    results = dict(options.known)
    for name in names:
        if name == "films":
            source = user_path(options.own["source"])
            for task in TRAINED:
                check_done(source, task)
            results[name] = explain(
                source.absolute(),
                options.workdir.absolute(),
                options.config_file,
                overrides=options.overrides,
            )
        else:
            results[name] = measure(name, options.own["rounds"])
        yield dict(results)


def to_markdown(results: Mapping[str, Mapping]) -> str:
    """A table a group."""
    parts = []
    for name, rows in results.items():
        if name == "films":
            head = ["films explained", "seconds", "seconds a film", "CPU seconds", "peak GiB"]
            figures = ("seconds", "seconds_a_film", "cpu_seconds", "peak_gib")
            body = [[value, *(f"{row[each]:g}" for each in figures)] for value, row in rows.items()]
        else:
            head = [name, "images/s", "busy cores", "peak memory, GiB", "ready after s", "cost"]
            body = [[value, *cells(row), f"{row['cost']:g}"] for value, row in rows.items()]
        parts.append("\n".join(table(head, body)))
    return "\n\n".join(parts) + "\n\n`cost`: seconds an image over those of the first row.\n"


STUDY = Study(
    name="growth",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    config="configs/phantom.py",
    workdir="runs/growth",
    flags=(
        Flag(name="rounds", default=5, help="In which the workers of a group take turns."),
        Flag(name="only", default=(), help=f"Groups, of {', '.join(GROUPS)}, films; empty: all."),
        Flag(name="source", default="runs/phantom", help="The finished run that explains films."),
    ),
)
