"""How long is each task of a run, from data to figures, here and in another checkout?

Each task is a process of its own, as `main.py --task=TASK` starts it; with `--against` both
checkouts take it, one after the other, in turns as to who is first; one that a checkout does not
have yet is the other's alone, and counts in all. Both begin without compiled programs. The runs are
whole, so that their figures can be compared too.
"""

import dataclasses
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from cxr_jax.errors import InputError
from cxr_jax.runtime.user_path import user_path
from experiments.markdown import entry_table, table
from experiments.reading import read_report
from experiments.results import ROOT
from experiments.study import Flag, Options, Study

GAN_AND_ENCODER = "gan_and_encoder"
ALONE = "alone"
FIGURES = ("flip_rate", "flip_rate_to_positive", "twin_error", "on_target", "pixel_auroc_lung")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """A checkout and where it runs.

    Attributes:
      workdir: of its run.
      programs: where what it has compiled is kept; beside the work directory, where not told.
    """

    checkout: Path
    workdir: Path
    programs: Path | None = None

    def tasks(self) -> list[str]:
        """Those that its `main.py` says it has, in their order.

        Raises:
          InputError: if it says nothing of them.
        """
        help_text = subprocess.run(
            [sys.executable, "main.py", "--helpfull"],
            cwd=self.checkout,
            capture_output=True,
            text=True,
        ).stdout
        named = re.search(r"--task: <all\|([^>]+)>", help_text)
        if not named:
            raise InputError(f"main.py --helpfull of {self.checkout} names no tasks")
        return re.sub(r"\s", "", named[1]).split("|")

    def take(self, task: str, config: str, overrides: tuple[str, ...]) -> dict[str, float]:
        """Runs a task to its end.

        Raises:
          InputError: if it fails; what went wrong is on the terminal.
        """
        main = [sys.executable, "main.py", f"--config={config}", f"--workdir={self.workdir}"]
        programs = self.programs or self.workdir.parent / f"{self.workdir.name}_programs"
        begun = time.perf_counter()
        process = subprocess.Popen(
            [*main, f"--task={task}", *overrides],
            cwd=self.checkout,
            env={**os.environ, "XDG_CACHE_HOME": str(programs)},
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise InputError(f"task {task} of {self.checkout} failed, see above")
        return {
            "seconds": round(time.perf_counter() - begun, 1),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            "peak_gib": round(used.ru_maxrss / 2**20, 2),
        }


def check_new(workdir: Path) -> None:
    """Raises `InputError` if a folder is there: what is done in it would not be timed again."""
    if workdir.exists():
        raise InputError(f"{workdir} is there already; name a new folder by --workdir")


def run(options: Options) -> Iterator[dict]:
    """Task by task, beside the runs that an earlier call timed."""
    sides, kind = {"ours": Side(checkout=ROOT, workdir=options.workdir.absolute() / "ours")}, ALONE
    if options.own["against"]:
        other = user_path(options.own["against"]).absolute()
        sides["other"] = Side(checkout=other, workdir=options.workdir.absolute() / "other")
        kind = f"beside {other.name}"
    for side in sides.values():
        check_new(side.workdir)
    taken = {name: {} for name in sides}
    tasks = {name: side.tasks() for name, side in sides.items()}
    for number, task in enumerate(dict.fromkeys(sum(tasks.values(), []))):
        having = [name for name in sides if task in tasks[name]]
        for name in having[:: -1 if number % 2 else 1]:
            taken[name][task] = sides[name].take(task, options.config_file, options.overrides)
        timed = {"checkouts": taken, "ratio": ratios(taken)}
        yield {**options.known, kind: timed}
    figures = {name: read_figures(side.workdir) for name, side in sides.items()}
    yield {**options.known, kind: timed | {"figures": figures}}


def read_figures(workdir: Path) -> dict[str, dict]:
    """Of a finished run, of whichever version: figures of walks along `linear`, and of its map."""
    report = read_report(workdir)
    walked = report["paths"]["linear"]
    found = (
        walked["pos_to_neg"]["flip_rate"],
        walked["neg_to_pos"]["flip_rate"],
        walked["pos_to_neg"]["twin_error"],
        report["maps"]["latent"]["on_target"],
        report["maps"]["latent"]["pixel_auroc_lung"],
    )
    return dict(zip(FIGURES, found, strict=True))


def ratios(taken: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, float]:
    """Our seconds over the other's: by task of both, of the GAN with its encoder, in all; or {}.

    In the middle of a run `all` is over the tasks that were taken.
    """
    if "other" not in taken:
        return {}
    ours, other = (
        {task: each["seconds"] for task, each in taken[name].items()} for name in ("ours", "other")
    )
    for seconds in (ours, other):
        in_all = sum(seconds.values())
        if "encoder" in seconds:  # not yet in the middle of a run
            seconds[GAN_AND_ENCODER] = seconds["gan"] + seconds["encoder"]
        seconds["all"] = in_all
    both = [task for task in ours if task in other]
    return {task: round(ours[task] / other[task], 3) for task in both}


def to_markdown(results: Mapping[str, Mapping]) -> str:
    """A section for a run alone, and one for each other checkout."""
    return "\n".join(f"## {kind.capitalize()}\n\n{tell(runs)}" for kind, runs in results.items())


def tell(runs: Mapping[str, Mapping]) -> str:
    """One row a task and checkout; the share of each task; ratios and figures where there are."""
    rows = [
        [
            checkout,
            task,
            *(f"{each[figure]:g}" for figure in ("seconds", "cpu_seconds", "peak_gib")),
            f"{each['seconds'] / whole(tasks):.3f}",
        ]
        for checkout, tasks in runs["checkouts"].items()
        for task, each in tasks.items()
    ]
    head = ["checkout", "task", "seconds", "CPU seconds", "peak GiB", "share of all seconds"]
    text = "\n".join(table(head, rows)) + "\n"
    if runs["ratio"]:
        ratio = [[task, f"{share:.2f}"] for task, share in runs["ratio"].items()]
        text += "\n" + "\n".join(table(["task", "ours over the other"], ratio)) + "\n"
    if "figures" in runs:  # not of a run in the middle
        text += f"\n{entry_table(runs['figures'], FIGURES, 'checkout')}\n"
    return text


def whole(tasks: Mapping[str, Mapping[str, float]]) -> float:
    """Seconds of all tasks."""
    return sum(each["seconds"] for each in tasks.values())


STUDY = Study(
    name="make_run",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    config="configs/phantom.py",
    workdir="runs/make_run",
    flags=(Flag(name="against", default="", help="Another checkout, which takes the tasks too."),),
)
