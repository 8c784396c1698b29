"""Steps from stored values to grey, against values computed by hand by the standard."""

import numpy as np
import pytest

from cxr_jax.datasets.cxr_folder.depth import bits_scale, measure_range, range_of_counts
from cxr_jax.datasets.cxr_folder.dicom_values import (
    Display,
    Lut,
    Window,
    Words,
    look_up,
    picture_values,
)


def words(bits=12, *, allocated=16, high_bit=None, signed=False) -> Words:
    high_bit = bits - 1 if high_bit is None else high_bit
    return Words(bits_allocated=allocated, bits_stored=bits, high_bit=high_bit, signed=signed)


def grey(display: Display, *stored: int) -> list[int]:
    """Of stored words, given as they lie in the file."""
    return display.grey_table()[list(stored)].tolist()


# Words -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "word", "value"),
    [
        (words(12), 0x0FFF, 4095),
        (words(12), 0xF001, 1),  # four planes of old overlays
        (words(12, signed=True), 0x0FFF, -1),
        (words(12, signed=True), 0x0800, -2048),
        (words(12, signed=True), 0xF7FF, 2047),
        (words(12, high_bit=15), 0x123F, 0x123),  # values at the upper end
        (words(16, signed=True), 0x8000, -32768),
        (words(6, allocated=8), 0xC5, 5),
        (words(8, allocated=8, signed=True), 0x80, -128),
    ],
)
def test_the_value_in_a_word(layout, word, value):
    assert layout.values()[word] == value
    assert layout.range[0] <= value <= layout.range[1]


# Windows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "width", "expected"),
    [
        # (x - 99.5) / 10 + 0.5, from 94.5 to 104.5
        ("LINEAR", 11.0, {94: 0, 95: 13, 99: 115, 104: 242, 105: 255, 4095: 255}),
        # (x - 100) / 10 + 0.5, from 95 to 105
        ("LINEAR_EXACT", 10.0, {94: 0, 95: 0, 97: 51, 99: 102, 103: 204, 105: 255}),
        # 1 / (1 + exp(-0.4 (x - 100)))
        ("SIGMOID", 10.0, {0: 0, 95: 30, 99: 102, 101: 153, 105: 225, 4095: 255}),
        # A threshold: up to 99.5 black.
        ("LINEAR", 1.0, {99: 0, 100: 255}),
    ],
)
def test_windows(function, width, expected):
    display = Display(words=words(), voi=Window(center=100.0, width=width, function=function))
    assert grey(display, *expected) == list(expected.values())


def test_a_window_is_of_what_the_modality_s_step_gives():
    window = Window(center=0.0, width=1000.0, function="LINEAR_EXACT")
    display = Display(words=words(), slope=2.0, intercept=-1000.0, voi=window)
    assert grey(display, 250, 500, 625, 750) == [0, 128, 191, 255]
    curve = Lut(first=100, bits=10, entries=np.array([0, 1000, 500]))
    window = Window(center=500.0, width=1000.0, function="LINEAR_EXACT")
    display = Display(words=words(), modality=curve, voi=window)
    assert grey(display, 99, 100, 101, 102, 103) == [0, 0, 255, 128, 128]  # ends hold on


def test_a_voi_lut_is_read_over_all_its_bits():
    curve = Lut(first=-1, bits=10, entries=np.array([0, 1023, 341]))
    display = Display(words=words(signed=True), voi=curve)
    assert grey(display, 0x0FFE, 0x0FFF, 0, 1, 2) == [0, 0, 255, 85, 85]


# Polarity and padding ----------------------------------------------------------------------------


def test_low_is_white_is_inverted_after_the_window_and_padding_is_black_in_both():
    window = Window(center=127.5, width=255.0, function="LINEAR_EXACT")
    fields = dict(words=words(), voi=window, padding=(4095, 4095))
    assert grey(Display(**fields), 26, 230, 4095) == [26, 230, 0]
    assert grey(Display(inverse=True, **fields), 26, 230, 4095) == [229, 25, 0]


@pytest.mark.parametrize(
    ("layout", "padding", "inside", "outside"),
    [
        (words(12), (0, 0), [0], [1]),
        (words(12), (10, 20), [10, 15, 20], [9, 21]),
        (words(12), (20, 10), [10, 15, 20], [9, 21]),  # the limit may be on either side
        (words(12), (0, 0), [0xF000], [0xF001]),  # with overlays above it
        (words(12, signed=True), (-2048, -2048), [0x0800], [0, 0x07FF]),
        (words(12, signed=True), (2048, 2048), [0x0800], [0]),  # its bits, as unsigned
        (words(16, signed=True), (63536, 63536), [63536], [2000]),  # -2000, as unsigned
        (words(12), (65535, 65535), [65535], [4095]),  # no value of 12 bits: the word itself
    ],
)
def test_what_is_padding(layout, padding, inside, outside):
    is_padding = Display(words=layout, padding=padding).is_padding()
    assert is_padding[inside].all() and not is_padding[outside].any()


# Deep films --------------------------------------------------------------------------------------


def test_films_of_8_bits_are_as_they_are_and_deeper_ones_have_a_scale():
    shallow = Display(words=words(8, allocated=8), inverse=True, padding=(7, 7))
    assert not shallow.is_deep and grey(shallow, 0, 7, 100, 255) == [255, 0, 155, 0]
    deep = Display(words=words(12), inverse=True)
    assert deep.is_deep
    assert deep.grey_table(bits_scale(12))[[0, 16, 4095]].tolist() == [255, 254, 0]
    assert Display(words=words(8, allocated=8), intercept=-1.0).is_deep
    assert Display(words=words(8, allocated=8, signed=True)).is_deep


@pytest.mark.parametrize("signed", [False, True])
def test_the_range_of_a_film_is_that_of_its_values_without_padding(signed):
    layout = words(12, signed=signed)
    stored = np.random.default_rng(0).integers(0, 3000, (50, 60)).astype(np.uint16)
    stored[:10] = 4000
    display = Display(words=layout, slope=0.5, intercept=3.0, padding=(4000, 4000))
    found = range_of_counts(*picture_values(display, stored), stored_bits=12)
    values = layout.values()[stored[10:]] * 0.5 + 3.0
    expected = measure_range(values)
    np.testing.assert_allclose([found.low, found.high], [expected.low, expected.high])
    assert found.is_integer == expected.is_integer and found.stored_bits == 12


def test_looking_up_is_indexing():
    table = np.random.default_rng(0).integers(0, 256, 2**16).astype(np.uint8)
    film = np.random.default_rng(1).integers(0, 2**16, (301, 500)).astype(np.uint16)
    np.testing.assert_array_equal(look_up(table, film), table[film])
