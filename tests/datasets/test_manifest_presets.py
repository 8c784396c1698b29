"""Every preset reads a folder made like its set to the labels, splits and masks counted by hand."""

from pathlib import Path

import numpy as np
import pytest
from dicom_films import write_dicom
from film_folders import assert_one_line_naming, examples, filenames, picture
from public_sets import MAKERS, make_brixia, make_chexpert, make_covidx, make_nih, make_vindr

from cxr_jax.datasets.cxr_manifest import PRESETS, make_builder, make_config
from cxr_jax.errors import InputError


def prepare(folder: Path, tmp_path: Path, preset: str, finding: str, **fields):
    """The builder of a folder; of fields those that a manifest has go there."""
    skip = {name: fields.pop(name) for name in ("skip_unreadable",) if name in fields}
    builder = make_builder(
        folder,
        tmp_path / "prepared",
        preset=preset,
        positive_class=finding,
        manifest=fields,
        size=16,
        **skip,
    )
    builder.download_and_prepare()
    return builder


def stems(names) -> set[str]:
    return {Path(name).stem for name in names}


def labels(builder) -> dict[str, int]:
    """{name of the film without folders and ending: label} of all splits."""
    rows = [row for rows in examples(builder).values() for row in rows]
    found = {Path(row["filename"]).stem: int(row["label"]) for row in rows}
    assert len(found) == len(rows)
    return found


def patients(builder) -> dict[str, str]:
    rows = [row for rows in examples(builder).values() for row in rows]
    return {Path(row["filename"]).stem: row["patient_id"] for row in rows}


def left_out(builder) -> dict[str, int]:
    return {each["reason"]: each["films"] for each in builder.report["left_out"]}


def assert_no_patient_is_torn(builder) -> None:
    of_split = [{row["patient_id"] for row in rows} - {""} for rows in examples(builder).values()]
    assert sum(map(len, of_split)) == len(set().union(*of_split))


def test_every_preset_has_a_made_folder_and_says_whose_it_is():
    assert MAKERS.keys() == PRESETS.keys()
    for preset in PRESETS.values():
        assert preset.licence and preset.url.startswith("https://")
        assert "doi:" in preset.citation or "arXiv:" in preset.citation


# NIH ChestX-ray14 --------------------------------------------------------------------------------


def test_nih(tmp_path, caplog):
    caplog.set_level("INFO")
    builder = prepare(make_nih(tmp_path / "nih"), tmp_path, "nih", "Pneumonia")
    assert labels(builder) == {
        "00000001_000": 1, "00000001_001": 1, "00000002_000": 0, "00000003_000": 1,
        "00000004_000": 0, "00000005_000": 1, "00000006_000": 0,
    }  # fmt: skip
    splits = filenames(builder)
    assert splits["test"] == {
        "images_002/images/00000005_000.png", "images_002/images/00000006_000.png",
    }  # fmt: skip
    # Of two training patients of each class one validates.
    of_split = [set(patients(builder)[name] for name in stems(splits[s])) for s in splits]
    assert [len(each) for each in of_split] == [2, 2, 2]
    assert of_split[0] | of_split[1] == {"1", "2", "3", "4"}
    assert left_out(builder) == {
        "'Finding Labels' is neither positive nor negative": 1,
        "'View Position' is 'LL'": 1,
        "in none of the lists of films": 1,
    }
    assert "1 films left out: 'View Position' is 'LL' (such as 00000009_000.png)" in caplog.text
    assert "licence: free use" in caplog.text and "cite Wang et al." in caplog.text
    assert "10 rows name 10 films; 3 other films of the folder are not used" in caplog.text
    assert "positive are 4 films (Pneumonia), negative are 3 films (negative)" in caplog.text


def test_nih_with_a_quoted_header_and_all_other_films_negative(tmp_path):
    """Quoted, the header has two cells fewer than the rows; split by patient without the lists."""
    folder = make_nih(tmp_path / "nih")
    table = folder / "Data_Entry_2017.csv"
    text = table.read_text()
    for broken in ("OriginalImage[Width,Height]", "OriginalImagePixelSpacing[x,y]"):
        text = text.replace(broken, f'"{broken}"')
    table.rename(folder / "Data_Entry_2017_v2020.csv").write_text(text)
    builder = prepare(
        folder,
        tmp_path,
        "nih",
        "Pneumonia",
        tables=("Data_Entry_2017_v2020.csv",),
        negative=("*",),
        views=("PA",),
        train_list="-",
        test_list="-",
    )
    assert labels(builder) == {
        "00000001_000": 1, "00000002_000": 0, "00000003_000": 1, "00000005_000": 1,
        "00000006_000": 0, "00000007_000": 0, "00000008_000": 0,
    }  # fmt: skip
    assert_no_patient_is_torn(builder)


