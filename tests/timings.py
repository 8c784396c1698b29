"""Rounds of workers as they were timed, without any worker."""

import numpy as np

from benchmarks.interleave import Timed


def make_timed(*seconds: float, images: int = 1) -> Timed:
    """A worker's rounds, each of so many seconds a step."""
    return Timed(
        ready_seconds=1.0,
        devices="1 x fake",
        images=images,
        seconds=np.array(seconds),
        cores=1.0,
        peak_gib=0.5,
    )
