"""Signals during a training: heard between steps, and not for ever."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from cxr_jax.runtime import interrupts

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def wait_for(asked) -> int:
    deadline = time.monotonic() + 10
    while not asked(1):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return asked(2)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_heard_and_interrupts_nothing(number):
    with interrupts.heard() as asked:
        assert asked(1) == 0
        os.kill(os.getpid(), number)
        assert wait_for(asked) == number


def test_other_signals_are_not_meant(monkeypatch):
    heard = []
    monkeypatch.setattr(interrupts.os, "_exit", heard.append)
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with interrupts.heard() as asked:
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGTERM)
            assert wait_for(asked) == signal.SIGTERM
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not heard


def test_afterwards_everything_is_as_before():
    before = [signal.getsignal(each) for each in SIGNALS]
    threads = threading.active_count()
    with interrupts.heard():
        assert [signal.getsignal(each) for each in SIGNALS] != before
    assert [signal.getsignal(each) for each in SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1
    assert threading.active_count() == threads


def test_a_signal_after_the_last_question_counts_afterwards():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with interrupts.heard() as asked:
            assert asked(1) == 0
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)
            assert not heard
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_thread_may_train_too():
    said = []

    def train():
        with interrupts.heard() as asked:
            said.append(asked(1))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert said == [0]


DEAF = """
import time
from cxr_jax.runtime import interrupts
interrupts.GRACE = {grace}
with interrupts.heard():
    print("ready", flush=True)
    time.sleep(60)  # as if in a compiler
"""


def start(program: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("grace", "signals"), [(0.2, 1), (50, 2)])
def test_who_does_not_listen_is_ended(grace, signals):
    process = start(DEAF.format(grace=grace))
    for _ in range(signals):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
    assert said.startswith("ended by SIGTERM without saving") and len(said.splitlines()) == 1


SWALLOWED = """
import gc
from cxr_jax.runtime import interrupts
interrupts.die_at_once()
gc.callbacks.append(lambda *_: sum(range(10_000_000)))  # where a KeyboardInterrupt is lost
print("ready", flush=True)
while True:
    gc.collect()
"""


def test_ctrl_c_is_not_swallowed_by_a_callback_of_the_garbage_collector():
    process = start(SWALLOWED)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
