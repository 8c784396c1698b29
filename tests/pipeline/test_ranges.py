"""Ranges say what is within them, and what is wrong with what is not; whatever it is."""

import math

import numpy as np
import pytest
from ml_collections import ConfigDict

from cxr_jax.errors import InputError
from cxr_jax.pipeline.ranges import YES_OR_NO, Line, OneOf, Real, Several, Whole, check_fields

# What no field may be, whatever it is about.
NEVER = [None, [], {}, object, math.nan, math.inf, -math.inf, b"x", "a\nb", "a\0b", "\n", (None,)]
PAIR = Several(Real(0, 1), 2, 2, "of both")


@pytest.mark.parametrize(
    ("range_", "within", "outside"),
    [
        (Real(0, 1), [0, 1, 0.5, 0.0, -0.0], [-1e-9, 1 + 1e-9, "0.5", True, False]),
        (Real(0, 1, "(]"), [1e-30, 1], [0, 0.0, 1.1]),
        (Real(0, 1, "[)"), [0, 1 - 1e-12], [1, 1.0]),
        (Real(0, 1, "()"), [0.5], [0, 1]),
        (Whole(1, 3), [1, 2, 3], [0, 4, 2.0, "2", True]),
        (Whole(0), [0, 10**9], [-1, 10**9 + 1, 10**30]),
        (OneOf(("a", "b")), ["a", "b"], ["", "c", "A", ("a",), 1]),
        (OneOf((-1, 0, 1)), [-1, 0, 1], [2, 1.0, True, "1"]),
        (YES_OR_NO, [True, False], [0, 1, "True"]),
        (Line(), ["", "a", " ", "films/größer"], [3, True]),
        (Line(may_be_empty=False), ["a", " "], [""]),
        (Several(Whole(1)), [(), [], (1, 2)], [3, "12", (1, 0), (1, 2.0), ((1,),), (1,) * 65]),
        (Several(Whole(1), least=1), [(1,)], [()]),
        (PAIR, [(0, 1), [0.5, 0.5]], [0.5, (0.5,), (0.5, 1.5), (0, 0, 0)]),
    ],
)
def test_what_is_within_and_what_is_not(range_, within, outside):
    for value in within:
        assert range_.fault(value) == "", value
    never = [value for value in NEVER if value not in within]
    for value in [*outside, *never]:
        fault = range_.fault(value)
        assert fault and "\n" not in fault and len(fault) < 250, value


def test_what_is_told():
    assert Real(0, 1, "[)").fault(1.5) == "is 1.5; it must be a number in [0, 1)"
    assert Whole(1, 9).fault(0) == "is 0; it must be a whole number from 1 to 9"
    assert OneOf(("", "left")).fault("up") == "is 'up'; it must be one of '', 'left'"
    assert PAIR.fault(0.5) == (
        "is 0.5; it must be 2 values in brackets (of both), each a number in [0, 1]"
    )
    assert PAIR.fault((0.5, 2)) == "has 2; each must be a number in [0, 1]"
    assert Several(OneOf("ab")).fault(("a", "c")) == "has 'c'; each must be one of 'a', 'b'"
    assert Several(Whole(1), 1, 5).fault(3) == (
        "is 3; it must be 1 to 5 values in brackets, each a whole number from 1 to 1000000000"
    )


def test_a_long_value_is_not_told_in_full():
    fault = Whole(1).fault("x" * 10**6)
    assert fault.startswith("is 'xxx") and "x...; it must be" in fault and len(fault) < 200


def test_a_number_of_another_library_is_none_that_a_config_can_store():
    """config.json would not hold it."""
    assert Whole(1).fault(np.int64(3)) and Real(0, 1).fault(np.float32(0.5))


# A whole config.

RANGES = {"size": Whole(1), "deep": {"rate": Real(0, 1)}}


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (dict(size=0, deep=dict(rate=0.5)), "config.size is 0; it must be a whole number"),
        (dict(size=1, deep=dict(rate=2.0)), "config.deep.rate is 2.0; it must be a number"),
        (dict(size=1, deep=dict()), "config.deep lacks 'rate'"),
        (dict(size=1), "config lacks 'deep'"),
        (dict(size=1, deep=dict(rate=0.5, rat=0.5)), "config.deep has 'rat'; choose of rate"),
        (dict(size=1, deep=3), "config.deep is 3; it is a section of fields"),
    ],
)
def test_a_field_is_refused_by_its_whole_name(config, told):
    check_fields(ConfigDict(dict(size=1, deep=dict(rate=0.5))), RANGES)
    with pytest.raises(InputError) as raised:
        check_fields(ConfigDict(config), RANGES)
    assert str(raised.value).startswith(told)
