"""Invented input: every piece of it is read rightly, or refused in one line.

Nothing else may be raised, no file may make the reader take much memory, and none may be executed.
Which input is invented follows from the test's own code alone, so that a failure comes again.
"""

import contextlib
import resource
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxr_jax.errors import InputError

MEGABYTE = 2**20
MOST_MEMORY = 64 * MEGABYTE  # that reading a file of a few kilobytes may take
MOST_ADDRESSES = 2**30  # that it is given, so that a failing test does not take the whole machine


def both_suites(quick: int, thorough: int):
    """The number of examples, `num_examples`, in `make test` and in `make test-all`."""
    counts = [quick, pytest.param(thorough, marks=pytest.mark.slow)]
    return pytest.mark.parametrize("num_examples", counts)


def explore(
    check: Callable,
    num_examples: int,
    *strategies: st.SearchStrategy,
    most_memory: int | None = MOST_MEMORY,
) -> None:
    """Calls `check` with so many invented arguments; it may raise `InputError` of one line.

    Args:
      most_memory: bytes that NumPy and Python may hold meanwhile; None where no file is read.
    """

    def guarded(arguments: tuple) -> None:
        try:
            with warnings.catch_warnings(), memory_bounded(most_memory):
                warnings.simplefilter("ignore")  # of Pillow, which no user of ours turns to errors
                check(*arguments)
        except InputError as error:
            text = str(error)
            assert text and len(text.splitlines()) == 1 and len(text) < 2000

    settings(
        max_examples=num_examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )(given(st.tuples(*strategies))(guarded))()


@contextlib.contextmanager
def memory_bounded(most_memory: int | None) -> Iterator[None]:
    """Fails if NumPy and Python ever hold so much more; Pillow's pixels are not counted."""
    if most_memory is None:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MOST_ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    tracemalloc.start()
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        resource.setrlimit(resource.RLIMIT_AS, before)
        assert peak < most_memory, f"{peak / MEGABYTE:.0f} MB"


@st.composite
def damaged(draw: st.DrawFn, intact: st.SearchStrategy[bytes]) -> bytes:
    """Bytes with a few overwritten, cut off, cut out or put in; or as they were."""
    data = bytearray(draw(intact))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        new = draw(st.binary(max_size=8))
        kind = draw(st.sampled_from(["overwrite", "cut off", "cut out", "put in"]))
        if kind == "overwrite":
            data[at : at + len(new)] = new
        elif kind == "cut off":
            del data[at:]
        elif kind == "cut out":
            del data[at : at + len(new)]
        else:
            data[at:at] = new
    return bytes(data)
