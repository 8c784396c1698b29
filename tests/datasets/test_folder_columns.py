"""How columns are called, what stands in them for nothing, and who stays together."""

import numpy as np
import pytest
from film_folders import (
    assert_one_line_naming,
    examples,
    filenames,
    make_folder,
    metadata_rows,
    prepare,
    write_metadata,
)

from cxr_jax.datasets.cxr_folder.columns import is_unknown, name_columns
from cxr_jax.datasets.cxr_folder.splits import Film, assign_splits, join_groups
from cxr_jax.errors import InputError


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "films")


def called(rows: list[dict], **names: str) -> list[dict]:
    return [{names.get(column, column): value for column, value in row.items()} for row in rows]


@pytest.mark.parametrize("split", ["Split", "SPLIT ", "subset", "Partition"])
@pytest.mark.parametrize("patient", ["Patientid", "patient id", "PatientID", "subject_id"])
@pytest.mark.parametrize("filename", ["File", "image", "Image Index", "path"])
def test_usual_names_of_columns_are_read_as_ours(tmp_path, split, patient, filename):
    columns = (filename, "label", patient, split, "view")
    columns = tuple(column.strip() for column in columns)
    assert name_columns(tmp_path, columns, "split") == {
        "filename": filename, "label": "label", "patient_id": patient, "split": split.strip(),
    }  # fmt: skip


def test_renamed_columns_give_the_same_data_and_are_told(folder, tmp_path, caplog):
    write_metadata(folder, metadata_rows())
    expected = examples(prepare(folder, tmp_path / "prepared"))
    rows = called(metadata_rows(), filename="Path", patient_id="subject_id", split="Split")
    write_metadata(folder, [{**row, "age": 60} for row in rows])
    caplog.set_level("INFO")
    builder = prepare(folder, tmp_path / "prepared")
    found = examples(builder)
    for split, rows in expected.items():
        assert {(r["filename"], r["patient_id"]) for r in rows} == {
            (r["filename"], r["patient_id"]) for r in found[split]
        }
    assert builder.report["columns"] == {
        "filename": "Path", "label": "label", "patient_id": "subject_id", "split": "Split",
    }  # fmt: skip
    for ours, theirs in builder.report["columns"].items():
        assert (f"column {theirs!r} is read as {ours}" in caplog.text) == (ours != theirs)
    assert "columns that are not read: age" in caplog.text


@pytest.mark.parametrize(
    ("ours", "near"),
    [
        ("split", "spilt"),
        ("split", "splt"),
        ("patient_id", "pateint_id"),
        ("patient_id", "patients"),
        ("group_id", "group_ids"),
        ("filename", "filenme"),
    ],
)
def test_a_name_near_ours_is_refused(folder, tmp_path, ours, near):
    rows = [{**row, "group_id": row["patient_id"]} for row in metadata_rows()]
    path = write_metadata(folder, called(rows, **{ours: near}))
    with pytest.raises(InputError) as error:
        prepare(folder, tmp_path / "prepared")
    assert_one_line_naming(error, str(path), repr(near), repr(ours), "rename")


def test_columns_of_public_tables_are_not_taken_for_near(tmp_path):
    for columns in (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View",
        "patientid,offset,sex,age,finding,RT_PCR_positive,survival,view,modality,date,location,"
        "folder,filename,doi,url,license,clinical_notes,other_notes",
        "filename,label,source,original_path,patient_id,group_id,view,split,has_lung_mask,"
        "mask_origin,licence,width,height,crop_box,age,sex,no_cxr_abnormality,note,split_by_source",
    ):
        found = name_columns(tmp_path, columns.split(","), "split")
        assert found["filename"] in ("filename", "Image Index")
        assert found["patient_id"] in ("Patient ID", "patientid", "patient_id")


def test_two_columns_that_may_be_meant_are_refused(tmp_path):
    with pytest.raises(InputError) as error:
        name_columns(tmp_path, ("file", "image"), "split")
    assert_one_line_naming(error, "'file'", "'image'", "'filename'")
    found = name_columns(tmp_path, ("filename", "image", "Split", "split"), "split")
    assert found == {"filename": "filename", "split": "split"}


