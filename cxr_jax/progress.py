"""How far a long step is: a line overwritten in place on a terminal, elsewhere one now and then."""

import sys
import time
from collections.abc import Iterator

SILENT = 3.0  # seconds; of a step that is over by then nothing is said
EVERY_SHOWN, EVERY_PRINTED = 0.5, 15.0  # seconds between two lines, on a terminal and elsewhere


def told(what: str, total: int, step: int = 1) -> Iterator[int]:
    """range(0, total, step), telling between its numbers how many of `total` films are done.

    The time to the end is of those after the first, which may wait for the compiler.

    Args:
      what: is being done; "" to say nothing.
    """
    begun = latest = time.monotonic()
    first, shown = None, False
    for start in range(0, total, step):
        yield start
        now, done = time.monotonic(), min(start + step, total)
        first = first or (now, done)
        pause = EVERY_SHOWN if sys.stdout.isatty() else EVERY_PRINTED
        if not what or now - begun < SILENT or (now - latest < pause and done < total):
            continue
        if done < total or shown:
            since, before = first
            left = (total - done) * (now - since) / (done - before) if done > before else None
            show(f"{what}  {done}/{total} films{eta(left)}", is_last=done == total)
            latest, shown = now, True


def eta(seconds: float | None) -> str:
    """The time that is left, as minutes and seconds; "" where nobody knows."""
    return "" if seconds is None else f"  ETA {int(seconds // 60)}:{int(seconds % 60):02d}"


def show(text: str, *, is_last: bool) -> None:
    """Prints a line: on a terminal in place of the one before, which stays once it is the last."""
    if sys.stdout.isatty():
        print(f"\r\x1b[2K{text}", end="\n" if is_last else "", flush=True)
    else:
        print(text, flush=True)
