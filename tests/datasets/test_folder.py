"""The user's own radiographs: every way a file can be, every way a folder can be wrong."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from film_folders import (
    FILM_SIDE,
    SIZE,
    assert_one_line_naming,
    examples,
    filenames,
    make_folder,
    metadata_rows,
    picture,
    prepare,
    save,
    write_metadata,
)
from PIL import Image

from cxr_jax.datasets.cxr_folder import make_builder, make_config
from cxr_jax.datasets.cxr_folder.image_files import (
    fit_film,
    fit_lung_mask,
    read_grey,
    read_lung_mask,
)
from cxr_jax.datasets.cxr_folder.metadata import Film
from cxr_jax.datasets.cxr_folder.splits import assign_splits
from cxr_jax.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "films")


# One image file ----------------------------------------------------------------------------------


def read(path: Path) -> np.ndarray:
    image = read_grey(path)
    assert image.mode == "L"
    return np.asarray(image)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "gif"])
def test_lossless_grey_is_read_exactly(tmp_path, suffix):
    np.testing.assert_array_equal(read(save(tmp_path / f"x.{suffix}", picture())), picture())


def test_jpeg_is_read_nearly(tmp_path):
    path = save(tmp_path / "x.jpg", picture() // 8 + 100, quality=95)
    assert np.abs(read(path).astype(int) - (picture() // 8 + 100)).max() <= 6


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_deep_grey_gives_the_8_bit_picture(tmp_path, bits, suffix):
    noise = np.random.default_rng(0).integers(0, 2 ** (bits - 8), picture().shape)
    deep = (picture().astype(np.uint16) << (bits - 8)) + noise.astype(np.uint16)
    np.testing.assert_array_equal(read(save(tmp_path / f"x.{suffix}", deep)), picture())


def test_deep_grey_scaled_by_the_full_range_gives_the_8_bit_picture(tmp_path):
    deep = np.floor(picture() * (4095 / 255)).astype(np.uint16)
    assert np.abs(read(save(tmp_path / "x.png", deep)).astype(int) - picture()).max() <= 1


def test_narrow_range_far_from_zero_is_stretched(tmp_path):
    grey = read(save(tmp_path / "x.png", picture().astype(np.uint16) * 5 + 40_000))
    assert grey.min() == 0 and grey.max() == 255
    assert np.corrcoef(grey.ravel(), picture().ravel())[0, 1] > 0.9999


def test_one_hot_pixel_does_not_darken_a_12_bit_film(tmp_path):
    expected = picture(height=64, width=64)
    deep = expected.astype(np.uint16) * 16
    deep[0, 0] = 65535
    grey = read(save(tmp_path / "x.png", deep))
    assert grey[0, 0] == 255
    np.testing.assert_array_equal(grey[1:], expected[1:])


def test_float_tiff_is_stretched_and_nan_refused(tmp_path):
    values = picture().astype(np.float32) / 1000
    grey = read(save(tmp_path / "x.tif", values))
    assert grey.min() == 0 and grey.max() == 255
    values[3, 3] = np.nan
    with pytest.raises(InputError) as error:
        read_grey(save(tmp_path / "nan.tif", values))
    assert_one_line_naming(error, "nan.tif", "finite")


@pytest.mark.parametrize("value", [0, 300, 65535])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_film_of_one_value_is_refused(tmp_path, value, dtype):
    path = save(tmp_path / "x.png", np.full((20, 20), min(value, np.iinfo(dtype).max), dtype))
    with pytest.raises(InputError) as error:
        read_grey(path)
    assert_one_line_naming(error, "x.png", "one grey value", "remove")


def test_palette_colours_are_looked_up(tmp_path):
    image = Image.fromarray(picture()).convert("P")
    image.putpalette([255 - grey for grey in range(256) for _ in range(3)])
    image.putdata([int(grey) for grey in picture().ravel()])
    image.save(tmp_path / "x.png")
    np.testing.assert_array_equal(read(tmp_path / "x.png"), 255 - picture())


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_lies_over_black(tmp_path, mode):
    image = Image.fromarray(picture()).convert(mode)
    alpha = np.full(picture().shape, 255, np.uint8)
    alpha[:10] = 0
    image.putalpha(Image.fromarray(alpha))
    image.save(tmp_path / "x.png")
    grey = read(tmp_path / "x.png")
    assert (grey[:10] == 0).all()
    np.testing.assert_array_equal(grey[10:], picture()[10:])


def test_transparent_palette_entry_is_black(tmp_path):
    pixels = np.repeat([[7, 9]], FILM_SIDE, 0).repeat(FILM_SIDE // 2, 1).astype(np.uint8)
    image = Image.fromarray(pixels).convert("P")
    image.putpalette([200] * 768)
    image.putdata([int(index) for index in pixels.ravel()])
    image.save(tmp_path / "x.png", transparency=7)
    np.testing.assert_array_equal(read(tmp_path / "x.png"), np.where(pixels == 7, 0, 200))


def test_cmyk_is_not_inverted(tmp_path):
    ink = np.zeros((FILM_SIDE, FILM_SIDE, 4), np.uint8)
    ink[..., 3] = 255 - picture()  # black ink only
    Image.fromarray(ink, mode="CMYK").save(tmp_path / "x.tif")
    np.testing.assert_array_equal(read(tmp_path / "x.tif"), picture())
    smooth = np.full_like(ink, 0)
    smooth[..., 3] = 55
    smooth[16:, :, 3] = 155
    Image.fromarray(smooth, mode="CMYK").save(tmp_path / "x.jpg", quality=95)
    np.testing.assert_allclose(read(tmp_path / "x.jpg")[[0, 31]].mean(1), [200, 100], atol=2)


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, 3), (8, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_exif_orientation_is_applied(tmp_path, orientation, turns, dtype):
    stored = picture(height=24, width=40)
    exif = Image.Exif()
    exif[0x0112] = orientation
    deep = stored.astype(dtype) << (8 if dtype == np.uint16 else 0)
    path = save(tmp_path / "x.png", deep, exif=exif)
    np.testing.assert_array_equal(read(path), np.rot90(stored, turns))


def test_one_bit_image_is_read(tmp_path):
    Image.fromarray(picture() > 100).save(tmp_path / "x.png")
    np.testing.assert_array_equal(read(tmp_path / "x.png"), np.where(picture() > 100, 255, 0))


def write_16_bit_rgb(path: Path, pixels: np.ndarray) -> Path:
    """A 16-bit colour PNG, which Pillow cannot write; pixels: uint16 [height, width, 3]."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    height, width, _ = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )
    return path


