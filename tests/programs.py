"""Compiled programs of a test session: how many a process may hold."""

from pathlib import Path

import jax

MOST_MAPPINGS = 40_000  # of memory; Linux gives a process 65,530, and XLA aborts it for one more


def forget_if_many() -> None:
    """Each compiled program holds hundreds of mappings until JAX forgets it."""
    if len(Path("/proc/self/maps").read_bytes().splitlines()) > MOST_MAPPINGS:
        jax.clear_caches()
