"""Does a run survive what happens to runs: kills, signals, damaged files?

Small runs of all tasks are started as a user starts them, killed at random moments and started
again, until they come to their end; the same with SIGTERM. Every trained network must then be, bit
for bit, that of a run which was left alone. And of a finished run the checkpoints are damaged, one
file at a time: what reads them must name the damage and use nothing of it.

  kills, terms  how many signals were sent, to how many runs, and how many of these ended with the
                same networks; `lost`, the runs that did not
  damaged       how many checkpoints were damaged, named in one line, and used all the same
"""

import dataclasses
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import ml_collections
import numpy as np

from cxr_jax.networks import restore
from cxr_jax.runtime.workdir import read_json
from experiments import markdown, runs
from experiments.study import Flag, Options, Study

STARTING = 10.0  # seconds in which a run does nothing yet
LONGEST = 300.0  # that a run may take to end after a signal, before the study gives up


# 1. Runs that are interrupted.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interruption:
    """What became of one signal.

    Attributes:
      status: of the process; negative where the signal itself ended it.
      seconds: until it had ended.
      saved: whether it said that a training was saved.
    """

    status: int
    seconds: float
    saved: bool


def interrupt(process: subprocess.Popen, number: int, after: float) -> Interruption | None:
    """Sends a signal after so many seconds; None where the run had ended before."""
    try:
        process.communicate(timeout=after)
        return None
    except subprocess.TimeoutExpired:
        process.send_signal(number)
    start = time.monotonic()
    said, _ = process.communicate(timeout=LONGEST)
    return Interruption(
        status=process.returncode,
        seconds=time.monotonic() - start,
        saved="is saved; the same command goes on" in said,
    )


def harass(
    start: Callable[[], subprocess.Popen], number: int, *, times: int, whole: float, seed: str
) -> list[Interruption]:
    """Starts a run again and again, until it has got so many signals, and then lets it end.

    Args:
      whole: seconds that an undisturbed run takes; the signals are spread over as many.
    """
    rng, found = random.Random(seed), []
    while len(found) < times:
        happened = interrupt(start(), number, after=rng.uniform(0, 1.5 * whole / times + STARTING))
        if happened is None:
            break
        found.append(happened)
    last = start()
    said, _ = last.communicate()
    if last.returncode:
        raise RuntimeError(f"a run did not come to its end: {said[-1000:]}")
    return found


def digests(workdir: Path) -> dict[str, str]:
    """SHA-256 of every trained network of a run."""
    return restore.digests(ml_collections.ConfigDict(read_json(workdir / "config.json")), workdir)


def count(found: Mapping[str, list[Interruption]], same: Mapping[str, bool]) -> dict:
    """The row of one signal.

    Args:
      found, same: by name of the run, its interruptions, and whether its networks are as they were
        to be.
    """
    every = [one for interruptions in found.values() for one in interruptions]
    return {
        "signals": len(every),
        "runs": len(found),
        "identical": sum(same.values()),
        "lost": [name for name, is_same in same.items() if not is_same],
        "saved": sum(one.saved for one in every),
        "statuses": sorted({one.status for one in every}),
        "longest_seconds": max((round(one.seconds, 1) for one in every), default=None),
    }


# 2. Damaged checkpoints.


def cut(path: Path) -> None:
    """Half of the file is missing."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    """The file is there, with nothing in it."""
    path.write_bytes(b"")


def flip(path: Path) -> None:
    """One bit is another."""
    content = np.fromfile(path, np.uint8)
    content[len(content) // 2] ^= 16
    content.tofile(path)


DAMAGES = {"cut": cut, "emptied": empty, "bit flipped": flip, "missing": Path.unlink}


def data_files(checkpoint: Path) -> list[Path]:
    """The files of a checkpoint's networks, the largest first, and its description."""
    files = [path for path in (checkpoint / "variables").rglob("*") if path.is_file()]
    files.sort(key=lambda path: -path.stat().st_size)
    return [files[0], checkpoint / "_CHECKPOINT_METADATA"]