def test_16_bit_colour_is_read_if_full_range_and_refused_if_not(tmp_path):
    deep = np.repeat(picture().astype(np.uint16)[..., None], 3, axis=2)
    full = write_16_bit_rgb(tmp_path / "full.png", deep * 257)
    np.testing.assert_array_equal(read(full), picture())
    with pytest.raises(InputError) as error:
        read_grey(write_16_bit_rgb(tmp_path / "low.png", deep * 16))
    assert_one_line_naming(error, "low.png", "16-bit or 8-bit grey")


def test_crop_takes_the_centre_and_pad_keeps_all():
    wide = Image.fromarray(picture(height=16, width=26))
    np.testing.assert_array_equal(np.asarray(fit_film(wide, 16)), np.asarray(wide)[:, 5:21])
    padded = np.asarray(fit_film(wide, 26, "pad"))
    np.testing.assert_array_equal(padded[5:21], np.asarray(wide))
    assert (padded[:5] == 0).all() and (padded[21:] == 0).all()


def test_resize_averages_instead_of_picking_pixels():
    checks = np.where(np.indices((64, 64)).sum(0) % 2, 255, 0).astype(np.uint8)
    small = np.asarray(fit_film(Image.fromarray(checks), 8)).astype(int)
    assert np.abs(small - 127).max() <= 3


def test_large_film_is_read(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (4000, 4000), np.uint8)
    small = np.asarray(fit_film(read_grey(save(tmp_path / "x.jpg", noise)), 64)).astype(int)
    assert small.shape == (64, 64) and np.abs(small.mean() - 127.5) < 3


