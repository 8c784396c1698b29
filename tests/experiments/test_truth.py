"""Folders of marked films: what is read of them, and what is refused."""

import dataclasses

import numpy as np
import pytest
from film_folders import assert_one_line_naming, save
from PIL import ExifTags, Image
from truth_films import LUNGS, SIDE, box_row, make_truth, mask_of, write_table, zone_row

from cxr_jax.errors import InputError
from experiments import truth


@pytest.fixture
def folder(tmp_path):
    return make_truth(tmp_path)


def rewrite(folder, *rows):
    write_table(folder / "covid" / "zones.csv", list(rows))


def refuse(folder, *words):
    with pytest.raises(InputError) as error:
        truth.read_truth(folder)
    assert_one_line_naming(error, *words)


def test_all_that_is_marked_is_read(folder):
    sets = truth.read_truth(folder)
    assert list(sets) == ["covid", "nih"]
    covid, nih = sets["covid"], sets["nih"]
    assert covid.films == ("a1.png", "a2.png", "b1.png", "c1.png")
    assert covid.patients.tolist() == ["a", "a", "b", "c"]
    np.testing.assert_array_equal(covid.scores[2], [[0, 1, 2, 3, 0, 1], [1, 2, 3, 3, 0, 0]])
    assert covid.lungs.shape == (4, SIDE, SIDE, 1) and covid.lungs[0].sum() == 2 * 24 * 10
    assert covid.marked.sum(axis=(1, 2, 3)).tolist() == [80, 160, 80, 160]
    assert all(path.is_file() for path in (*covid.paths, *nih.paths))
    assert nih.patients.tolist() == ["00000007", "00000008"] and not nih.is_scored.any()
    half = slice(SIDE // 4, 3 * SIDE // 4)
    assert nih.marked[0, half, half].all() and nih.marked[0].sum() == (SIDE // 2) ** 2


def test_films_may_lack_one_truth_or_the_other(folder):
    nothing = {f"{reader}_{zone}": "" for reader in truth.READERS for zone in truth.ZONES}
    rewrite(
        folder,
        zone_row("a1.png", has_opacity_mask="0", lungs_from=""),
        zone_row("a2.png", **nothing),
        zone_row("b1.png", has_opacity_mask="0", **nothing),
        zone_row("c1.png", patient_id=""),
    )
    covid = truth.read_truth(folder)["covid"]
    assert covid.films == ("a1.png", "a2.png", "c1.png")
    assert sum(covid.unread.values()) == 1
    assert covid.has_mark.tolist() == [False, True, True]
    assert covid.has_lungs.tolist() == [False, True, True]
    assert covid.is_scored.tolist() == [True, False, True]
    assert covid.patients.tolist() == ["a", "a", "c1.png"]


def test_an_outline_of_nothing_is_none(folder):
    save(folder / "covid" / "opacity" / "a1.png", mask_of())
    covid = truth.read_truth(folder)["covid"]
    assert covid.has_mark.tolist() == [False, True, True, True]


def test_boxes_of_the_challenge_come_before_those_of_the_hospital(folder):
    one, other = "pneumonia/00000007_000.png", "pneumonia/00000008_001.png"
    own = '[["Pneumonia", 0, 0, 1024, 512]]'
    rows = [box_row(one, nih_boxes=own), box_row(other, nih_boxes=own, rsna_boxes="[]")]
    third = "pneumonia/00000009_000.png"
    rows += [box_row("", rsna_boxes=""), box_row(third, rsna_boxes="")]
    write_table(folder / "nih" / "annotations.csv", rows)
    nih = truth.read_truth(folder)["nih"]
    assert nih.marked.mean(axis=(1, 2, 3)).tolist() == [0.25, 0.5]
    assert list(nih.unread.values()) == [1, 1]


def test_masks_may_be_saved_otherwise_than_films(folder):
    """As JPEG, whose dark is not quite black, and under the film's name with another ending."""
    lungs = folder / "covid" / "lungs"
    save(lungs / "a1.jpg", np.where(mask_of(*LUNGS) > 0, 255, 9).astype(np.uint8))
    (lungs / "a1.png").unlink()
    covid = truth.read_truth(folder)["covid"]
    np.testing.assert_array_equal(covid.lungs[0], covid.lungs[1])


def test_marked_pictures_are_upright_as_films_are(folder):
    image = Image.fromarray(mask_of(np.s_[4:12, 3:13]))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3  # upside down
    image.save(folder / "covid" / "opacity" / "a1.png", exif=exif)
    covid = truth.read_truth(folder)["covid"]
    np.testing.assert_array_equal(covid.marked[0, ..., 0], mask_of(np.s_[-12:-4, -13:-3]) > 0)


def test_a_film_under_several_names_is_one_patients(folder, caplog):
    """b1, exported once more as c1 and as a2, of whom nobody knows; a1 is another film."""
    films = folder / "covid" / "films"
    film = np.asarray(Image.open(films / "b1.png")).astype(float)
    save(films / "c1.png", (film / 2 + 90).astype(np.uint8))
    save(films / "a2.png", (film**1.05 / 255**0.05).astype(np.uint8))
    nobody = [zone_row(f"{name}.png", patient_id="") for name in ("a2", "b1")]
    rewrite(folder, zone_row("a1.png"), *nobody, zone_row("c1.png"))
    covid = truth.read_truth(folder)["covid"]
    assert covid.films == ("a1.png", "a2.png", "b1.png", "c1.png")
    assert covid.patients.tolist() == ["a", "c", "c", "c"]
    assert set(covid.twins) == {"a2.png", "b1.png"} and "counted as one of patient c" in caplog.text
    for name in ("c", "b1.png"):  # by any name of his
        others = truth.read_truth(folder, [name])["covid"]
        assert others.films == ("a1.png",) and others.twins == ()
        assert others.unread["of patients left out by --without"] == 3


def test_a_known_patient_is_kept_along_a_chain(folder):
    """a2 is alike b1, and b1 alike c1, whom alone somebody knows; a2 and c1 are not alike."""
    rng = np.random.default_rng(1)
    film, *noise = rng.normal(0, 1, (3, SIDE, SIDE))
    films = {"a2": film + 0.12 * noise[0], "b1": film, "c1": film + 0.12 * noise[1]}
    assert np.corrcoef(films["a2"].ravel(), films["c1"].ravel())[0, 1] < truth.SAME_FILM
    for name, each in films.items():
        pixels = np.clip(128 + 30 * each, 0, 255).astype(np.uint8)
        save(folder / "covid" / "films" / f"{name}.png", pixels)
    nobody = [zone_row(f"{name}.png", patient_id="") for name in ("a2", "b1")]
    rewrite(folder, zone_row("a1.png"), *nobody, zone_row("c1.png"))
    assert truth.read_truth(folder)["covid"].patients.tolist() == ["a", "c", "c", "c"]


def test_a_twin_of_a_film_that_was_learned_from_was_learned_from(folder):
    nih = truth.read_truth(folder)["nih"]
    learned = ["normal/00000007_004.png"]
    assert truth.find_taught(nih, learned).tolist() == [True, False]
    joined = dataclasses.replace(nih, patients=nih.patients[[0, 0]])
    assert truth.find_taught(joined, learned).tolist() == [True, True]


def test_films_that_share_most_of_what_they_show_are_not_joined(folder):
    rng, shared = np.random.default_rng(0), np.linspace(0, 190, SIDE)[:, None]
    films = [shared + rng.uniform(0, 60, (SIDE, SIDE)) for _ in range(2)]
    assert 0.9 < np.corrcoef(*map(np.ravel, films))[0, 1] < 0.97
    for name, film in zip(("b1", "c1"), films, strict=True):
        save(folder / "covid" / "films" / f"{name}.png", film.astype(np.uint8))
    covid = truth.read_truth(folder)["covid"]
    assert covid.patients.tolist() == ["a", "a", "b", "c"] and covid.twins == ()


def test_patients_are_left_out_and_counted(folder):
    sets = truth.read_truth(folder, without=("a", "00000008"))
    assert sets["covid"].films == ("b1.png", "c1.png") and len(sets["nih"].films) == 1
    assert sets["covid"].unread["of patients left out by --without"] == 2
    with pytest.raises(InputError, match="--without=z: no film in"):
        truth.read_truth(folder, without=("a", "z"))


def test_some_films_keep_what_is_known_of_them(folder):
    covid = truth.read_truth(folder)["covid"]
    some = covid.rows(np.array([False, True, False, True]))
    assert some.films == ("a2.png", "c1.png") and some.patients.tolist() == ["a", "c"]
    assert some.paths == (covid.paths[1], covid.paths[3])
    np.testing.assert_array_equal(some.marked, covid.marked[[1, 3]])


# What is refused.


def test_a_folder_without_a_table_is_refused(tmp_path):
    refuse(tmp_path, "zones.csv", "annotations.csv")


def test_a_missing_column_is_named(folder):
    row = zone_row("a1.png")
    del row["junior_F"]
    rewrite(folder, row)
    refuse(folder, "zones.csv", "junior_F")


@pytest.mark.parametrize("score", ["4", "", "1.5", "?"])
def test_a_score_that_is_none_is_refused(folder, score):
    rewrite(folder, zone_row("a1.png", senior_C=score))
    refuse(folder, "zones.csv line 2", "senior_C", repr(score))


@pytest.mark.parametrize("names", [("a1.png", "a1.png"), ("a1.png", "")])
def test_each_film_is_named_once(folder, names):
    rewrite(folder, zone_row("b1.png"), *({**zone_row("a1.png"), "film": name} for name in names))
    refuse(folder, "zones.csv line 4", "film")


@pytest.mark.parametrize("place", ["films", "lungs", "opacity"])
def test_a_file_that_is_not_there_is_named(folder, place):
    (folder / "covid" / place / "b1.png").unlink()
    refuse(folder, f"{place}/b1.png")


@pytest.mark.parametrize("place", ["lungs", "opacity"])
def test_a_mask_of_another_size_is_refused(folder, place):
    save(folder / "covid" / place / "b1.png", mask_of()[:, :-1])
    refuse(folder, f"{place}/b1.png", f"{SIDE - 1}x{SIDE}", f"{SIDE}x{SIDE}")


@pytest.mark.parametrize("shape", [(SIDE, SIDE // 2), (SIDE // 2, SIDE // 2)])
def test_films_are_squares_of_one_size(folder, shape):
    save(folder / "covid" / "films" / "c1.png", np.zeros(shape, np.uint8))
    refuse(folder, "films/c1.png", f"{shape[1]}x{shape[0]}")


def test_a_broken_picture_is_named(folder):
    (folder / "covid" / "lungs" / "b1.png").write_bytes(b"no picture")
    refuse(folder, "lungs/b1.png")


@pytest.mark.parametrize(
    "boxes", ["[[1, 2, 3]]", "[[1, 2, 0, 4]]", "none", '{"x": 1}', '[["a", 1, 2, 3]]', "[1]"]
)
def test_boxes_that_are_none_are_refused(folder, boxes):
    rows = [box_row("pneumonia/00000007_000.png", rsna_boxes=boxes)]
    write_table(folder / "nih" / "annotations.csv", rows)
    refuse(folder, "annotations.csv line 2", "rsna_boxes")


def test_cells_beyond_the_header_are_refused(folder):
    path = folder / "covid" / "zones.csv"
    path.write_text(path.read_text() + "d1.png,d," + "1," * 30 + "\n")
    refuse(folder, "zones.csv line 6")


def test_boxes_of_a_film_stand_in_one_row(folder):
    rows = [box_row("pneumonia/00000007_000.png")] * 2
    write_table(folder / "nih" / "annotations.csv", rows)
    refuse(folder, "annotations.csv line 3", "stands there twice", "one list in one row")


# What was learned from.


def test_a_run_that_has_learned_from_an_excluded_film_is_refused(folder):
    truth.check_excluded(folder, ["data/covid/xx.png", "y/covid/x.png.png", "x.png"])
    for learned in ("covid/x.png", "data/covid/x.png"):
        with pytest.raises(InputError) as error:
            truth.check_excluded(folder, ["a.png", learned])
        assert_one_line_naming(error, "covid/x.png", "exclude_from_training.txt")
    for listed in ("films/data/covid/x.png", "./covid/X.PNG"):
        (folder / "exclude_from_training.txt").write_text(listed)
        truth.check_excluded(folder, ["x.png", "covid/xx.png"])
        with pytest.raises(InputError, match="has learned from"):
            truth.check_excluded(folder, ["covid/x.png"])
    (folder / "exclude_from_training.txt").unlink()
    with pytest.raises(InputError, match="exclude_from_training.txt is missing"):
        truth.check_excluded(folder, [])


def test_nih_films_of_a_patient_who_was_learned_from_are_told(folder):
    sets = truth.read_truth(folder)
    learned = ["data/normal/nih_00000008_013.png", "data/covid/a1.png"]
    assert truth.find_taught(sets["nih"], learned).tolist() == [False, True]
    assert not truth.find_taught(sets["covid"], learned).any()
    # What looks like a number of the NIH is none in another set.
    named = dataclasses.replace(sets["covid"], films=("00000008_001.png",) * 4)
    assert not truth.find_taught(named, learned).any()
