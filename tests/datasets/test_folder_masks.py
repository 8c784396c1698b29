"""Lung masks as people store them: values, sizes, names, and what is none."""

import numpy as np
import pytest
from film_folders import (
    assert_one_line_naming,
    examples,
    make_folder,
    picture,
    prepare,
    save,
)
from PIL import Image

from cxr_jax.datasets.cxr_folder.film_checks import is_mask_like
from cxr_jax.datasets.cxr_folder.image_files import fit_lung_mask, read_lung_mask
from cxr_jax.datasets.cxr_folder.lung_masks import match_masks
from cxr_jax.errors import InputError

LEFT, RIGHT = (slice(8, 24), slice(4, 12)), (slice(8, 24), slice(20, 28))


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "films")


def mask_of(left: int, right: int, dtype=np.uint8) -> np.ndarray:
    """Two lungs on 32 x 32 pixels, together a quarter of the picture."""
    mask = np.zeros((32, 32), dtype)
    mask[LEFT], mask[RIGHT] = left, right
    return mask


# Values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [(1, 1), (1, 2), (127, 255), (255, 128), (76, 150), (3, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_each_value_above_zero_is_lung(tmp_path, values, dtype):
    mask = read_lung_mask(save(tmp_path / "m.png", mask_of(*values, dtype)), (32, 32)).image
    np.testing.assert_array_equal(np.asarray(mask), mask_of(255, 255))


@pytest.mark.parametrize("values", [(255, 255), (127, 255)])
def test_what_jpeg_adds_is_no_lung(tmp_path, values):
    """On edges inside JPEG's blocks of 8 pixels, where it rings furthest."""
    large = np.roll(np.kron(mask_of(*values), np.ones((8, 8), np.uint8)), 3, axis=(0, 1))
    mask = read_lung_mask(save(tmp_path / "m.jpg", large, quality=50), (256, 256)).image
    wrong = (np.asarray(mask) > 0) != (large > 0)
    assert wrong.mean() < 0.002


# Sizes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 64), (16, 16), (299, 299), (1024, 1010)])
def test_a_mask_of_another_size_is_brought_to_its_films(tmp_path, size):
    path = tmp_path / "m.png"
    Image.fromarray(mask_of(1, 2)).resize(size, Image.Resampling.NEAREST).save(path)
    mask = read_lung_mask(path, (32, 32)).image
    assert mask.size == (32, 32)
    wrong = np.asarray(mask) != mask_of(255, 255)
    assert wrong.mean() < (0.07 if size == (299, 299) else 0.001)


@pytest.mark.parametrize(
    ("size", "fits"), [((100, 101), True), ((100, 103), False), ((90, 60), False)]
)
def test_a_mask_of_another_shape_is_refused(tmp_path, size, fits):
    path = tmp_path / "m.png"
    Image.fromarray(mask_of(1, 2)).resize(size, Image.Resampling.NEAREST).save(path)
    if fits:
        assert read_lung_mask(path, (200, 200)).image.size == (200, 200)
        return
    with pytest.raises(InputError) as error:
        read_lung_mask(path, (200, 200))
    assert_one_line_naming(error, "m.png", f"{size[0]}x{size[1]}", "200x200")


@pytest.mark.parametrize(
    ("part", "share"), [(np.s_[4:5, 4:6], "0.2%"), (np.s_[:4, :4], "1.6%"), (np.s_[1:], "96.9%")]
)
def test_a_speck_and_a_whole_film_are_no_lungs(folder, tmp_path, part, share):
    mask = np.zeros((32, 32), np.uint8)
    mask[part] = 255
    save(folder / "lung_masks" / "covid" / "03.png", mask)
    with pytest.raises(InputError) as error:
        prepare(folder, tmp_path / "prepared")
    assert_one_line_naming(error, "lung_masks/covid/03.png", share, "lungs")
    assert not list((tmp_path / "prepared").rglob("*"))


# Names -------------------------------------------------------------------------------------------

FILMS = (
    "covid/e.png",
    "covid/e.jpg",
    "covid/a.png",
    "covid/images/b.jpg",
    "covid/p1/c.png",
    "normal/a.png",
    "normal/d.png",
)