def write_bad_file(path: Path, kind: str) -> None:
    good = path.with_name("good.png")
    save(good, np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))
    data = good.read_bytes()
    good.unlink()
    contents = {
        "truncated": data[: len(data) // 2],
        "flipped": data[:60] + bytes(40) + data[100:],
        "empty": b"",
        "text": b"This is not an image.",
        "binary": bytes(range(256)) * 4,
        "dicom": bytes(128) + b"DICM" + bytes(100),
    }
    path.write_bytes(contents[kind])


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("a.png", "truncated", ["damaged", "remove"]),
        ("a.png", "flipped", ["damaged", "remove"]),
        ("a.jpg", "empty", ["0 bytes", "remove"]),
        ("a.png", "text", ["text", "remove"]),
        ("a.png", "binary", ["not an image", "save it as PNG"]),
        ("a.dcm", "dicom", ["DICOM", "no picture"]),
        ("a.png", "dicom", ["DICOM", "no picture"]),
        ("a", "dicom", ["DICOM", "no picture"]),
    ],
)
def test_unreadable_file_is_named_with_a_remedy(tmp_path, name, kind, words):
    write_bad_file(tmp_path / name, kind)
    with pytest.raises(InputError) as error:
        read_grey(tmp_path / name)
    assert_one_line_naming(error, str(tmp_path / name), *words)


def test_tiny_missing_and_many_pictured_files_are_refused(tmp_path):
    with pytest.raises(InputError) as error:
        read_grey(save(tmp_path / "dot.png", np.zeros((1, 1), np.uint8)))
    assert_one_line_naming(error, "dot.png", "1x1", "16x16")
    with pytest.raises(InputError) as error:
        read_grey(tmp_path / "gone.png")
    assert_one_line_naming(error, "gone.png", "cannot be opened")
    pages = [Image.fromarray(picture(seed)) for seed in range(3)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError) as error:
        read_grey(tmp_path / "stack.tif")
    assert_one_line_naming(error, "stack.tif", "3 pictures")


@pytest.mark.parametrize("times_limit", [1.5, 3])  # Pillow warns at one, raises at two
def test_decompression_bomb_is_refused(tmp_path, monkeypatch, times_limit):
    path = save(tmp_path / "x.png", picture())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(FILM_SIDE**2 / times_limit))
    with pytest.raises(InputError) as error:
        read_grey(path)
    assert_one_line_naming(error, "x.png", "million pixels")


@pytest.mark.parametrize("lung", [1, 255, 60_000])
def test_lung_mask_means_the_same_at_every_depth(tmp_path, lung):
    mask = np.zeros((32, 32), np.uint16 if lung > 255 else np.uint8)
    mask[8:24, 4:12] = lung
    full = read_lung_mask(save(tmp_path / "m.png", mask), (32, 32)).image
    small = np.asarray(fit_lung_mask(full, 16))
    expected = np.zeros((16, 16), np.uint8)
    expected[4:12, 2:6] = 255
    np.testing.assert_array_equal(small, expected)


def test_lung_mask_of_another_size_or_empty_is_refused(tmp_path):
    with pytest.raises(InputError) as error:
        read_lung_mask(save(tmp_path / "m.png", picture()), (32, 40))
    assert_one_line_naming(error, "m.png", "32x32", "32x40")
    with pytest.raises(InputError) as error:
        read_lung_mask(save(tmp_path / "z.png", np.zeros((32, 32), np.uint8)), (32, 32))
    assert_one_line_naming(error, "z.png", "all zero")


# Splits ------------------------------------------------------------------------------------------


def make_films(number: int, films_per_patient: int = 1) -> list[Film]:
    return [
        Film(
            f"{c}/{i}.png",
            c,
            f"p{c}-{i // films_per_patient}",
            f"patient:p{c}-{i // films_per_patient}",
            None,
        )
        for c in (0, 1)
        for i in range(number)
    ]


def test_split_is_70_10_20_by_patient_in_each_class():
    films = assign_splits(make_films(300, films_per_patient=3))
    for label in (0, 1):
        of_class = [film.split for film in films if film.label == label]
        assert [of_class.count(s) for s in ("train", "validation", "test")] == [210, 30, 60]
    split_of_patient: dict[str, str] = {}
    for film in films:
        assert split_of_patient.setdefault(film.patient_id, film.split) == film.split


