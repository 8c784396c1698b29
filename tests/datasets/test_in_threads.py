"""Reading by several threads: order, errors, and filters of warnings that are put back."""

import logging
import threading
import time
import warnings

import pytest

from cxr_jax.datasets.cxr_folder import in_threads
from cxr_jax.datasets.cxr_folder.in_threads import read_each
from cxr_jax.datasets.cxr_folder.reading_warnings import guard
from cxr_jax.errors import InputError


def test_results_and_errors_come_in_the_items_order(monkeypatch):
    monkeypatch.setattr(in_threads, "count_cores", lambda: 4)
    threads = set()

    def read(item: int) -> int:
        threads.add(threading.get_ident())
        time.sleep(0.02 * (5 - item))  # the last is ready first
        if item % 2:
            raise InputError(f"item {item}")
        return 10 * item

    found = dict(read_each(read, range(5)))
    assert list(found) == [0, 1, 2, 3, 4] and [found[i] for i in (0, 2, 4)] == [0, 20, 40]
    assert [str(found[i]) for i in (1, 3)] == ["item 1", "item 3"]
    assert len(threads) > 1 and len(list(read_each(read, []))) == 0


def test_the_first_error_of_another_kind_ends_it(monkeypatch):
    monkeypatch.setattr(in_threads, "count_cores", lambda: 4)

    def read(item: int) -> None:
        time.sleep(0.02 * (5 - item))
        raise ValueError(str(item))

    with pytest.raises(ValueError, match="0"):
        list(read_each(read, range(5)))


def test_filters_are_put_back_when_the_last_thread_leaves():
    before, level = list(warnings.filters), logging.getLogger("pydicom").level
    first, second = threading.Event(), threading.Event()

    def other() -> None:
        with guard:
            first.set()
            second.wait(5)

    thread = threading.Thread(target=other)
    with guard:
        thread.start()
        first.wait(5)
        assert warnings.filters != before
    assert warnings.filters != before  # the other is still inside
    second.set()
    thread.join()
    assert warnings.filters == before and logging.getLogger("pydicom").level == level
