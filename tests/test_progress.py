"""When a long step says how far it is, and how long it will take."""

import itertools

import pytest

from cxr_jax import progress


@pytest.fixture
def clock(monkeypatch):
    """Ticks by so many seconds each time it is read."""

    def tick(seconds: float) -> None:
        numbers = itertools.count(step=seconds)
        monkeypatch.setattr(progress.time, "monotonic", lambda: next(numbers))

    return tick


def test_every_number_comes_whether_it_is_told_or_not(clock, capsys):
    clock(100.0)
    assert list(progress.told("walks", 7, 3)) == [0, 3, 6]
    assert list(progress.told("", 7, 3)) == [0, 3, 6]
    assert list(progress.told("walks", 0, 3)) == []


def test_the_time_left_is_that_of_the_batches_after_the_first(clock, capsys):
    clock(20.0)
    for _ in progress.told("walks", 100, 25):
        pass
    first, second, third, last = capsys.readouterr().out.splitlines()
    assert first == "walks  25/100 films"  # it waited for the compiler
    assert second == "walks  50/100 films  ETA 0:40"
    assert third == "walks  75/100 films  ETA 0:20"
    assert last == "walks  100/100 films  ETA 0:00"


def test_what_is_soon_over_is_not_told(clock, capsys):
    clock(0.5)
    for _ in progress.told("walks", 4):
        pass
    assert capsys.readouterr().out == ""


def test_elsewhere_than_on_a_terminal_lines_are_rare(clock, capsys):
    clock(1.0)
    for _ in progress.told("walks", 40):
        pass
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 40 // 15  # the last of all, too
    assert lines[-1].startswith("walks  40/40")


def test_on_a_terminal_a_line_replaces_the_one_before(monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stdout, "isatty", lambda: True)
    progress.show("one", is_last=False)
    progress.show("two", is_last=True)
    assert capsys.readouterr().out == "\r\x1b[2Kone\r\x1b[2Ktwo\n"