EXPECTED_TEST_PATIENTS: list[int] = [1, 3, 7, 19]


def test_split_does_not_depend_on_the_order_of_files():
    films = make_films(20)
    forwards = {film.filename: film.split for film in assign_splits(films)}
    backwards = {film.filename: film.split for film in assign_splits(films[::-1])}
    assert forwards == backwards
    # Fixed for all time: another order of patients would change published numbers.
    assert [i for i in range(20) if forwards[f"1/{i}.png"] == "test"] == EXPECTED_TEST_PATIENTS


def test_unknown_patients_are_patients_of_their_own(folder, tmp_path, caplog):
    write_metadata(
        folder,
        [{"filename": row["filename"], "patient_id": " "} for row in metadata_rows()],
    )
    builder = prepare(folder, tmp_path / "prepared")
    assert {split: len(names) for split, names in filenames(builder).items()} == {
        "train": 14, "validation": 2, "test": 4,
    }  # fmt: skip
    assert builder.report["unknown_patient"] == 20
    assert "of 20 films 20 have no patient_id" in caplog.text


def test_group_id_outranks_patient_id(folder, tmp_path):
    rows = metadata_rows()
    for i, row in enumerate(rows):
        del row["split"]
        row["patient_id"] = f"p{i}"
        row["group_id"] = f"{row['label']}-{i % 4}"
    write_metadata(folder, rows)
    group_of = {row["filename"]: row["group_id"] for row in rows}
    names = filenames(prepare(folder, tmp_path / "prepared"))
    groups = [{group_of[name] for name in names[split]} for split in names]
    assert sum(len(g) for g in groups) == len(set().union(*groups)) == 8


def test_metadata_split_is_followed_under_any_column_name(folder, tmp_path):
    rows = metadata_rows()
    spellings = {"train": "Train", "val": "valid", "test": "TEST"}
    for row in rows:
        row["split_by_source"] = {"train": "test", "test": "train", "val": "validation"}[
            row["split"]
        ]
        row["split"] = spellings[row["split"]]
    write_metadata(folder, rows)
    by_split = filenames(prepare(folder, tmp_path / "prepared"))
    assert by_split["test"] == {f"{c}/0{i}.png" for c in ("covid", "normal") for i in (8, 9)}
    by_source = filenames(prepare(folder, tmp_path / "prepared", split_column="split_by_source"))
    assert by_source["train"] == by_split["test"] and by_source["test"] == by_split["train"]
    by_patient = prepare(folder, tmp_path / "prepared", split_column="")
    assert {len(rows) for rows in filenames(by_patient).values()} == {12, 4}  # 3/1/1 patients


# A folder that is wrong --------------------------------------------------------------------------


def drop_covid(folder):
    for path in sorted((folder / "covid").iterdir()):
        path.unlink()


def only_one_class(folder):
    (folder / "normal").rename(folder.parent / "elsewhere")


def other_positive_name(folder):
    (folder / "covid").rename(folder / "COVID-19")


def drawings_in_a_class(folder):
    save(folder / "covid" / "annotated" / "03.png", picture())


def two_patients_only(folder):
    for i in range(2, 10):
        (folder / "covid" / f"{i:02d}.png").unlink()


def mask_of_another_size(folder):
    save(folder / "lung_masks" / "covid" / "00.png", picture(height=40))


def masks_of_no_film(folder):
    save(folder / "lung_masks" / "covid" / "mask_00.png", picture())


def control_character(folder):
    (folder / "covid" / "00.png").rename(folder / "covid" / "0\n0.png")


@pytest.mark.parametrize(
    ("break_folder", "words"),
    [
        (drop_covid, ["covid", "no image"]),
        (only_one_class, ["only the class 'covid'"]),
        (other_positive_name, ["COVID-19", "positive_class"]),
        (drawings_in_a_class, ["covid/annotated", "03.png", "move"]),
        (two_patients_only, ["train", "'covid'", "3 patients"]),
        (mask_of_another_size, ["lung_masks/covid/00.png", "32x40", "32x32"]),
        (masks_of_no_film, ["lung_masks", "lung_masks/covid/00.png"]),
        (control_character, ["0\\n0.png", "rename"]),
    ],
)
def test_broken_folder_is_one_line_and_writes_nothing(folder, tmp_path, break_folder, words):
    break_folder(folder)
    with pytest.raises(InputError) as error:
        prepare(folder, tmp_path / "prepared")
    assert_one_line_naming(error, str(folder) if "\\n" not in words[0] else "", *words)
    assert not list((tmp_path / "prepared").rglob("*"))


