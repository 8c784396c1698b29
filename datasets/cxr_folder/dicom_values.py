"""From the stored values of a DICOM film to grey, in the order that the standard has for it.

1. Of each stored word the lowest `bits_stored` bits (ended by `high_bit`) are the value, and the
   rest is none of it: old overlays lie there. Signed ones are two's complement (PS3.5, 8.1.1).
2. Modality LUT, else slope and intercept (PS3.3, C.11.1).
3. VOI LUT, else the first window, by LINEAR, LINEAR_EXACT or SIGMOID (PS3.3, C.11.2): its whole
   output becomes 0 to 255. A film with neither becomes 8 bits as other deep films do, by a `Scale`.
4. A film in which low is white is inverted, once.
5. Padding is black, whatever the polarity. It is told by the stored value, of step 1, and no
   statistic knows it.

All of it is one table with an entry for each word that 8 or 16 bits can hold.
"""

import dataclasses

import numpy as np

from cxr_jax.datasets.cxr_folder.depth import Scale

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
_BLOCK = 2**16  # pixels that are looked up at once, so that they stay in the processor's cache


@dataclasses.dataclass(frozen=True, kw_only=True)
class Words:
    """How a value lies in the bits of a stored word."""

    bits_allocated: int  # 8 or 16
    bits_stored: int
    high_bit: int
    signed: bool

    @property
    def range(self) -> tuple[int, int]:
        """The least and the greatest value that can be stored."""
        span = 2**self.bits_stored
        return (-span // 2, span // 2 - 1) if self.signed else (0, span - 1)

    def values(self) -> np.ndarray:
        """The value of every word, int64 [2 ** bits_allocated]."""
        words = np.arange(2**self.bits_allocated)
        span = 2**self.bits_stored
        values = (words >> (self.high_bit + 1 - self.bits_stored)) & (span - 1)
        return np.where(self.signed & (values >= span // 2), values - span, values)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Lut:
    """A look-up table; values outside it have the entry of its nearer end."""

    first: int  # the value that has the first entry
    bits: int  # of the entries
    entries: np.ndarray  # int64 [n]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        index = np.rint(values).astype(np.int64) - self.first
        return self.entries[np.clip(index, 0, len(self.entries) - 1)]

    def to_unit(self, values: np.ndarray) -> np.ndarray:
        """Its output from 0 to 1."""
        return self(values) / (2**self.bits - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
    """A window in the values that the modality's step gives."""

    center: float
    width: float
    function: str  # one of FUNCTIONS

    def to_unit(self, values: np.ndarray) -> np.ndarray:
        """Its output from 0 to 1; formulas of PS3.3, C.11.2.1.2 and C.11.2.1.3."""
        if self.function == "SIGMOID":
            power = -4 * (values - self.center) / self.width
            return 1 / (1 + np.exp(np.clip(power, -700, 700)))
        if self.function == "LINEAR_EXACT":
            return np.clip((values - self.center) / self.width + 0.5, 0, 1)
        middle, reach = self.center - 0.5, self.width - 1
        if reach == 0:  # a threshold
            return np.where(values <= middle, 0.0, 1.0)
        return np.clip((values - middle) / reach + 0.5, 0, 1)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Display:
    """What a header says of how stored values are shown.

    Attributes:
      words: step 1.
      modality: step 2: a table; None for slope and intercept.
      slope, intercept: of step 2 where there is no table.
      voi: step 3; None where the header has none.
      inverse: step 4: low is white.
      padding: step 5: the least and the greatest value that is none, as the header has them.
    """

    words: Words
    modality: Lut | None = None
    slope: float = 1.0
    intercept: float = 0.0
    voi: Lut | Window | None = None
    inverse: bool = False
    padding: tuple[int, int] | None = None

    def modality_values(self) -> np.ndarray:
        """Of every word, what step 2 makes of it [2 ** bits_allocated]; integers where it can."""
        values = self.words.values()
        if self.modality is not None:
            return self.modality(values)
        if self.slope == 1 and self.intercept == int(self.intercept):
            return values + int(self.intercept)
        return values * self.slope + self.intercept

    @property
    def is_deep(self) -> bool:
        """Whether it has values of more than 8 bits, and nothing says how they become 8."""
        if self.voi is not None:
            return False
        values = self.modality_values()
        return values.min() < 0 or values.max() > 255 or values.dtype.kind != "i"

    def is_padding(self) -> np.ndarray:
        """Which words are no picture, bool [2 ** bits_allocated]."""
        values = self.words.values()
        if self.padding is None:
            return np.zeros(len(values), bool)
        ends = [self._find_value(end) for end in self.padding]
        if None in ends:  # no value can be that: the words themselves are
            return np.isin(np.arange(len(values)), [end % len(values) for end in self.padding])
        return (values >= min(ends)) & (values <= max(ends))

    def _find_value(self, written: int) -> int | None:
        """The stored value that a header means; of a signed one it may write the bits alone."""
        low, high = self.words.range
        spans = (0, 2**16, 2**self.words.bits_stored) if self.words.signed else (0,)
        return next((written - span for span in spans if low <= written - span <= high), None)

    def grey_table(self, scale: Scale | None = None) -> np.ndarray:
        """The grey of every word, uint8 [2 ** bits_allocated].

        Args:
          scale: of a deep film.
        """
        values = self.modality_values()
        if self.voi is not None:
            values = np.rint(255 * np.clip(self.voi.to_unit(values), 0, 1))
        elif self.is_deep:
            values = scale(values)
        grey = 255 - values if self.inverse else values
        return np.where(self.is_padding(), 0, grey).astype(np.uint8)


def look_up(table: np.ndarray, words: np.ndarray) -> np.ndarray:
    """The entry of every word [height, width], block by block."""
    found = np.empty(words.shape, table.dtype)
    flat, out = words.reshape(-1), found.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        np.take(table, flat[block], out=out[block], mode="clip")  # other modes make a copy
    return found


def picture_values(display: Display, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different values of a film after the modality's step, padding left out.

    Returns:
      The values [n] in ascending order, and how many pixels have each [n].
    """
    counts = np.bincount(words.reshape(-1), minlength=2**display.words.bits_allocated)
    used = (counts > 0) & ~display.is_padding()
    values, place = np.unique(display.modality_values()[used], return_inverse=True)
    return values, np.bincount(place, counts[used], len(values)).astype(np.int64)