def test_a_column_of_splits_asked_for_is_found_by_any_case(tmp_path):
    columns = ("filename", "split", "Split By Source")
    assert name_columns(tmp_path, columns, "split_by_source")["split"] == "Split By Source"


@pytest.mark.parametrize("word", ["", "nan", "NaN", "None", "n/a", "unknown", "Unknown", "-"])
def test_words_for_an_unknown_patient(word):
    assert is_unknown(word)


@pytest.mark.parametrize("name", ["0", "p-1", "Nancy", "nan1"])
def test_names_of_patients(name):
    assert not is_unknown(name)


def test_unknown_patients_are_not_one_patient(folder, tmp_path, caplog):
    words = ["nan", "None", "n/a", "unknown", "-"]
    rows = metadata_rows()
    for i, row in enumerate(rows):
        del row["split"]
        row["patient_id"] = words[i % 5] if row["label"] == "covid" else row["patient_id"]
    write_metadata(folder, rows)
    builder = prepare(folder, tmp_path / "prepared")
    covid = {
        split: [row for row in rows if row["label"] == 1]
        for split, rows in examples(builder).items()
    }
    assert {split: len(rows) for split, rows in covid.items()} == {
        "train": 7, "validation": 1, "test": 2,
    }  # fmt: skip
    assert {row["patient_id"] for rows in covid.values() for row in rows} == {""}
    assert builder.report["unknown_patient"] == builder.report["said_unknown"] == 10
    assert "of 20 films 10 have no patient_id in metadata.csv (10 by a word such as nan)" in (
        caplog.text
    )


def test_rows_may_name_films_without_their_folder(tmp_path, folder, caplog):
    rows = metadata_rows()
    for path in sorted(folder.glob("*/*.png")):
        path.rename(path.with_name(f"{path.parent.name}_{path.name}"))
    for row in rows:
        row["filename"] = row["filename"].replace("/", "_")
    rows[0]["filename"] = rows[0]["filename"].removesuffix(".png")
    write_metadata(folder, rows)
    caplog.set_level("INFO")
    report = prepare(folder, tmp_path / "prepared").report
    assert report["bare_names"] == report["films"] == 20
    assert "20 rows name their film without its folder" in caplog.text


# Patients and groups -----------------------------------------------------------------------------


def film(name: str, patient: str = "", group: str = "", folder: str = "") -> Film:
    return Film(name, 0, patient, "", None, group_id=group, folder=folder)


def test_films_are_joined_by_patients_and_groups():
    """a-b share a patient, b-c a group, so a, b and c stay together; d and e are alone."""
    films = [
        film("a", patient="1"),
        film("b", patient="1", group="x"),
        film("c", patient="2", group="x"),
        film("d", patient="3"),
        film("e"),
        film("f", group="y", folder="p"),
        film("g", patient="4", folder="p"),
    ]
    assert [each.group for each in join_groups(films)] == [
        *3 * ["group:x"], "patient:3", "file:e", *2 * ["group:y"],
    ]  # fmt: skip


def test_no_patient_and_no_group_is_torn_whatever_the_columns():
    random = np.random.default_rng(0)
    films = [
        Film(
            f"{i}",
            i % 2,
            f"p{random.integers(60)}",
            "",
            None,
            group_id=f"g{random.integers(90)}" if i % 3 else "",
        )
        for i in range(120)
    ]
    split_of: dict[str, str] = {}
    for each in assign_splits(join_groups(films)):
        for owner in each.owners:
            assert split_of.setdefault(owner, each.split) == each.split


def test_a_group_column_that_would_tear_patients(folder, tmp_path, caplog):
    """Every film is a group of its own, of patients with two films each."""
    rows = metadata_rows()
    for i, row in enumerate(rows):
        del row["split"]
        row["group_id"] = f"{row['label']}-{i}"
    write_metadata(folder, rows)
    patient_of = {row["filename"]: row["patient_id"] for row in rows}
    caplog.set_level("INFO")
    builder = prepare(folder, tmp_path / "prepared")
    patients = [{patient_of[name] for name in names} for names in filenames(builder).values()]
    assert sum(len(each) for each in patients) == len(set().union(*patients)) == 10
    assert builder.report["joined_groups"] == 10
    assert "10 groups or patients are joined with others" in caplog.text