def test_missing_folder_and_file_as_folder(tmp_path):
    with pytest.raises(InputError) as error:
        make_config(tmp_path / "nowhere")
    assert_one_line_naming(error, "nowhere", "no such folder")
    with pytest.raises(InputError) as error:
        make_config(save(tmp_path / "x.png", picture()))
    assert_one_line_naming(error, "x.png", "not a folder")


@pytest.mark.parametrize("field", [{"size": 0}, {"square": "stretch"}])
def test_bad_fields_are_refused(folder, field):
    with pytest.raises(InputError) as error:
        make_config(folder, **field)
    assert_one_line_naming(error, *field)


def missing_file(rows):
    rows[3]["filename"] = "covid/gone.png"


def unlisted_file(rows):
    rows.pop(4)


def duplicate_row(rows):
    rows.append(dict(rows[5]))


def unknown_split(rows):
    rows[6]["split"] = "holdout"


def empty_split(rows):
    rows[6]["split"] = ""


def wrong_label(rows):
    rows[2]["label"] = "normal"


def wrong_number(rows):
    for row in rows:
        row["label"] = "1"


def no_filename_column(rows):
    for row in rows:
        row["picture_of"] = row.pop("filename")


def no_filename(rows):
    rows[1]["filename"] = ""


def torn_patient(rows):
    rows[0]["patient_id"] = rows[9]["patient_id"]


def torn_patient_in_groups(rows):
    for i, row in enumerate(rows):
        row["group_id"] = f"g{i}"
    torn_patient(rows)


def no_test(rows):
    for row in rows:
        row["split"] = row["split"].replace("test", "val")


def validation_without_positives(rows):
    for row in rows:
        if row["label"] == "covid":
            row["split"] = row["split"].replace("val", "train")


@pytest.mark.parametrize(
    ("break_rows", "words"),
    [
        (missing_file, ["line 5", "covid/gone.png"]),
        (unlisted_file, ["covid/04.png", "no row"]),
        (duplicate_row, ["line 22", "covid/05.png", "twice"]),
        (unknown_split, ["line 8", "covid/06.png", "'holdout'"]),
        (empty_split, ["line 8", "covid/06.png", "''"]),
        (wrong_label, ["line 4", "covid/02.png", "'normal'", "'covid'"]),
        (wrong_number, ["normal/00.png", "'1'"]),
        (no_filename_column, ["'filename'", "label"]),
        (no_filename, ["line 3", "empty"]),
        (torn_patient, ["'covid-4'", "covid/00.png", "covid/08.png"]),
        (torn_patient_in_groups, ["'covid-4'", "covid/00.png", "covid/08.png"]),
        (no_test, ["split test"]),
        (validation_without_positives, ["validation", "'covid'"]),
    ],
)
def test_broken_metadata_is_one_line_and_writes_nothing(folder, tmp_path, break_rows, words):
    rows = metadata_rows()
    break_rows(rows)
    path = write_metadata(folder, rows)
    with pytest.raises(InputError) as error:
        prepare(folder, tmp_path / "prepared")
    assert_one_line_naming(error, str(path), *words)
    assert not list((tmp_path / "prepared").rglob("*"))


def test_metadata_that_is_no_table(folder, tmp_path):
    path = folder / "metadata.csv"
    for content, words in [
        (b"", ["'filename'"]),
        (b"filename;label\ncovid/00.png;covid\n", ["'filename'", "commas"]),
        ("filename,label\ncovid/00.png,é\n".encode("latin-1"), ["UTF-8"]),
        (b"filename,label\ncovid/00.png,covid,more\n", ["line 2", "quotes"]),
        (b"filename,label\ncovid/0\x000.png,covid\n", ["line 2", "0\\x000.png", "unreadable"]),
        (b"filename,label,label\ncovid/00.png,covid,1\n", ["two columns", "'label'"]),
    ]:
        path.write_bytes(content)
        with pytest.raises(InputError) as error:
            prepare(folder, tmp_path / "prepared")
        assert_one_line_naming(error, str(path), *words)


