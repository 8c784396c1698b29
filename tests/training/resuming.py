"""A training that dies and goes on ends in the very state of one that was left alone."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from cxr_jax.data import arrays
from cxr_jax.runtime.checkpoint import Checkpoints


class Killed(Exception):
    """What ends a run here; a real one gets a signal, see test_end_to_end.py."""


def killed_after(steps: int) -> Callable:
    """`arrays.train_batches`, at whose end the run dies."""

    def batches(*arguments, **keywords):
        yield from itertools.islice(arrays.train_batches(*arguments, **keywords), steps)
        raise Killed

    return batches


def read_metrics(directory: Path) -> list[dict]:
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in lines]


def keep_saved_states(monkeypatch) -> list[list[np.ndarray]]:
    """A list that grows by the arrays of each state that is saved from now on."""
    saved, save = [], Checkpoints.save

    def save_and_keep(self, step, state, *arguments, **options):
        saved.append([np.array(leaf) for leaf in jax.tree.leaves(state)])
        save(self, step, state, *arguments, **options)

    monkeypatch.setattr(Checkpoints, "save", save_and_keep)
    return saved


def assert_resumes(run: Callable, module, monkeypatch, tmp_path: Path, task: str = "") -> None:
    """`run(workdir)` trains for 6 steps and saves every 2: it dies before the 6th, and goes on.

    Args:
      module: which asks for the batches.
      task: the folder in `workdir` that it trains in.
    """
    saved = keep_saved_states(monkeypatch)
    run(tmp_path / "undisturbed")
    with monkeypatch.context() as patch:
        patch.setattr(module, "train_batches", killed_after(5))
        with pytest.raises(Killed):
            run(tmp_path / "killed")
    run(tmp_path / "killed")
    assert len(saved) == 3 + 2 + 1
    undisturbed, resumed = saved[2], saved[-1]
    for one, other in zip(undisturbed, resumed, strict=True):
        np.testing.assert_array_equal(one, other)
    assert any((one != other).any() for one, other in zip(saved[1], undisturbed, strict=True))
    one, other = (read_metrics(tmp_path / name / task) for name in ("undisturbed", "killed"))
    assert one == other and [line["step"] for line in one] == [2, 4, 6]