# CheXpert ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("above", [False, True])
def test_chexpert(tmp_path, above):
    folder = make_chexpert(tmp_path / "sets")
    if above:  # the paths begin with the set's own folder, where the root may be
        folder = folder.parent
    builder = prepare(folder, tmp_path, "chexpert", "Pleural Effusion")
    found = {
        row["patient_id"] + row["filename"].split("/")[-2]: (split, int(row["label"]))
        for split, rows in examples(builder).items()
        for row in rows
    }
    assert {name: label for name, (_, label) in found.items()} == {
        "patient00001study1": 1, "patient00001study2": 0, "patient00002study1": 1,
        "patient00003study1": 0, "patient00004study1": 0,
        "patient64541study1": 1, "patient64542study1": 0,
    }  # fmt: skip
    assert {name for name, (split, _) in found.items() if split == "test"} == {
        "patient64541study1", "patient64542study1",
    }  # fmt: skip
    assert found["patient00001study1"][0] == found["patient00001study2"][0]
    assert left_out(builder) == {
        "'Frontal/Lateral' is 'Lateral'": 1,
        "'Pleural Effusion' is uncertain": 1,
        "'Pleural Effusion' is empty": 2,
    }


@pytest.mark.parametrize(("uncertain_as", "label"), [("positive", 1), ("negative", 0)])
def test_chexpert_with_uncertain_films(tmp_path, uncertain_as, label):
    builder = prepare(
        make_chexpert(tmp_path), tmp_path, "chexpert", "Pleural Effusion", uncertain_as=uncertain_as
    )
    rows = [row for rows in examples(builder).values() for row in rows]
    assert [row["label"] for row in rows if row["patient_id"] == "patient00005"] == [label]
    assert "'Pleural Effusion' is uncertain" not in left_out(builder)


def test_chexpert_with_healthy_films_for_negatives(tmp_path):
    """A blank is no negative, but for a film that has no finding at all."""
    folder = make_chexpert(tmp_path)
    for name in ("train.csv", "valid.csv"):
        table = folder / name
        text = table.read_text().replace("AP,,,,,,,,,,,0.0,", "AP,1.0,,,,,,,,,,,")
        table.write_text(text)
    builder = prepare(
        folder,
        tmp_path,
        "chexpert",
        "Pleural Effusion",
        negative=("1",),
        negative_label="No Finding",
    )
    rows = [row for rows in examples(builder).values() for row in rows]
    assert {row["patient_id"] for row in rows if not row["label"]} == {
        "patient00001", "patient00003", "patient00004", "patient00006", "patient64542",
    }  # fmt: skip
    assert left_out(builder)["'Pleural Effusion' is empty"] == 1  # patient 7


def test_chexpert_without_its_finding_names_the_findings(tmp_path):
    with pytest.raises(InputError) as error:
        make_config(make_chexpert(tmp_path), preset="chexpert", positive_class="covid")
    assert_one_line_naming(error, "no column 'covid'", "Pleural Effusion", "data.positive_class")


# RSNA --------------------------------------------------------------------------------------------


def test_rsna(tmp_path):
    folder = MAKERS["rsna"](tmp_path / "rsna")
    builder = prepare(folder, tmp_path, "rsna", "pneumonia")
    assert labels(builder) == {
        **{f"0004cfab-{i}": 0 for i in range(3)}, **{f"00436515-{i}": 1 for i in range(3)},
    }  # fmt: skip
    assert {name: len(rows) for name, rows in examples(builder).items()} == {
        "train": 2, "validation": 2, "test": 2,
    }  # fmt: skip
    assert builder.report["rows"] == 9 and builder.report["named_films"] == 6
    assert builder.report["unused_files"] == 1  # of the challenge's test, without labels
    table = folder / "stage_2_train_labels.csv"
    table.write_text(table.read_text().replace("562,152,256,453,1", "562,152,256,453,0", 1))
    with pytest.raises(InputError) as error:
        make_config(folder, preset="rsna", positive_class="pneumonia")
    assert_one_line_naming(error, "line 4", "line 3", "another label", "'any'")


