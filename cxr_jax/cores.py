"""How many of the processor's cores this process may use."""

import os


def count_cores() -> int:
    """On Linux a process may be left fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
