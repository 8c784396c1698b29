"""How grey values of more than 8 bits become 8: one scale for all films of a source.

A file does not record how many of its 16 bits the detector used. The depth is read off the pixels
of all deep films of a source together: the smallest of 8, 10, 12, 14, 16 bits that holds the
99.9th percentile of each, or overshoots of it. Dropping the lower bits then gives exactly the 8-bit
export of the same film. If the source covers less than a quarter of that range (or its films are
floats, or negative), its 0.1-99.9 percentiles are stretched to 0-255 instead, since dropping bits
would leave nearly one grey. DICOM says how many bits its values have: films without a window that
say different depths are of different sources.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from cxr_jax.errors import InputError

DETECTOR_BITS = (8, 10, 12, 14, 16)
OVERSHOOT = 1.05  # of the highest value: processing sharpens beyond the detector's range
UNLIKE = 8.0  # times as bright: no two films of one detector
DOUBTFUL = 3.0  # times as bright: worth a warning


@dataclasses.dataclass(frozen=True)
class ValueRange:
    """The grey values of one deep film: its 0.1 and 99.9 percentiles."""

    low: float
    high: float
    is_integer: bool  # and nowhere negative
    stored_bits: int = 0  # that the file says its values have, as DICOM does; 0 of other files


@dataclasses.dataclass(frozen=True)
class Scale:
    """From stored grey values to 8 bits; black is `low`, and `high` the first value above white."""

    low: float
    high: float
    bits: int | None  # of the detector; None where values are stretched

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Grey values [height, width] as uint8."""
        if self.bits is not None:
            grey = values // 2 ** (self.bits - 8)
        else:
            grey = np.rint((values - self.low) * (255 / ((self.high - self.low) or 1)))
        return np.clip(grey, 0, 255).astype(np.uint8)


def measure_range(values: np.ndarray) -> ValueRange:
    """The range of a deep film's values [height, width].

    Raises:
      ValueError: if some are not finite.
    """
    if not np.isfinite(values).all():
        raise ValueError("pixels that are not finite numbers")
    low, high = np.percentile(values, (0.1, 99.9))
    is_integer = np.issubdtype(values.dtype, np.integer) and values.min() >= 0
    return ValueRange(float(low), float(high), bool(is_integer))


def range_of_counts(values: np.ndarray, counts: np.ndarray, *, stored_bits: int) -> ValueRange:
    """The same of a film of which it is known how often it has each value.

    Args:
      values: different grey values in ascending order [n].
      counts: how many pixels have each [n], none of them zero.
      stored_bits: see `ValueRange`.
    """
    last, ends = np.cumsum(counts), []
    for share in (0.001, 0.999):  # as np.percentile has them, between two pixels
        place = share * (last[-1] - 1)
        below, above = values[np.searchsorted(last, [int(place), int(np.ceil(place))], "right")]
        ends.append(float(below + (above - below) * (place - int(place))))
    is_integer = np.issubdtype(values.dtype, np.integer) and values[0] >= 0
    return ValueRange(ends[0], ends[1], bool(is_integer), stored_bits)


def own_scale(of_film: ValueRange) -> Scale:
    """The scale of a film whose source nobody knows."""
    return _fit([of_film])


SOURCES = (
    "name each film's in a column `source` of metadata.csv (or by data.manifest.source), or set "
    "data.bits"
)


def choose_scales(
    ranges: Mapping[str, ValueRange], source: str, *, bits: int, remedy: str = SOURCES
) -> dict[str, Scale]:
    """Returns {film: scale} of the deep films of one source: one scale for each depth they state.

    Args:
      ranges: of its films, by their names.
      source: what the films have in common, for the message.
      bits: of the detector; 0: by the films' values.
      remedy: what helps where they are of several.

    Raises:
      InputError: if they cannot all come from one detector.
    """
    if bits:
        return dict.fromkeys(ranges, bits_scale(bits))
    scales = {}
    for stored_bits in {each.stored_bits for each in ranges.values()}:
        of_depth = {name: each for name, each in ranges.items() if each.stored_bits == stored_bits}
        scales |= dict.fromkeys(of_depth, source_scale(of_depth, source, remedy))
    return scales


def bits_scale(bits: int) -> Scale:
    """The scale of a detector of known depth."""
    return Scale(0.0, 2.0**bits, bits)


def source_scale(ranges: Mapping[str, ValueRange], source: str, remedy: str = SOURCES) -> Scale:
    """The scale of all deep films of one source.

    Args:
      ranges: of its films, by their names.
      source, remedy: what the films have in common, and what helps, for the message.

    Raises:
      InputError: if they cannot all come from one detector.
    """
    darkest, brightest = extremes(ranges)
    if contrast(ranges) >= UNLIKE:
        raise InputError(
            f"{source}: deep films go up to {ranges[darkest].high:.6g} ({darkest}) and to "
            f"{ranges[brightest].high:.6g} ({brightest}), as of several detectors; {remedy}"
        )
    return _fit(list(ranges.values()))


def extremes(ranges: Mapping[str, ValueRange]) -> tuple[str, str]:
    """The names of the films with the lowest and the highest peak."""
    return min(ranges, key=lambda name: _peak(ranges[name])), max(
        ranges, key=lambda name: _peak(ranges[name])
    )


def contrast(ranges: Mapping[str, ValueRange]) -> float:
    """How many times as high the highest peak is as the lowest."""
    peaks = [_peak(each) for each in ranges.values()]
    return max(peaks) / max(min(peaks), 1e-9)


def _peak(of_film: ValueRange) -> float:
    return of_film.high if of_film.low >= 0 else of_film.high - of_film.low


def _fit(ranges: list[ValueRange]) -> Scale:
    low, high = min(each.low for each in ranges), max(each.high for each in ranges)
    if all(each.is_integer for each in ranges):
        bits = next((bits for bits in DETECTOR_BITS if high < OVERSHOOT * 2**bits), None)
        if bits is not None and high - low >= 2**bits / 4:
            return bits_scale(bits)
    return Scale(low, high, None)
