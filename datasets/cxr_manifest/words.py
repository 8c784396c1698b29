"""Words: which values of a cell are meant.

A text (in any case; numbers by their value, so that 1 is 1.0), a comparison such as `>=7`, `""` for
an empty cell, or `*` for every value that is not empty.
"""

import re
from collections.abc import Sequence


def matches(value: str, words: Sequence[str]) -> bool:
    """Whether a cell's value, or an item of its list, is meant by one of these words."""
    return any(_matches_one(value, word) for word in words)


def number(text: str) -> float | None:
    """The number that a text is; None if it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def _matches_one(value: str, word: str) -> bool:
    if word in ("*", ""):
        return bool(value) == bool(word)
    compared = re.fullmatch(r"(>=|<=|>|<)\s*(\S+)", word)
    one, other = number(value), number(compared[2] if compared else word)
    if compared:
        if one is None or other is None:
            return False
        signs = {">=": one >= other, "<=": one <= other, ">": one > other, "<": one < other}
        return signs[compared[1]]
    return value.casefold() == word.casefold() or one is not None and one == other