@pytest.mark.parametrize(
    ("mask", "film"),
    [
        ("lung_masks/covid/a.png", "covid/a.png"),
        ("lung_masks/covid/a.tif", "covid/a.png"),
        ("lung_masks/covid/a_mask.png", "covid/a.png"),
        ("lung_masks/covid/e.jpg", "covid/e.jpg"),
        ("lung_masks/covid/a_lung_mask.PNG", "covid/a.png"),
        ("Lung Masks/normal/A-Mask.gif", "normal/a.png"),
        ("covid/masks/b.png", "covid/images/b.jpg"),
        ("covid/p1/masks/c.png", "covid/p1/c.png"),
        ("lung_masks/covid/p1/c.png", "covid/p1/c.png"),
        ("lung_masks/d_mask.png", "normal/d.png"),
    ],
)
def test_masks_find_their_films(mask, film):
    assert match_masks(FILMS, [mask], "films") == ({film: mask}, [])


def test_masks_of_no_film_are_left_aside():
    masks = ["lung_masks/covid/a.png", "lung_masks/covid/z.png"]
    assert match_masks(FILMS, masks, "films")[1] == ["lung_masks/covid/z.png"]


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        (["lung_masks/a.png"], ["covid/a.png", "normal/a.png"]),
        (["lung_masks/covid/e_mask.png"], ["covid/e.png", "covid/e.jpg"]),
        (["lung_masks/covid/a.png", "lung_masks/covid/a_mask.png"], ["a.png", "a_mask.png"]),
        (["lung_masks/x.png"], ["none of its 1 masks", "lung_masks/covid/a.png"]),
    ],
)
def test_masks_that_may_be_of_several_films(masks, words):
    with pytest.raises(InputError) as error:
        match_masks(FILMS, masks, "films")
    assert_one_line_naming(error, *words)


@pytest.mark.parametrize(
    "name", ["lung_masks/covid/03_mask.jpg", "Lung_Masks/covid/03.bmp", "covid/03_mask.png"]
)
def test_a_found_mask_is_its_films_and_no_film(folder, tmp_path, name, caplog):
    save(folder / name, mask_of(255, 255))
    caplog.set_level("INFO")
    builder = prepare(folder, tmp_path / "prepared")
    rows = {row["filename"]: row for rows in examples(builder).values() for row in rows}
    assert len(rows) == 20
    assert [name for name, row in rows.items() if row["has_lung_mask"]] == ["covid/03.png"]
    expected = fit_lung_mask(Image.fromarray(mask_of(255, 255)), 16)
    np.testing.assert_array_equal(rows["covid/03.png"]["lung_mask"][..., 0], expected)
    assert "lung masks of 1 films (covid 1); they cover 25% of the picture" in caplog.text
    assert "only positive films have lung masks (none of normal)" in caplog.text


def test_masks_of_both_classes_are_not_warned_of(folder, tmp_path, caplog):
    for name in ("covid", "normal"):
        save(folder / "lung_masks" / name / "03.png", mask_of(1, 2))
    report = prepare(folder, tmp_path / "prepared").report
    assert report["lung_masks"] == {"covid": 1, "normal": 1}
    assert report["lung_share"] == pytest.approx(3 * [0.25])
    assert "only" not in caplog.text


def test_what_was_done_to_masks_is_counted(folder, tmp_path, caplog):
    save(folder / "lung_masks" / "covid" / "03.png", mask_of(1, 2))
    large = np.kron(mask_of(1, 1), np.ones((2, 2), np.uint8))
    save(folder / "lung_masks" / "covid" / "04.png", large)
    save(folder / "lung_masks" / "normal" / "04.png", mask_of(255, 255))
    caplog.set_level("INFO")
    report = prepare(folder, tmp_path / "prepared").report
    assert report["mask_notes"] == {"parts": 1, "resized": 1}
    assert "1 lung masks have several grey values" in caplog.text
    assert "1 lung masks are resized" in caplog.text


# Masks that are taken for films ------------------------------------------------------------------


@pytest.mark.parametrize("values", [(255, 255), (1, 1), (1, 2), (127, 255)])
def test_masks_are_known(tmp_path, values):
    large = np.kron(mask_of(*values), np.ones((8, 8), np.uint8))
    assert is_mask_like(Image.fromarray(large))
    if max(values) > 2:
        blurred = Image.fromarray(large).resize((250, 250), Image.Resampling.BILINEAR)
        blurred.save(tmp_path / "m.jpg", quality=80)
        assert is_mask_like(Image.open(tmp_path / "m.jpg"))


def test_films_are_no_masks():
    assert not is_mask_like(Image.fromarray(picture()))
    collimated = np.zeros((64, 64), np.uint8)  # a film in a black frame
    collimated[16:48, 16:48] = picture()
    assert not is_mask_like(Image.fromarray(collimated))
    dark = Image.fromarray(picture() // 20)
    assert not is_mask_like(dark)
