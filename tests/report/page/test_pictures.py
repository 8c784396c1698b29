"""Pictures of report.html are to the grey level what they are made of."""

import base64
import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from cxr_jax.report.page import pictures


def read(uri: str) -> np.ndarray:
    kind, data = uri.split(",", 1)
    assert kind == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3), (7, 5, 4)])
def test_no_grey_level_is_lost(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = read(pictures.data_uri(pixels))
    expected = np.repeat(pixels[..., None], 3, axis=2) if len(shape) == 2 else pixels
    np.testing.assert_array_equal(found[..., : expected.shape[2]], expected)


def test_a_map_goes_from_nothing_to_its_own_largest_value():
    found = read(pictures.heat(np.array([[0.0, 1.0, 2.0]]), "gray"))[0, :, 0]
    assert found[0] == 0 and found[2] == 255 and abs(int(found[1]) - 128) <= 255 / 64
    assert (read(pictures.heat(np.zeros((2, 2)), "gray"))[..., 0] == 0).all()


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 11), st.integers(1, 4), st.integers(1, 4))))
def test_the_film_and_the_sheet_give_every_frame_back(frames):
    """As a canvas does it: adding first, then the difference; nothing is cut off."""
    count, height, width = frames.shape
    sheet, columns = pictures.change_sheet(frames), pictures.sheet_columns(count)
    assert sheet.shape[1] == 2 * columns * width and max(sheet.shape) < 16_384
    found = frames[0].astype(int)
    for place in range(count):
        top, left = place // columns * height, place % columns * width
        added = sheet[top : top + height, left : left + width].astype(int)
        left += columns * width
        removed = sheet[top : top + height, left : left + width].astype(int)
        assert not (added * removed).any()
        found = np.abs(np.minimum(found + added, 255) - removed)
        np.testing.assert_array_equal(found, frames[place])


def test_a_strip_has_its_frames_in_order_and_is_no_higher_than_asked():
    frames = np.uint8([[[10, 10], [10, 10]], [[200, 200], [200, 200]]])
    np.testing.assert_array_equal(pictures.strip(frames, 2, gap=1), [[10, 10, 255, 200, 200]] * 2)
    np.testing.assert_array_equal(pictures.strip(frames, 1, gap=2), [[10, 255, 255, 200]])


def test_the_tint_says_the_sign_by_colour_and_the_size_by_opacity():
    change = np.array([[0.0, 0.25, 0.5, 2.0], [0.0, -0.25, -0.5, -2.0]])
    found = pictures.tint(change, 0.5, added=(250, 1, 2), removed=(3, 4, 240))
    np.testing.assert_array_equal(found[..., 3], [[0, 128, 255, 255]] * 2)
    np.testing.assert_array_equal(found[0, 1:, :3], [(250, 1, 2)] * 3)
    np.testing.assert_array_equal(found[1, 1:, :3], [(3, 4, 240)] * 3)


def edges(path: str) -> set[tuple[int, int, str]]:
    """The unit edges that an SVG path draws: where each begins, and which way it goes."""
    found = []
    for x, y, way, length in re.findall(r"M(\d+) (\d+)([hv])(\d+)", path):
        for step in range(int(length)):
            moved = (int(x) + step, int(y)) if way == "h" else (int(x), int(y) + step)
            found.append((*moved, way))
    assert len(found) == len(set(found))
    return set(found)


def test_an_outline_goes_round_a_mask():
    mask = np.zeros((4, 5), bool)
    mask[1:3, 2] = True
    path = pictures.outline(mask)
    assert edges(path) == {
        *((2, 1, "h"), (2, 3, "h")),
        *((2, 1, "v"), (2, 2, "v"), (3, 1, "v"), (3, 2, "v")),
    }
    assert path.count("M") == 4, "neighbouring edges are one line"
    assert pictures.outline(np.zeros((3, 3), bool)) == ""


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 5))))
def test_an_outline_lies_wherever_the_mask_ends(mask):
    wide = np.pad(mask, 1)
    expected = {
        (x, y, "h")
        for y in range(mask.shape[0] + 1)
        for x in range(mask.shape[1])
        if wide[y, x + 1] != wide[y + 1, x + 1]
    } | {
        (x, y, "v")
        for y in range(mask.shape[0])
        for x in range(mask.shape[1] + 1)
        if wide[y + 1, x] != wide[y + 1, x + 1]
    }
    assert edges(pictures.outline(mask)) == expected
