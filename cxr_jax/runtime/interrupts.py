"""SIGTERM and Ctrl-C during a training: heard between steps, so that its state is saved first.

Elsewhere nothing is lost by ending at once, which `die_at_once` provides for.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator

import jax
from jax.experimental import multihost_utils

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE = 25.0  # seconds for a step and a save; a compiler may take longer, and is not waited for

Asked = Callable[[int], int]  # from a step's number to that of the signal which has come, or 0


class Interrupted(Exception):
    """A training was asked to end, and has saved its state; the message says where."""

    def __init__(self, number: int, message: str):
        super().__init__(message)
        self.status = exit_status(number)


def exit_status(number: int) -> int:
    """What a shell reports of a process that a signal has ended."""
    return 128 + number


def die_at_once() -> None:
    """Lets Ctrl-C end the process, whatever it is doing.

    Python would raise KeyboardInterrupt, and where that happens in a callback of JAX's at garbage
    collection (0.10.2) it is printed and forgotten.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def heard() -> Iterator[Asked]:
    """Yields a function that says whether a signal has come, to be asked after every step.

    A second signal, or one that is not acted on within GRACE seconds, ends the process at once; one
    that comes after the last question is delivered again when the training has ended. Of
    several processes all are told the same after the same step, by JAX's own service.
    """
    if jax.process_count() > 1:
        yield (
            lambda step: (
                signal.SIGTERM if multihost_utils.reached_preemption_sync_point(step) else 0
            )
        )
    elif threading.current_thread() is not threading.main_thread():
        yield lambda step: 0  # signals are the main thread's
    else:
        with _Listener() as listener:
            yield listener.tell


class _Listener:
    """Hears signals in a thread of its own: the main one may be in a compiler for a minute.

    Attributes:
      number: of the first signal; 0 before.
      told: what was said when somebody last asked.
    """

    def __init__(self):
        self.number = self.told = 0

    def tell(self, step: int) -> int:
        """The number, whatever the step."""
        self.told = self.number
        return self.told

    def __enter__(self) -> "_Listener":
        self._ear, self._mouth = socket.socketpair()
        self._mouth.setblocking(False)
        # Python's handlers do nothing; what counts is that the signal's number is written.
        self._handlers = {each: signal.signal(each, lambda *_: None) for each in SIGNALS}
        self._earlier = signal.set_wakeup_fd(self._mouth.fileno())
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._earlier)
        for each, handler in self._handlers.items():
            signal.signal(each, handler)
        self._mouth.close()  # which ends the thread
        self._thread.join()
        self._ear.close()
        if self.number and not self.told:  # nobody has asked since it came: it counts now
            signal.raise_signal(self.number)

    def _listen(self) -> None:
        while said := self._hear():
            if said not in SIGNALS:
                continue
            if self.number:
                _end(self.number)
            self.number = said
            self._ear.settimeout(GRACE)

    def _hear(self) -> int:
        """The next signal's number, 0 when the training has ended."""
        try:
            said = self._ear.recv(1)
        except TimeoutError:
            _end(self.number)
        return said[0] if said else 0


def _end(number: int) -> None:
    print(
        f"ended by {signal.Signals(number).name} without saving; the same command goes on from the "
        "last checkpoint",
        file=sys.stderr,
        flush=True,
    )
    os._exit(exit_status(number))