def damage(workdir: Path, copy: Path, explain: Callable[[Path], subprocess.Popen]) -> list[dict]:
    """Damages the best checkpoints of copies of a finished run, and has films explained."""
    found = []
    for network in ("gan", "encoder"):
        for place in range(2):
            for kind, spoil in DAMAGES.items():
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(workdir, copy)
                checkpoints = copy / network / "checkpoints"
                newest = max(checkpoints.iterdir(), key=lambda path: int(path.name))
                file = data_files(newest)[place]
                spoil(file)
                process = explain(copy)
                said, _ = process.communicate()
                lines = [line for line in said.splitlines() if "is damaged" in line]
                found.append(
                    {
                        "file": str(file.relative_to(newest)),
                        "network": network,
                        "damage": kind,
                        "status": process.returncode,
                        "named": len(lines) == 1 and str(newest) in lines[0],
                        "traceback": "Traceback" in said,
                    }
                )
    shutil.rmtree(copy)
    return found


def count_damaged(found: list[dict]) -> dict:
    """The row of damaged checkpoints."""
    return {
        "checkpoints": len(found),
        "named": sum(one["named"] and one["status"] == 2 for one in found),
        "used": sum(one["status"] == 0 for one in found),
        "tracebacks": sum(one["traceback"] for one in found),
        "others": [
            one for one in found if one["traceback"] or not one["named"] or one["status"] != 2
        ],
    }


# 3. All of it.


def to_markdown(results: Mapping[str, Mapping]) -> str:
    """Two tables for people."""
    signals = [
        [
            name,
            *(f"{row[key]}" for key in ("signals", "runs", "identical", "saved")),
            ", ".join(map(str, row["statuses"])),
            f"{row['longest_seconds']}",
        ]
        for name, row in results.items()
        if name != "damaged"
    ]
    head = ["signal", "sent", "runs", "with the same networks", "saved first", "statuses"]
    lines = ["## Faults", "", *markdown.table([*head, "longest until the end, s"], signals)]
    if "damaged" in results:
        row = results["damaged"]
        lines += [
            "",
            f"Of {row['checkpoints']} damaged checkpoints {row['named']} were named in one line "
            f"with status 2, {row['used']} used all the same; {row['tracebacks']} tracebacks.",
        ]
    return "\n".join(lines) + "\n"


def run(options: Options) -> Iterator[dict]:
    """Starts runs and troubles them; of a signal that is sent no times the row is kept."""

    def starter(name: str, *flags: str) -> Callable[[], subprocess.Popen]:
        own = [*options.overrides, *flags]
        return lambda: runs.start_main(options.config_file, options.workdir / name, own)

    undisturbed = options.workdir / "undisturbed"
    starter("undisturbed")().communicate()  # which also compiles for all others
    shutil.rmtree(undisturbed)
    began = time.monotonic()
    starter("undisturbed")().communicate()
    whole, wanted, results = time.monotonic() - began, digests(undisturbed), dict(options.known)
    for label, number in (("SIGKILL", signal.SIGKILL), ("SIGTERM", signal.SIGTERM)):
        found, same = {}, {}
        left = options.own["kills"] if label == "SIGKILL" else options.own["terms"]
        while left > 0:
            name = f"{label.lower()}{len(found)}"
            found[name] = harass(starter(name), number, times=min(left, 10), whole=whole, seed=name)
            left -= max(len(found[name]), 1)
            same[name] = digests(options.workdir / name) == wanted
            results[label] = count(found, same)
            yield results
    copy = options.workdir / "damaged"
    explain = lambda workdir: runs.start_main(
        options.config_file,
        workdir,
        [*options.overrides, "--task=explain", "--config.explain.num_images=4"],
    )
    results["damaged"] = count_damaged(damage(undisturbed, copy, explain))
    yield results


STUDY = Study(
    name="faults",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    config="configs/phantom.py:tiny",
    workdir="runs/faults",
    flags=(
        Flag(name="kills", default=30, help="How many times a run is killed."),
        Flag(name="terms", default=10, help="How many times a run gets SIGTERM."),
    ),
)
