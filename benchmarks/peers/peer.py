"""What a peer is to the one that times it; needs no PyTorch."""

import dataclasses
from collections.abc import Callable
from typing import Any


class Unavailable(Exception):
    """A peer cannot run here; the message is the reason that is recorded in place of a figure."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Peer:
    """One step, with its state inside, and how to read its time.

    Attributes:
      step: does one step and returns what it lowers, or None.
      images: that one step is for.
      repeats: steps that make up what is reported. An inversion of 500 updates that is timed 10 at
        a time has 50: seconds a film = repeats * seconds / images.
      flop: floating point operations of one step, where it is the machine that is timed.
    """

    step: Callable[[], Any]
    images: int
    repeats: float = 1.0
    flop: float | None = None
