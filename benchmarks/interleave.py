"""Workers timed side by side: they take their steps in turn, so that a busy minute hits them all.

What a worker is told and answers, `protocol.py` says.
"""

import contextlib
import dataclasses
import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cxr_jax.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entrant:
    """A worker before it is started.

    Attributes:
      command: of its process.
      folder: in which that is started: a checkout.
      environment: the whole of it.
      steps: in a round.
    """

    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    steps: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timed:
    """A worker after its rounds.

    Attributes:
      ready_seconds: from its start to its third step.
      devices: on which it runs, as it told.
      images: that a step is worth: of an inversion that takes fifty, a fiftieth of those in it.
      seconds: a step's mean of each round [rounds].
      cores: busy ones, of all rounds.
      peak_gib: memory of its process.
    """

    ready_seconds: float
    devices: str
    images: float
    seconds: np.ndarray
    cores: float
    peak_gib: float


class Worker:
    """A worker's process."""

    def __init__(self, name: str, entrant: Entrant):
        self._name, self._entrant = name, entrant
        self._process = subprocess.Popen(
            entrant.command,
            cwd=entrant.folder,
            env=dict(entrant.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._begun, self._rounds = time.perf_counter(), []

    def _hear(self) -> dict:
        """The next line of JSON; other lines are passed over."""
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise InputError(f"{self._name} ended early, see above; left out by --only=OTHERS")

    def wait(self) -> str:
        """Waits until it has warmed up; returns why it cannot take steps here, "" if it can."""
        self._told = self._hear()
        self._ready_seconds = time.perf_counter() - self._begun
        return "" if self._told["ready"] else self._told["reason"]

    def take_round(self) -> None:
        """Has it take its steps."""
        self._process.stdin.write(f"{self._entrant.steps}\n")
        self._process.stdin.flush()
        self._rounds.append(self._hear())

    def timed(self) -> Timed:
        """What its rounds took."""
        totals = [sum(each["seconds"]) for each in self._rounds]
        return Timed(
            ready_seconds=self._ready_seconds,
            devices=self._told["devices"],
            images=self._told["images"] / self._told["repeats"],
            seconds=np.array(totals) / self._entrant.steps,
            cores=sum(each["cpu_seconds"] for each in self._rounds) / sum(totals),
            peak_gib=self._rounds[-1]["peak_gib"],
        )

    def end(self) -> None:
        """Ends its input, and with it the process."""
        self._process.communicate()


def race(entrants: Mapping[str, Entrant], rounds: int) -> dict[str, Timed | str]:
    """Starts them one after the other, then has each take a round in turn.

    Returns:
      What each took, or why it cannot run here.
    """
    found: dict[str, Timed | str] = {}
    ready: dict[str, Worker] = {}
    with contextlib.ExitStack() as ended:
        for name, entrant in entrants.items():
            worker = Worker(name, entrant)
            ended.callback(worker.end)
            found[name] = worker.wait()
            if not found[name]:
                ready[name] = worker
        for _ in range(rounds):
            for worker in ready.values():
                worker.take_round()
        return found | {name: worker.timed() for name, worker in ready.items()}
