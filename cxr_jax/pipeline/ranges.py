"""What a field of a config may hold, said once: a test for it, and the words for who fails it."""

import abc
import dataclasses
from collections.abc import Collection, Mapping

import ml_collections

from cxr_jax.errors import InputError

MANY = 10**9  # beyond it whole numbers no longer fit where networks count
LONGEST = 80  # characters of a value, as it is told


# 1. Ranges.


class Range(abc.ABC):
    """The values that a field may hold."""

    @property
    @abc.abstractmethod
    def wanted(self) -> str:
        """They in words, after "it must be"."""

    @abc.abstractmethod
    def holds(self, value: object) -> bool:
        """Whether a value is one of them; whatever its type."""

    def fault(self, value: object) -> str:
        """What is wrong with a value, after the field's name; "" if nothing is."""
        return "" if self.holds(value) else f"is {shorten(value)}; it must be {self.wanted}"


@dataclasses.dataclass(frozen=True)
class Real(Range):
    """Finite numbers of an interval.

    Attributes:
      ends: its brackets, round where the end itself is left out.
    """

    least: float
    most: float
    ends: str = "[]"

    @property
    def wanted(self) -> str:
        return f"a number in {self.ends[0]}{self.least:g}, {self.most:g}{self.ends[1]}"

    def holds(self, value: object) -> bool:
        if not _is_number(value):
            return False
        is_least = value == self.least and self.ends[0] == "["
        is_most = value == self.most and self.ends[1] == "]"
        return self.least < value < self.most or is_least or is_most


@dataclasses.dataclass(frozen=True)
class Whole(Range):
    """Whole numbers, both ends counted."""

    least: int
    most: int = MANY

    @property
    def wanted(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    def holds(self, value: object) -> bool:
        return _is_number(value) and isinstance(value, int) and self.least <= value <= self.most


@dataclasses.dataclass(frozen=True)
class OneOf(Range):
    """Some names, or whatever else can be listed."""

    names: Collection

    @property
    def wanted(self) -> str:
        return f"one of {', '.join(map(repr, self.names))}"

    def holds(self, value: object) -> bool:
        return any(type(value) is type(name) and value == name for name in self.names)


@dataclasses.dataclass(frozen=True)
class Line(Range):
    """Text of one line."""

    may_be_empty: bool = True

    @property
    def wanted(self) -> str:
        return "text of one line" if self.may_be_empty else "text of one line, and not empty"

    def holds(self, value: object) -> bool:
        if not isinstance(value, str) or "\0" in value:
            return False
        return value.splitlines() == [value] or value == "" and self.may_be_empty


@dataclasses.dataclass(frozen=True)
class Several(Range):
    """Tuples of values that are each within one range.

    Attributes:
      least, most: how many of them.
      meaning: of each in turn, where their places mean something.
    """

    each: Range
    least: int = 0
    most: int = 64
    meaning: str = ""

    @property
    def wanted(self) -> str:
        few, many = self.least, self.most
        count = str(few) if few == many else f"{few} to {many}"
        meaning = f" ({self.meaning})" if self.meaning else ""
        return f"{count} values in brackets{meaning}, each {self.each.wanted}"

    def holds(self, value: object) -> bool:
        return self._is_as_long(value) and all(map(self.each.holds, value))

    def fault(self, value: object) -> str:
        """Of the first that is wrong, where their number is right."""
        if self._is_as_long(value):
            for one in value:
                if not self.each.holds(one):
                    return f"has {shorten(one)}; each must be {self.each.wanted}"
        return super().fault(value)

    def _is_as_long(self, value: object) -> bool:
        return isinstance(value, (tuple, list)) and self.least <= len(value) <= self.most


YES_OR_NO = OneOf((True, False))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def shorten(value: object) -> str:
    """A value as it is told: in one line, and not endless."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


# 2. All of a config's.

Ranges = Mapping[str, object]  # by the names of fields; of sections the same again


def check_fields(config: object, ranges: Ranges, section: str = "config") -> None:
    """Raises `InputError` by name if a field is missing, unknown or out of its range.

    Args:
      config: or a section of one; where a number stands in a section's place, that is told.
    """
    if not isinstance(config, ml_collections.ConfigDict):
        raise InputError(f"{section} is {shorten(config)}; it is a section of fields")
    for name in config:
        if name not in ranges:
            raise InputError(f"{section} has {name!r}; choose of {', '.join(ranges)}")
    for name, range_ in ranges.items():
        if name not in config:
            raise InputError(f"{section} lacks {name!r}; configs/base.py has all its fields")
        if isinstance(range_, Mapping):
            check_fields(config[name], range_, f"{section}.{name}")
        elif fault := range_.fault(config[name]):
            raise InputError(f"{section}.{name} {fault}")
