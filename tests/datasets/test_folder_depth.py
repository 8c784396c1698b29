"""Films of more than 8 bits: one scale for a source, negatives, and films that cannot be of one."""

import numpy as np
import pytest
import tifffile
from film_folders import assert_one_line_naming, examples, picture, prepare, save, write_metadata

from cxr_jax.datasets.cxr_folder.depth import ValueRange, source_scale
from cxr_jax.datasets.cxr_folder.image_files import read_grey
from cxr_jax.errors import InputError

CLASSES = ("covid", "normal")


def deep(peak: float, seed: int = 0) -> np.ndarray:
    """A film of 16 bits whose brightest values are `peak`, uint16 [64, 64]."""
    shape = np.sin(np.linspace(0.1, 1.5 + seed / 100, 64))[:, None] * np.linspace(0.2, 1, 64)
    values = shape / shape.max() * peak
    values[:, -2:] = peak
    return values.astype(np.uint16)


def deep_folder(root, peaks: list[int]):
    for name in CLASSES:
        for i, peak in enumerate(peaks):
            save(root / name / f"{name}{i}.png", deep(peak, i))
    return root


def pixels(builder) -> dict[str, np.ndarray]:
    return {
        row["filename"]: row["image"][..., 0].astype(int)
        for rows in examples(builder).values()
        for row in rows
    }


def test_one_detector_is_one_scale_whatever_each_film_s_peak(tmp_path, caplog):
    """4088 needs 12 bits and 4115 a thirteenth: read alone the one is four times as bright."""
    folder = deep_folder(tmp_path / "films", [4088, 4115] * 5)
    caplog.set_level("INFO")
    builder = prepare(folder, tmp_path / "prepared", size=64)
    brightest = {image.max() for image in pixels(builder).values()}
    assert brightest <= {254, 255}  # 4088 // 16 is 255; of interpolation one grey level
    assert builder.report["depth"][0]["bits"] == 12
    assert "20 films of more than 8 bits are read as 12 bits (data.bits)" in caplog.text
    assert "if they come from several detectors" not in caplog.text


