"""The loop of every training: steps are taken, logged and saved, and a killed run resumes.

What is learned, and of what, the `train_*` files say; this one knows neither losses nor networks.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from clu import metrics as clu_metrics

from cxr_jax import parallel
from cxr_jax.checkpoint import Checkpoints
from cxr_jax.data import Arrays
from cxr_jax.records import Recorder
from cxr_jax.types import Params

State = Any  # a pytree with the number of steps taken as `step`
Step = Callable[[int, State, Arrays], tuple[State, clu_metrics.Collection]]


class Plan(NamedTuple):
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


class Snapshot(NamedTuple):
    """What is saved beside a state.

    Attributes:
      variables: the networks alone, which is all that other tasks load.
      score: the checkpoint with the highest is the best; of equals the newest.
      figures: recorded beside the averages of the steps.
    """

    variables: Params
    score: float
    figures: Mapping[str, float] = MappingProxyType({})


def train(
    directory: Path,
    plan: Plan,
    state: State,
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
      InputError: if what is recorded is not finite; the state is then not saved.
    """
    with closing(Checkpoints(directory)) as checkpoints:
        state = checkpoints.newest(parallel.replicate(state))
        start = int(state.step)
        if plan.num_steps == 0:
            variables, score, _ = snapshot(state)
            checkpoints.save(0, state, variables, score)
        recorder = Recorder(directory, directory.name, plan.num_steps, plan.batch_size, start)
        with closing(recorder):
            return _take_steps(plan, state, step, batches(start), snapshot, recorder, checkpoints)


def _take_steps(
    plan: Plan,
    state: State,
    step: Step,
    batches: Iterator[Arrays],
    snapshot: Callable[[State], Snapshot],
    recorder: Recorder,
    checkpoints: Checkpoints,
) -> State:
    collected = None
    for number in range(int(state.step) + 1, plan.num_steps + 1):
        state, new = step(number, state, parallel.shard(next(batches)))
        collected = collected.merge(new) if collected else new
        last, figures = number == plan.num_steps, {}
        saving = last or number % plan.save_every == 0
        if saving:
            variables, score, figures = snapshot(state)
        if last or number % plan.log_every == 0:
            recorder.write(number, {**collected.compute(), **figures})
            collected = None
        if saving:
            checkpoints.save(number, state, variables, score)
    return state