def test_split_column_that_is_not_there(folder, tmp_path):
    with pytest.raises(InputError) as error:
        prepare(folder, tmp_path / "prepared", split_column="split_by_source")
    assert_one_line_naming(error, "metadata.csv", "'split_by_source'")
    write_metadata(folder, metadata_rows())
    with pytest.raises(InputError) as error:
        prepare(folder, tmp_path / "prepared", split_column="split_by_source")
    assert_one_line_naming(error, "metadata.csv", "'split_by_source'", "patient_id")


def test_what_spreadsheets_do_to_metadata_is_understood(folder, tmp_path):
    lines = ["\ufefffilename ,, label,split,patient_id"]  # mark, unnamed column, spaces
    for i, row in enumerate(metadata_rows()):
        name = row["filename"].replace("/", "\\")
        lines.append(f" {name},{i},{int(row['label'] == 'covid')},{row['split']} ,{i // 2},,")
    lines.append(",,,,")
    (folder / "metadata.csv").write_text("\r\n".join(lines), encoding="utf-8")
    assert prepare(folder, tmp_path / "prepared").report["films"] == 20


# Unreadable films in a folder --------------------------------------------------------------------


def test_unreadable_film_stops_the_preparation(folder, tmp_path):
    write_bad_file(folder / "covid" / "03.png", "truncated")
    write_bad_file(folder / "normal" / "04.png", "empty")
    with pytest.raises(InputError) as error:
        prepare(folder, tmp_path / "prepared")
    assert_one_line_naming(error, "covid/03.png", "damaged", "1 more", "skip_unreadable")
    assert not list((tmp_path / "prepared").rglob("*"))


def test_skipped_and_ignored_files_are_reported(folder, tmp_path, caplog):
    write_bad_file(folder / "covid" / "03.png", "truncated")
    write_bad_file(folder / "normal" / "04.png", "empty")
    write_bad_file(folder / "normal" / "scan", "dicom")
    for name in ("covid/.DS_Store", "covid/._00.png", "normal/Thumbs.db", "readme.txt"):
        (folder / name).write_bytes(b"junk")
    (folder / "__MACOSX").mkdir()
    save(folder / "lung_masks" / "covid" / "00.png", picture())
    save(folder / "lung_masks" / "covid" / "other.png", picture())
    prepare(folder, tmp_path / "prepared", skip_unreadable=True)
    caplog.clear()
    report = prepare(folder, tmp_path / "prepared", skip_unreadable=True).report  # from the cache
    assert report["films"] == 18
    skipped = {entry["filename"]: entry["reason"] for entry in report["skipped"]}
    assert sorted(skipped) == ["covid/03.png", "normal/04.png", "normal/scan"]
    assert "DICOM" in skipped["normal/scan"]
    assert report["ignored"] == [
        "__MACOSX", "covid/.DS_Store", "covid/._00.png", "lung_masks/covid/other.png",
        "normal/Thumbs.db", "readme.txt",
    ]  # fmt: skip
    for name in [*skipped, *report["ignored"]]:
        assert name in caplog.text


def test_skipping_may_not_empty_a_split(folder, tmp_path):
    write_metadata(folder, metadata_rows())
    for i in (6, 7):
        write_bad_file(folder / "covid" / f"{i:02d}.png", "empty")
    with pytest.raises(InputError) as error:
        prepare(folder, tmp_path / "prepared", skip_unreadable=True)
    assert_one_line_naming(error, "validation", "'covid'")


def test_copies_across_classes_and_small_films_are_reported(folder, tmp_path):
    save(folder / "normal" / "00.png", picture(5))  # the same as covid/05.png
    report = prepare(folder, tmp_path / "prepared", size=40).report
    assert report["copies"] == ["covid/05.png", "normal/00.png"]
    assert len(report["enlarged"]) == 20


# The builder -------------------------------------------------------------------------------------


