"""Training steps: any number of devices learns the same, and a step is compiled once.

The comparisons of devices run in 64 bits, where rounding cannot hide a forgotten average.
"""

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import jax
import numpy as np
import programs
import pytest

from cxr_jax.runtime import parallel
from tests.training import tasks
from tests.training.tasks import TASKS, batch_of, widened

# One of each kind of state is compared in every run of the tests, the others by `make test-all`.
OFTEN = ("classifier", "gan", "paper's networks", "penalty", "robust")
SOME_ARE_SLOW = [
    name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in TASKS
]


@pytest.fixture(autouse=True)
def forget_programs():
    """Two dozen of the largest programs are more than a process may hold."""
    yield
    programs.forget_if_many()


def on_one_device(step: Callable) -> Callable:
    """`parallel.pmap_step` for the first device alone, which gets the joined batch."""
    mapped = parallel.pmap_step(step, devices=jax.local_devices()[:1])
    return lambda state, batch, frozen: mapped(
        state, jax.tree.map(lambda array: array[None], batch), frozen
    )


def largest_difference(one, other) -> float:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs)


@contextlib.contextmanager
def log_of_compilations(caplog) -> Iterator[Callable[[], list[str]]]:
    """Gives a function that tells what has been compiled since."""
    caplog.set_level(logging.WARNING, "jax")
    jax.config.update("jax_log_compiles", True)
    try:
        yield lambda: [r.getMessage() for r in caplog.records if "ompil" in r.getMessage()]
    finally:
        jax.config.update("jax_log_compiles", False)


def scalar_of(name: str, metrics) -> float:
    """What ought to fall."""
    if name == "penalty":
        return float(metrics)
    field = {
        "gan": "pixel",
        "gan by label": "pixel",
        "paper": "entropy",
        "paper's networks": "discriminator",
        "encoder": "error",
    }
    return float(metrics.compute()[field[name] if name in field else "loss"])


def otherwise(frozen):
    """By other weights and another seed, where a step has any: no reason to compile it anew."""
    if not hasattr(frozen, "hparams"):
        return frozen
    hparams = frozen.hparams
    weights = {name: 0.9 * weight for name, weight in hparams.weights.items()}
    return frozen.replace(hparams=hparams.replace(weights=weights, seed=hparams.seed + 1))


@pytest.mark.parametrize("name", SOME_ARE_SLOW)
def test_devices_learn_what_one_learns_from_the_joined_batch(
    name, tiny_config, random_like, caplog
):
    """And learn at all, by one program."""
    with jax.enable_x64(True):
        networks = tasks.double(tasks.make_networks(tiny_config))
        task = TASKS[name](tiny_config, networks, random_like)
        start, frozen = widened(task.state), widened(task.frozen)
        alone, together = on_one_device(task.step), parallel.pmap_step(task.step)
        one, many = start, parallel.replicate(start)
        shared = parallel.replicate(frozen)
        for number in range(3):
            one, one_metrics = alone(one, batch_of(number), frozen)
            many, many_metrics = together(many, parallel.shard(batch_of(number)), shared)
        assert parallel.is_synced(many)
        assert largest_difference(start, one) > 1e-3, "nothing was learned"
        assert largest_difference(one, many) < 1e-5
        assert largest_difference(one_metrics, many_metrics) < 1e-5
        batch, other = parallel.shard(batch_of(0)), parallel.replicate(widened(otherwise(frozen)))
        history = []
        with log_of_compilations(caplog) as compiled:
            for number in range(24):
                many, metrics = together(many, batch, other if number > 12 else shared)
                history.append(metrics)
        assert not compiled()
        assert int(many.step) == (0 if name == "penalty" else 27)
        values = [scalar_of(name, metrics) for metrics in history]
        assert np.isfinite(values).all()
        assert np.mean(values[-4:]) < np.mean(values[:4])
        assert parallel.is_synced(many)


@pytest.mark.slow
def test_eight_devices_learn_what_one_learns_too():
    """In a process of its own: the number of devices is chosen once."""
    chosen = f"{__file__}::test_devices_learn_what_one_learns_from_the_joined_batch"
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", chosen],
        env=os.environ | {"TEST_DEVICES": "8"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-3000:]
    assert f"{len(TASKS)} passed" in result.stdout
