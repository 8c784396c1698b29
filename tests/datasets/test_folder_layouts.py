"""Which folders count as what: classes, splits, patients, masks, and what is none of these."""

from pathlib import Path

import numpy as np
import pytest
from film_folders import assert_one_line_naming, examples, filenames, picture, prepare, save
from PIL import Image

from cxr_jax.datasets.cxr_folder import make_config
from cxr_jax.datasets.cxr_folder.folder_listing import list_folder
from cxr_jax.datasets.cxr_folder.layouts import Place
from cxr_jax.errors import InputError


def two_lungs(side: int = 32) -> np.ndarray:
    """A mask as people draw it, uint8: 0 and 255, a quarter of the picture."""
    mask = np.zeros((side, side), np.uint8)
    mask[side // 4 : 3 * side // 4, side // 8 : 3 * side // 8] = 255
    mask[side // 4 : 3 * side // 4, 5 * side // 8 : 7 * side // 8] = 255
    return mask


def named_films(root: Path, per_class: int = 10) -> Path:
    """covid/c0.png … and normal/n0.png …: names that the classes do not share."""
    for offset, name in enumerate(("covid", "normal")):
        for i in range(per_class):
            save(root / name / f"{name[0]}{i}.png", picture(100 * offset + i))
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return named_films(tmp_path / "films")


def refusal(folder: Path, tmp_path: Path, **fields) -> pytest.ExceptionInfo:
    with pytest.raises(InputError) as error:
        prepare(folder, tmp_path / "prepared", **fields)
    assert not list((tmp_path / "prepared").rglob("*"))
    return error


# Folders beside the classes ----------------------------------------------------------------------


def test_classes_are_told_with_their_films(folder, tmp_path, caplog):
    save(folder / "pneumonia" / "p0.png", picture(3))
    caplog.set_level("INFO")
    report = prepare(folder, tmp_path / "prepared").report
    assert report["classes"] == {
        "covid": {"label": "positive", "films": 10},
        "normal": {"label": "negative", "films": 10},
        "pneumonia": {"label": "negative", "films": 1},
    }
    assert "positive are covid/ (10 films)" in caplog.text
    assert "negative are normal/ (10 films), pneumonia/ (1 films)" in caplog.text


@pytest.mark.parametrize("name", ["masks", "annotations", "heatmaps"])
def test_pictures_named_as_films_are_no_class(folder, tmp_path, name):
    for i in range(5):  # drawings over five films, as many grey values as these
        save(folder / name / f"c{i}.png", picture(i))
    error = refusal(folder, tmp_path)
    assert_one_line_naming(error, f"{name}/", "covid/", "5 film names", "negative_classes")


def test_drawings_over_films_that_have_numbers_for_names(tmp_path, caplog):
    folder = tmp_path / "films"
    for i in range(10):
        save(folder / "covid" / f"{i}.png", chest(i))
        save(folder / "normal" / f"{i}.png", chest(100 + i) // 2 + picture(i) // 2)
    caplog.set_level("INFO")
    report = prepare(folder, tmp_path / "prepared").report
    assert report["namesakes"][3] == ["covid/3.png", "normal/3.png"]
    assert "10 numbers name films of two classes" in caplog.text
    for i in range(6):
        drawn = chest(i)
        drawn[2:4, 2:4] = 255
        save(folder / "marked" / f"{i}.png", drawn)
    error = refusal(folder, tmp_path / "again")
    assert_one_line_naming(error, "covid/0.png", "marked/0.png", "negative_classes")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_two_valued_pictures_are_no_class(folder, tmp_path, suffix):
    for i in range(5):
        save(folder / "lesions" / f"{i}.{suffix}", two_lungs())
    error = refusal(folder, tmp_path, skip_unreadable=True)
    assert_one_line_naming(error, "5 of 5", "lesions/", "no class", "negative_classes")


def test_named_negative_classes_leave_all_others_out(folder, tmp_path, caplog):
    for i in range(5):
        save(folder / "masks" / f"c{i}.png", two_lungs())
        save(folder / "pneumonia" / f"p{i}.png", picture(50 + i))
    report = prepare(folder, tmp_path / "prepared", negative_classes=("normal",)).report
    assert report["films"] == 20 and list(report["classes"]) == ["covid", "normal"]
    assert report["ignored"] == ["masks/", "pneumonia/"]
    assert "masks/; pneumonia/" in caplog.text


def test_named_negative_classes_may_number_their_films_alike(tmp_path):
    for i in range(10):
        for c, name in enumerate(("covid", "normal")):
            save(tmp_path / "films" / name / f"IMG{i}.png", picture(100 * c + i))
    assert_one_line_naming(refusal(tmp_path / "films", tmp_path), "10 film names", "img0")
    report = prepare(tmp_path / "films", tmp_path / "prepared", negative_classes=("normal",)).report
    assert report["films"] == 20


@pytest.mark.parametrize("names", [("norml",), ("covid",), ("normal", "covid")])
def test_negative_classes_that_are_none(folder, tmp_path, names):
    wrong = "covid" if "covid" in names else names[0]
    assert_one_line_naming(refusal(folder, tmp_path, negative_classes=names), repr(wrong), "normal")


def test_a_mask_among_the_films_is_named(folder, tmp_path):
    save(folder / "covid" / "lungs7.png", two_lungs())
    assert_one_line_naming(refusal(folder, tmp_path), "covid/lungs7.png", "few grey values")
    report = prepare(folder, tmp_path / "prepared", skip_unreadable=True).report
    assert [entry["filename"] for entry in report["skipped"]] == ["covid/lungs7.png"]


def test_a_folder_without_images_beside_the_classes(folder, tmp_path):
    (folder / "annotations").mkdir()
    (folder / "annotations" / "c0.xml").write_text("<a/>")
    assert_one_line_naming(refusal(folder, tmp_path), "annotations", "no image", "negative_classes")


# Layouts -----------------------------------------------------------------------------------------


def test_folders_of_splits_over_the_classes(tmp_path, caplog):
    counts = {"train": 6, "val": 2, "test": 3}
    for s, (split, number) in enumerate(counts.items()):
        for c, name in enumerate(("COVID", "NORMAL")):
            for i in range(number):
                save(tmp_path / "films" / split / name / f"{name}{i}.png", picture(20 * s + c + i))
    caplog.set_level("INFO")
    builder = prepare(tmp_path / "films", tmp_path / "prepared", positive_class="COVID")
    found = examples(builder)
    assert {split: len(rows) for split, rows in found.items()} == {
        "train": 12, "validation": 4, "test": 6,
    }  # fmt: skip
    for split, rows in found.items():
        for row in rows:
            top, class_name, _ = row["filename"].split("/")
            assert {"train": "train", "val": "validation", "test": "test"}[top] == split
            assert row["label"] == (class_name == "COVID")
    assert "folders train/, val/ and test/ over the classes give the split" in caplog.text
    by_patient = prepare(
        tmp_path / "films", tmp_path / "prepared", positive_class="COVID", split_column=""
    )
    assert {split: len(names) for split, names in filenames(by_patient).items()} == {
        "train": 16, "validation": 2, "test": 4,
    }  # fmt: skip
    assert "are not used: films are split by patient" in caplog.text


def test_without_validation_an_eighth_of_the_training_patients_validates(tmp_path, caplog):
    """Many public sets give train and test alone; what is a test film stays one."""
    for split, patients in (("train", 16), ("Test", 2)):
        for class_name in ("COVID", "normal"):
            for i in range(2 * patients):
                name = f"{split}/{class_name}/{split}{class_name}{i // 2}/{i}.png"
                save(tmp_path / "films" / name, picture(len(list(tmp_path.rglob("*.png")))))
    caplog.set_level("INFO")
    builder = prepare(tmp_path / "films", tmp_path / "prepared", positive_class="COVID")
    found = examples(builder)
    for split, patients in {"train": 14, "validation": 2, "test": 2}.items():
        for label in (0, 1):
            of_class = [row["patient_id"] for row in found[split] if row["label"] == label]
            assert len(of_class) == 2 * patients and len({*of_class}) == patients
    assert all(row["filename"].startswith("Test/") for row in found["test"])
    assert builder.report["drawn_validation"] == 8
    assert "no validation: 8 films of the training patients validate" in caplog.text


def test_a_split_beside_classes_is_refused(folder, tmp_path):
    save(folder / "test" / "covid" / "c99.png", picture(7))
    assert_one_line_naming(refusal(folder, tmp_path), "test/", "'covid'", "train/, val/ and test/")


def test_metadata_and_split_folders_must_agree(tmp_path):
    folder, lines = tmp_path / "films", ["filename,split"]
    for split, number in (("train", 3), ("val", 1), ("test", 1)):
        for name in ("covid", "normal"):
            for i in range(number):
                save(folder / split / name / f"{i}.png", picture(i))
                lines.append(f"{split}/{name}/{i}.png,{split}")
    (folder / "metadata.csv").write_text("\n".join(lines))
    assert prepare(folder, tmp_path / "prepared").report["films"] == 10
    lines[1] = "train/covid/0.png,test"
    (folder / "metadata.csv").write_text("\n".join(lines))
    assert_one_line_naming(refusal(folder, tmp_path / "again"), "line 2", "'test'", "'train'")


def test_images_and_masks_inside_each_class(tmp_path, caplog):
    """The COVID-19 Radiography Database: masks at 256 pixels of films at 299."""
    folder = tmp_path / "films"
    for c, name in enumerate(("COVID", "Normal")):
        for i in range(10):
            save(folder / name / "images" / f"{name}-{i}.png", picture(c + i, 60, 60))
            save(folder / name / "masks" / f"{name}-{i}.png", two_lungs(48))
        (folder / f"{name}.metadata.xlsx").write_bytes(b"PK")
    caplog.set_level("INFO")
    builder = prepare(folder, tmp_path / "prepared", positive_class="COVID", size=16)
    assert builder.report["films"] == 20 and builder.report["patient_folders"] == 0
    assert builder.report["lung_masks"] == {"COVID": 10, "Normal": 10}
    assert builder.report["ignored"] == ["COVID.metadata.xlsx", "Normal.metadata.xlsx"]
    expected = np.asarray(Image.fromarray(two_lungs(16)))
    for row in (row for rows in examples(builder).values() for row in rows):
        np.testing.assert_array_equal(row["lung_mask"][..., 0], expected)
    assert (
        "lung masks of 20 films (COVID 10, Normal 10); they cover 25% of the picture" in caplog.text
    )


def test_patients_and_studies_below_a_class(tmp_path, caplog):
    folder = tmp_path / "films"
    for c, name in enumerate(("covid", "normal")):
        for patient in range(10):
            for study in range(2):
                path = folder / name / f"{name}{patient}" / f"study{study}" / "view1.png"
                save(path, picture(100 * c + 2 * patient + study))
    caplog.set_level("INFO")
    builder = prepare(folder, tmp_path / "prepared", negative_classes=("normal",))
    found = examples(builder)
    split_of = {}
    for split, rows in found.items():
        for row in rows:
            assert row["patient_id"] == row["filename"].split("/")[1]
            assert split_of.setdefault(row["patient_id"], split) == split
    assert {split: len(rows) for split, rows in found.items()} == {
        "train": 28, "validation": 4, "test": 8,
    }  # fmt: skip
    assert builder.report["unknown_patient"] == 0
    assert "20 sub-folders of classes are taken for patients" in caplog.text


def test_a_patient_of_both_classes_is_one(tmp_path):
    for name in ("covid", "normal"):
        for patient in range(10):
            save(tmp_path / name / f"patient{patient}" / f"{name}.png", picture(patient))
    listing = list_folder(tmp_path, "covid")
    assert listing.films["covid/patient3/covid.png"] == Place("covid", "patient3", None)
    names = filenames(prepare(tmp_path, tmp_path.parent / "prepared"))
    for rows in names.values():
        patients = [name.split("/")[1] for name in rows]
        assert sorted(patients) == sorted(2 * list(set(patients)))


def test_links_that_lead_back_end_in_one_line(folder, tmp_path):
    (folder / "covid" / "again").symlink_to(folder / "covid")
    with pytest.raises(InputError) as error:
        make_config(folder)
    assert_one_line_naming(error, "covid/again")


# An inverted export ------------------------------------------------------------------------------


def chest(seed: int) -> np.ndarray:
    """A bright body with two dark lungs, noise, and another brightness in each film."""
    random = np.random.default_rng(seed)
    body = np.full((32, 32), 160.0) - 90 * (two_lungs() > 0)
    return (body + random.normal(0, 10, body.shape) + random.uniform(-20, 20)).astype(np.uint8)


@pytest.mark.parametrize("inverted", [False, True])
def test_a_class_of_negatives_is_warned_of(tmp_path, caplog, inverted):
    for c, name in enumerate(("covid", "normal")):
        for i in range(10):
            film = chest(100 * c + i)
            save(
                tmp_path / "films" / name / f"{name}{i}.png",
                255 - film if inverted and name == "covid" else film,
            )
    report = prepare(tmp_path / "films", tmp_path / "prepared").report
    assert {name: len(films) for name, films in report["negatives"].items()} == (
        {"covid": 10, "normal": 10} if inverted else {}
    )
    assert ("10 of 10 films of covid/ look like negatives" in caplog.text) == inverted