def test_round_trip(folder, tmp_path):
    write_metadata(folder, metadata_rows())
    mask = np.zeros((FILM_SIDE, FILM_SIDE), np.uint8)
    mask[:16] = 255
    save(folder / "lung_masks" / "covid" / "08.png", mask)
    found = examples(prepare(folder, tmp_path / "prepared"))
    assert {split: len(rows) for split, rows in found.items()} == {
        "train": 12, "validation": 4, "test": 4,
    }  # fmt: skip
    for row in (row for rows in found.values() for row in rows):
        expected = fit_film(Image.open(folder / row["filename"]), SIZE)
        assert row["image"].dtype == np.uint8 and row["image"].shape == (SIZE, SIZE, 1)
        np.testing.assert_array_equal(row["image"][..., 0], np.asarray(expected))
        class_name, number = row["filename"].removesuffix(".png").split("/")
        assert row["label"] == (class_name == "covid")
        assert row["patient_id"] == f"{class_name}-{int(number) // 2}"
        assert row["has_lung_mask"] == (row["filename"] == "covid/08.png")
        expected_mask = np.zeros((SIZE, SIZE, 1), np.uint8)
        expected_mask[: SIZE // 2] = 255 if row["has_lung_mask"] else 0
        np.testing.assert_array_equal(row["lung_mask"], expected_mask)


def test_changed_pixel_gives_new_data(folder, tmp_path):
    before = prepare(folder, tmp_path / "prepared")
    changed = picture(0)
    changed[10, 10] += 50
    save(folder / "covid" / "00.png", changed)
    after = prepare(folder, tmp_path / "prepared")
    assert before.builder_config.name != after.builder_config.name
    images = [
        next(row["image"] for rows in examples(b).values() for row in rows
             if row["filename"] == "covid/00.png")
        for b in (before, after)
    ]  # fmt: skip
    assert (images[0] != images[1]).any()


def test_name_follows_contents_and_fields_only(folder, tmp_path):
    name = make_config(folder).name
    twin = make_folder(tmp_path / "twin")
    assert make_config(twin).name == name
    (twin / "notes.txt").write_text("not used")
    assert make_config(twin).name == name
    others = [
        make_config(folder, size=32),
        make_config(folder, positive_class="normal"),
        make_config(folder, split_column=""),
        make_config(folder, skip_unreadable=True),
        make_config(folder, square="pad"),
    ]
    (twin / "covid" / "09.png").rename(twin / "covid" / "0z.png")  # same place in the order
    others.append(make_config(twin))
    save(folder / "lung_masks" / "covid" / "00.png", picture())
    others.append(make_config(folder))
    write_metadata(folder, metadata_rows())
    others.append(make_config(folder))
    assert len({name, *(other.name for other in others)}) == 1 + len(others)


def test_folder_changed_between_naming_and_reading_is_refused(folder, tmp_path):
    builder = make_builder(folder, tmp_path / "prepared", size=SIZE)
    save(folder / "covid" / "00.png", picture(77))
    with pytest.raises(InputError) as error:
        builder.download_and_prepare()
    assert_one_line_naming(error, str(folder), "changed")
    assert not list((tmp_path / "prepared").rglob("*"))


def test_interrupted_writing_is_not_accepted_later(folder, tmp_path, monkeypatch):
    builder = make_builder(folder, tmp_path / "prepared", size=SIZE)

    def fail_midway(self, films):
        del self
        yield films[0][0].filename, {"image": b"not a whole example"}

    with monkeypatch.context() as patch:
        patch.setattr(type(builder), "_generate_examples", fail_midway)
        with pytest.raises(Exception, match="(?s).*"):
            builder.download_and_prepare()
    assert not builder.data_path.exists()
    assert len(filenames(prepare(folder, tmp_path / "prepared"))["train"]) == 14


def test_real_radiographs(tmp_path):
    folder = os.environ.get("CXR_DATA")
    if not folder:
        pytest.skip("CXR_DATA does not name a folder of real radiographs")
    builder = prepare(Path(folder), tmp_path / "prepared", size=32)
    assert not builder.report["skipped"]
    owner: dict[str, str] = {}
    for split, rows in examples(builder).items():
        assert {row["label"] for row in rows} == {0, 1}
        for row in rows:
            if row["patient_id"]:
                assert owner.setdefault(row["patient_id"], split) == split
