"""What a compiled program says of itself: its collectives, and what its layouts waste.

Read off the text of XLA's optimised HLO, one instruction a line:

    %name = f32[128,64]{1,0:T(8,128)} all-reduce(%operand), channel_id=1, ...
"""

import dataclasses
import math
import re
from collections.abc import Iterator

BITS = {"pred": 8, "s4": 4, "u4": 4, "s8": 8, "u8": 8, "s16": 16, "u16": 16, "f16": 16, "bf16": 16}
BITS |= {"s32": 32, "u32": 32, "f32": 32, "s64": 64, "u64": 64, "f64": 64}
KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

# f32[128,64]{1,0:T(8,128)}: type, sizes, order from the fastest axis on, tiles.
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\](?:\{([\d,]*)(?::([^}]*))?\})?")
# The result's type ends where the operation's name begins; a tuple's type holds blanks.
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?[\w.\-]+ = (\(.*?\)|\S+) ([\w\-]+)\(")
_COMPUTATION = re.compile(r"^(ENTRY )?%?[\w.\-]+ .*\{$")
_VIEWS = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast")  # write nothing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Array:
    """An array as it lies in memory; `order` counts axes from the one that varies fastest."""

    bits: int
    shape: tuple[int, ...]
    order: tuple[int, ...]
    tile: tuple[int, ...]

    def logical_bytes(self) -> float:
        """Without padding."""
        return math.prod(self.shape) * self.bits / 8

    def stored_bytes(self) -> float:
        """With its fastest axes filled up to whole tiles, such as 8 rows of 128 lanes."""
        sizes = [self.shape[axis] for axis in self.order]  # the fastest first
        for i, tile in enumerate(reversed(self.tile)):
            if i < len(sizes):
                sizes[i] = -(-sizes[i] // tile) * tile
        return math.prod(sizes) * self.bits / 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collective:
    """All collectives of one kind."""

    count: int
    bytes: int


def _numbers(text: str | None) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(",") if number) if text else ()


def arrays_in(text: str) -> list[Array]:
    """The arrays that a type names: one, or the members of a tuple."""
    found = []
    for name, sizes, order, tiling in _ARRAY.findall(text):
        if name in BITS:
            tile = re.match(r"T\(([\d,]+)\)", tiling)
            shape = _numbers(sizes)
            fastest_last = tuple(reversed(range(len(shape))))
            numbers = _numbers(tile.group(1)) if tile else ()
            found.append(
                Array(
                    bits=BITS[name],
                    shape=shape,
                    order=_numbers(order) or fastest_last,
                    tile=numbers,
                )
            )
    return found


def instructions(text: str) -> Iterator[tuple[bool, str, str]]:
    """(whether it stands in the entry computation, its type, its operation) of each instruction."""
    in_entry = False
    for line in text.splitlines():
        if begins := _COMPUTATION.match(line):
            in_entry = begins.group(1) is not None
        elif instruction := _INSTRUCTION.match(line):
            yield in_entry, *instruction.groups()


def collectives(text: str) -> dict[str, Collective]:
    """Count and bytes of each kind that is there.

    One in two parts, `-start` and `-done`, counts once: the type of its end is its result's.
    """
    found = {}
    for _, type_, operation in instructions(text):
        kind = operation.removesuffix("-done")
        if kind in KINDS:
            before = found.get(kind, Collective(count=0, bytes=0))
            new = sum(array.logical_bytes() for array in arrays_in(type_))
            found[kind] = Collective(count=before.count + 1, bytes=before.bytes + int(new))
    return found


def padding(text: str) -> float:
    """Bytes stored over bytes meant, of all that the entry computation writes."""
    logical, stored = 0.0, 0.0
    for in_entry, type_, operation in instructions(text):
        if in_entry and operation not in _VIEWS:
            for array in arrays_in(type_):
                logical, stored = logical + array.logical_bytes(), stored + array.stored_bytes()
    return stored / logical if logical else 1.0