def test_lateral_films_of_a_manifest_are_refused_or_left_out_and_counted(tmp_path):
    folder = MAKERS["rsna"](tmp_path / "rsna")
    with (folder / "stage_2_train_labels.csv").open("a") as table:
        table.write("00436515-3,1,1,9,9,1\n")
    film = folder / "stage_2_train_images" / "00436515-3.dcm"
    write_dicom(film, picture(1), bits=8, ViewPosition="LL")
    with pytest.raises(InputError, match="00436515-3.dcm"):
        prepare(folder, tmp_path, "rsna", "pneumonia")
    fields = dict(preset="rsna", positive_class="pneumonia", lateral_views="leave_out", size=16)
    builder = make_builder(folder, tmp_path / "prepared", **fields)
    builder.download_and_prepare()
    assert sorted(labels(builder)) == [f"{n}-{i}" for n in ("0004cfab", "00436515") for i in "012"]
    assert builder.report["dicom"]["left_out"] == ["stage_2_train_images/00436515-3.dcm"]


def test_rsna_by_the_three_classes(tmp_path):
    """Abnormal films without opacities are neither, and a single healthy film is in one split."""
    fields = dict(
        tables=("stage_2_detailed_class_info.csv",),
        label="class",
        positive=("Lung Opacity",),
        negative=("Normal",),
    )
    folder = MAKERS["rsna"](tmp_path / "rsna")
    with pytest.raises(InputError) as error:
        prepare(folder, tmp_path, "rsna", "opacity", **fields)
    assert_one_line_naming(error, "stage_2_detailed_class_info.csv", "no negative films")
    fields["negative"] = ("Normal", "No Lung Opacity / Not Normal")
    builder = prepare(folder, tmp_path, "rsna", "opacity", **fields)
    assert sorted(labels(builder).values()) == [0, 0, 0, 1, 1, 1]


# COVID-19 Radiography Database -------------------------------------------------------------------


def test_covid19_radiography(tmp_path):
    """Lungs are a quarter of a film's square, though masks are smaller than films."""
    folder = MAKERS["covid19_radiography"](tmp_path / "radiography")
    builder = prepare(folder, tmp_path, "covid19_radiography", "COVID")
    assert labels(builder) == {
        **{f"COVID-{i}": 1 for i in (1, 2, 3)}, **{f"Normal-{i}": 0 for i in (1, 2, 3)},
    }  # fmt: skip
    rows = [row for rows in examples(builder).values() for row in rows]
    assert all(row["has_lung_mask"] for row in rows)
    for row in rows:
        assert (np.asarray(row["lung_mask"]) > 0).mean() == pytest.approx(0.25, abs=0.02)
    assert builder.report["mask_notes"]["resized"] == 6
    assert left_out(builder) == {"'class' is neither positive nor negative": 6}
    assert builder.report["unused_files"] == 12  # films and masks of the two other classes
    both = prepare(
        folder, tmp_path, "covid19_radiography", "COVID", negative=("Normal", "viral pneumonia")
    )
    assert sum(labels(both).values()) == 3 and len(labels(both)) == 9


# COVIDx ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_source", [True, False])
def test_covidx(tmp_path, has_source):
    folder = make_covidx(tmp_path / "covidx", has_source=has_source)
    builder = prepare(folder, tmp_path, "covidx", "COVID-19")
    found = patients(builder)
    assert {name: found[name] for name in ("COVID(1)", "COVID(12)", "COVID(2)")} == {
        "COVID(1)": "COVID 1", "COVID(12)": "COVID 12", "COVID(2)": "COVID 2",
    }  # fmt: skip
    assert sorted(labels(builder).values()) == [0, 0, 0, 0, 1, 1, 1, 1, 1]
    assert labels(builder)["47c78742-4998"] == 0
    assert filenames(builder)["test"] == {"test/COVID(2).png", "test/47c78742-4998.png"}
    assert_no_patient_is_torn(builder)  # ANON196 has two films
    assert left_out(builder) == {"'label' is neither positive nor negative": 1}  # pneumonia


def test_covidx_of_the_binary_versions(tmp_path):
    folder = make_covidx(tmp_path / "covidx")
    for name in ("train.txt", "test.txt"):
        text = (folder / name).read_text()
        text = text.replace(" COVID-19 ", " positive ").replace(" normal ", " negative ")
        (folder / name).write_text(text.replace(" pneumonia ", " negative "))
    found = labels(prepare(folder, tmp_path, "covidx", "positive"))
    assert sum(found.values()) == 5 and len(found) == 10


def test_covidx_with_a_line_of_another_form(tmp_path):
    folder = make_covidx(tmp_path / "covidx")
    with (folder / "test.txt").open("a") as file:
        file.write("47c78742-4998 normal rsna\n")
    with pytest.raises(InputError) as error:
        make_config(folder, preset="covidx", positive_class="COVID-19")
    assert_one_line_naming(error, "test.txt line 3", "row_pattern")


# covid-chestxray-dataset -------------------------------------------------------------------------


