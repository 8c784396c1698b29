"""The loop of every training: steps are taken, logged and saved, and a killed run resumes.

What is learned, and of what, the files beside this one say; it knows neither losses nor networks.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import ml_collections
from clu import metrics as clu_metrics

from cxr_jax.data.arrays import Arrays
from cxr_jax.runtime import interrupts, parallel
from cxr_jax.runtime.checkpoint import Checkpoints
from cxr_jax.runtime.interrupts import Asked, Interrupted
from cxr_jax.runtime.metric_writer import MetricWriter
from cxr_jax.types import Params

State = Any  # a pytree with the number of steps taken as `step`
Step = Callable[[int, State, Arrays], tuple[State, clu_metrics.Collection]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """How long a training is and how often it is heard of.

    Attributes:
      num_steps: 0 saves the state that it begins with.
      batch_size: films in a step, of all devices together.
      log_every, save_every: steps; the last one is logged and saved too.
    """

    num_steps: int
    batch_size: int
    log_every: int
    save_every: int


def make_plan(section: ml_collections.ConfigDict) -> Plan:
    """The plan of a section that has the fields of one."""
    names = (field.name for field in dataclasses.fields(Plan))
    return Plan(**{name: section[name] for name in names})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What is saved beside a state.

    Attributes:
      variables: the networks alone, which is all that other tasks load.
      score: the checkpoint with the highest is the best; of equals the newest.
      figures: recorded beside the averages of the steps.
      sheet: a picture of samples that was drawn beside.
    """

    variables: Params
    score: float
    figures: Mapping[str, float] = dataclasses.field(default_factory=dict)
    sheet: Path | None = None


def make_averages(*names: str) -> type[clu_metrics.Collection]:
    """A collection of averages over a log interval, by these names of a step's scalars."""
    return clu_metrics.Collection.create(
        **{name: clu_metrics.Average.from_output(name) for name in names}
    )


def train(
    directory: Path,
    plan: Plan,
    state: State,
    *,
    step: Step,
    batches: Callable[[int], Iterator[Arrays]],
    snapshot: Callable[[State], Snapshot],
) -> State:
    """Trains to the plan's end, from `state` or from where a killed run was.

    Args:
      directory: of the checkpoints and metrics.jsonl; its name is the training's.
      step: from its number, counted from 1, a state, and a batch that lies on the devices.
      batches: those after so many steps, without end.

    Returns:
      The last state.

    Raises:
      InputError: if what is recorded or to be saved is not finite, or `directory` has gone; the
        state is then not saved.
      Interrupted: if a signal asked for the end; the state is saved.
    """
    checkpoints = Checkpoints(directory)
    state = checkpoints.newest(parallel.replicate(state))
    start = int(state.step)
    if plan.num_steps == 0:
        saved = snapshot(state)
        checkpoints.save(0, state, saved.variables, score=saved.score)
    writer = MetricWriter(
        directory, num_steps=plan.num_steps, batch_size=plan.batch_size, start_step=start
    )
    with closing(writer), interrupts.heard() as asked:
        return _take_steps(
            plan,
            state,
            step,
            batches=batches(start),
            snapshot=snapshot,
            writer=writer,
            checkpoints=checkpoints,
            asked=asked,
        )


def _take_steps(
    plan: Plan,
    state: State,
    step: Step,
    *,
    batches: Iterator[Arrays],
    snapshot: Callable[[State], Snapshot],
    writer: MetricWriter,
    checkpoints: Checkpoints,
    asked: Asked,
) -> State:
    collected = None
    for number in range(int(state.step) + 1, plan.num_steps + 1):
        state, new = step(number, state, parallel.shard(next(batches)))
        collected = collected.merge(new) if collected else new
        signal = asked(number)
        last = signal > 0 or number == plan.num_steps
        saving = last or number % plan.save_every == 0
        saved = snapshot(state) if saving else None
        if last or number % plan.log_every == 0:
            writer.write(number, {**collected.compute(), **(saved.figures if saved else {})})
            collected = None
        if saving:
            writer.check()
            if saved.sheet:
                writer.show_sheet(number, saved.sheet)
            checkpoints.save(number, state, saved.variables, score=saved.score)
        if signal:
            raise Interrupted(
                signal,
                f"{writer.task} was stopped after step {number} of {plan.num_steps} and is saved; "
                "the same command goes on from there",
            )
    return state