def test_a_dark_film_stays_dark(tmp_path, caplog):
    folder = deep_folder(tmp_path / "films", [1000] + [4000] * 9)
    builder = prepare(folder, tmp_path / "prepared", size=64)
    found = pixels(builder)
    assert abs(found["covid/covid0.png"].max() - 1000 // 16) <= 1
    assert abs(found["covid/covid1.png"].max() - 4000 // 16) <= 1
    assert "deep films of one scale go up to 1000 (covid/covid0.png) and to 4000" in caplog.text


def test_two_detectors_need_to_be_told_apart(tmp_path):
    folder = deep_folder(tmp_path / "films", [4000] * 5 + [62000] * 5)
    with pytest.raises(InputError) as error:
        prepare(folder, tmp_path / "prepared")
    assert_one_line_naming(error, "4000", "62000", "covid0.png", "`source`", "data.bits")
    assert not list((tmp_path / "prepared").rglob("*"))
    rows = [
        {"filename": f"{name}/{name}{i}.png", "Source": "A" if i < 5 else "B"}
        for name in CLASSES
        for i in range(10)
    ]
    write_metadata(folder, rows)
    builder = prepare(folder, tmp_path / "prepared", size=64)
    found = pixels(builder)
    assert abs(found["covid/covid0.png"].max() - 4000 // 16) <= 1
    assert abs(found["covid/covid9.png"].max() - 62000 // 256) <= 1
    assert [(each["source"], each["bits"]) for each in builder.report["depth"]] == [
        ("A", 12), ("B", 16),
    ]  # fmt: skip


def test_bits_that_are_given_are_taken(tmp_path):
    folder = deep_folder(tmp_path / "films", [4000] * 5 + [62000] * 5)
    builder = prepare(folder, tmp_path / "prepared", size=64, bits=16)
    found = pixels(builder)
    assert abs(found["covid/covid0.png"].max() - 4000 // 256) <= 1
    assert abs(found["covid/covid9.png"].max() - 62000 // 256) <= 1


@pytest.mark.parametrize("bits", [1, 7, 17, -8])
def test_bits_that_no_detector_has(tmp_path, bits):
    with pytest.raises(InputError) as error:
        prepare(deep_folder(tmp_path / "films", [4000] * 10), tmp_path / "prepared", bits=bits)
    assert_one_line_naming(error, f"bits={bits}", "8 to 16")


def test_films_of_8_bits_are_as_they_are_beside_deep_ones(tmp_path):
    folder = deep_folder(tmp_path / "films", [4000] * 10)
    save(folder / "covid" / "eight.png", picture(height=64, width=64))
    found = pixels(prepare(folder, tmp_path / "prepared", size=64))
    np.testing.assert_array_equal(found["covid/eight.png"], picture(height=64, width=64))


@pytest.mark.parametrize(
    ("ranges", "bits"),
    [
        ([(0, 4088), (0, 4115)], 12),
        ([(10, 250), (0, 260)], 8),
        ([(0, 1000), (0, 1023)], 10),
        ([(0, 4400), (0, 4088)], 14),
        ([(0, 65535)], 16),
        ([(40_000, 41_000), (40_500, 42_000)], None),
    ],
)
def test_the_depth_of_a_source(ranges, bits):
    films = {str(i): ValueRange(*each, is_integer=True) for i, each in enumerate(ranges)}
    assert source_scale(films, "films").bits == bits


def test_floats_of_a_source_are_stretched_together():
    films = {"a": ValueRange(0.0, 0.5, False), "b": ValueRange(0.1, 1.0, False)}
    scale = source_scale(films, "films")
    assert scale(np.array([[0.0, 0.5, 1.0, 2.0]])).tolist() == [[0, 128, 255, 255]]


# Negatives ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_white_is_zero_is_upright(tmp_path, dtype, compression):
    upright = picture().astype(dtype) * (257 if dtype == np.uint16 else 1)
    white = 65535 if dtype == np.uint16 else 255
    path = tmp_path / "x.tif"
    tifffile.imwrite(
        path, (white - upright).astype(dtype), photometric="miniswhite", compression=compression
    )
    grey = np.asarray(read_grey(path)).astype(int)
    if dtype == np.float32:  # stretched: only the order of brightness is kept
        assert np.corrcoef(grey.ravel(), picture().ravel())[0, 1] > 0.999
    else:
        np.testing.assert_array_equal(grey, picture())


def test_white_is_zero_of_12_bits_is_upright(tmp_path):
    stored = 4095 - picture().astype(np.uint16) * 16
    tifffile.imwrite(tmp_path / "x.tif", stored, photometric="miniswhite")
    grey = np.asarray(read_grey(tmp_path / "x.tif")).astype(int)
    assert np.abs(grey - picture()).max() <= 1


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_what_would_be_read_in_the_wrong_byte_order_is_refused(tmp_path, dtype):
    path = tmp_path / "x.tif"
    values = picture().astype(dtype) * 16
    tifffile.imwrite(path, values, photometric="minisblack", compression="zlib", byteorder=">")
    with pytest.raises(InputError) as error:
        read_grey(path)
    assert_one_line_naming(error, "x.tif", "big-endian", "16-bit PNG")
    tifffile.imwrite(path, values, photometric="minisblack", byteorder=">")
    assert np.corrcoef(np.asarray(read_grey(path)).ravel(), picture().ravel())[0, 1] > 0.999


# Films of one value ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_film_of_one_value_counts_as_damaged(tmp_path, dtype):
    folder = deep_folder(tmp_path / "films", [4000] * 10)
    save(folder / "covid" / "covid3.png", np.full((64, 64), 77, dtype))
    with pytest.raises(InputError) as error:
        prepare(folder, tmp_path / "prepared")
    assert_one_line_naming(error, "covid/covid3.png", "one grey value", "skip_unreadable")
    report = prepare(folder, tmp_path / "prepared", skip_unreadable=True).report
    assert [each["filename"] for each in report["skipped"]] == ["covid/covid3.png"]
    assert report["films"] == 19


# Squares -----------------------------------------------------------------------------------------


def test_square_is_crop_or_pad(tmp_path):
    folder = tmp_path / "films"
    for name in CLASSES:
        for i in range(5):
            save(folder / name / f"{name}{i}.png", picture(i, height=16, width=26))
    cropped = prepare(folder, tmp_path / "prepared", size=16)
    padded = prepare(folder, tmp_path / "prepared", size=26, square="pad")
    whole = picture(3, height=16, width=26)
    np.testing.assert_array_equal(pixels(cropped)["covid/covid3.png"], whole[:, 5:21])
    np.testing.assert_array_equal(pixels(padded)["covid/covid3.png"][5:21], whole)
    assert (pixels(padded)["covid/covid3.png"][[0, -1]] == 0).all()