def test_covid_chestxray(tmp_path):
    folder = MAKERS["covid_chestxray"](tmp_path / "cohen")
    builder = prepare(folder, tmp_path, "covid_chestxray", "COVID-19")
    assert labels(builder) == {
        "auntminnie-a": 1, "nejmc2001573_f1a": 1, "lancet-case2a": 1,
        "normal-1": 0, "normal-2": 0, "normal-3": 0,
    }  # fmt: skip
    rows = [row for rows in examples(builder).values() for row in rows]
    assert stems(row["filename"] for row in rows if row["has_lung_mask"]) == {
        "auntminnie-a", "normal-1",
    }  # fmt: skip
    assert left_out(builder) == {
        "'view' is 'L'": 1,
        "'modality' is 'CT'": 1,
        "'finding' is neither positive nor negative": 2,
    }
    viral = prepare(folder, tmp_path, "covid_chestxray", "Viral")  # above both COVID-19 and SARS
    assert labels(viral)["SARS-1"] == 1 and sum(labels(viral).values()) == 4


# Brixia ------------------------------------------------------------------------------------------


def test_brixia_by_the_global_score(tmp_path):
    """Global scores are 0, 1, 16, 6, 3, 14, 1, 15."""
    folder = make_brixia(tmp_path / "brixia")
    with pytest.raises(InputError) as error:
        make_config(folder, preset="brixia", positive_class="severe")
    assert_one_line_naming(error, "manifest.positive is empty", "BrixiaScoreGlobal", "'>=7'")
    bounds = dict(positive=(">= 7",), negative=("<=1",))
    builder = prepare(folder, tmp_path, "brixia", "severe", **bounds)
    assert labels(builder) == {"1000": 0, "1001": 0, "1002": 1, "1005": 1, "1006": 0, "1007": 1}
    assert patients(builder)["1005"] == "S5"
    assert left_out(builder) == {"'BrixiaScoreGlobal' is neither positive nor negative": 2}


def test_brixia_by_a_zone_with_the_consensus_for_test(tmp_path):
    """The first zone's scores are 0, 0, 3, 1, 2, 2, 0, 3; of 000000 the table has but 0."""
    builder = prepare(
        make_brixia(tmp_path / "brixia"),
        tmp_path,
        "brixia",
        "zone A",
        label="BrixiaScore",
        label_width=6,
        label_pattern=r"^(\d)\d{5}$",
        positive=(">=2",),
        negative=("<2",),
        split="ConsensusTestset",
    )
    assert labels(builder) == {
        "1000": 0, "1001": 0, "1002": 1, "1003": 0, "1004": 1, "1005": 1, "1006": 0, "1007": 1,
    }  # fmt: skip
    assert stems(filenames(builder)["test"]) == {"1006", "1007"}


# PadChest ----------------------------------------------------------------------------------------


def test_padchest(tmp_path):
    """Films of 12 and of 16 bits, of two manufacturers, come out equally bright."""
    builder = prepare(
        MAKERS["padchest"](tmp_path / "padchest"), tmp_path, "padchest", "cardiomegaly"
    )
    assert labels(builder) == {
        "2168_00": 1, "2168_02": 1, "2168_03": 1, "2168_04": 0, "2168_05": 0, "2168_06": 0,
    }  # fmt: skip
    assert left_out(builder) == {
        "'Projection' is 'L'": 1,
        "'Projection' is 'COSTAL'": 1,
        "'Labels' is neither positive nor negative": 1,
        "'Labels' is empty": 1,
        "'Labels' has another form": 1,
        "'Labels' is both positive and negative": 1,
    }
    depth = {each["source"]: each["bits"] for each in builder.report["depth"]}
    assert depth == {"ImagingDynamicsCompanyLtd": 12, "PhilipsMedicalSystems": 16}


# VinDr-CXR ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("min_readers", "positives"),
    [(1, {"a0", "a1", "a2", "a3"}), (2, {"a0", "a2", "a3"}), (0, {"a0", "a2", "a3"})],
)
def test_vindr_by_how_many_readers_find_it(tmp_path, min_readers, positives):
    folder = make_vindr(tmp_path / "vindr")
    builder = prepare(folder, tmp_path, "vindr", "Cardiomegaly", min_readers=min_readers)
    found = labels(builder)
    assert {name for name, label in found.items() if label} == positives
    assert {name for name, label in found.items() if not label} == {"b0", "b1", "b2"}
    few = {} if min_readers == 1 else {"fewer than 2 readers find it": 1}
    assert left_out(builder) == {"'class_name' is neither positive nor negative": 1} | few
