"""A user's own table of films: what its columns may say, and every way in which it can be wrong."""

import dataclasses
import gzip
from pathlib import Path

import numpy as np
import pytest
from film_folders import (
    assert_one_line_naming,
    examples,
    filenames,
    make_folder,
    metadata_rows,
    picture,
    save,
    write_metadata,
)
from public_sets import lung_mask, make_nih, save_films, write_table

from cxr_jax.configs import base
from cxr_jax.data.arrays import load_splits
from cxr_jax.datasets import cxr_folder
from cxr_jax.datasets.cxr_manifest import (
    PRESETS,
    ColumnMap,
    choose_map,
    film_files,
    make_builder,
    make_config,
)
from cxr_jax.datasets.cxr_manifest.film_files import index_files
from cxr_jax.datasets.cxr_manifest.words import matches
from cxr_jax.errors import InputError
from cxr_jax.pipeline.config_checks import check_folder, check_ranges

HEADER = ("film", "person", "answer")
OWN = dict(tables=("films.csv",), path="film", label="answer", patient="person", negative=("no",))


def own_rows() -> list[tuple[str, str, str]]:
    """Six patients of each class, one film each."""
    return [(f"{answer}{i}", f"p{answer}{i}", answer) for answer in ("yes", "no") for i in range(6)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A root with films.csv and its films."""
    root = tmp_path / "films"
    write_table(root / "films.csv", HEADER, own_rows())
    save_films(root / "pictures", [f"{name}.png" for name, _, _ in own_rows()])
    return root


def configure(folder: Path, **fields):
    skip = fields.pop("skip_unreadable", False)
    return make_config(
        folder, positive_class="yes", manifest=OWN | fields, size=16, skip_unreadable=skip
    )


def prepare(folder: Path, **fields):
    reading = {name: fields.pop(name) for name in ("skip_unreadable",) if name in fields}
    builder = make_builder(
        folder,
        folder.parent / "prepared",
        positive_class="yes",
        manifest=OWN | fields,
        size=16,
        **reading,
    )
    builder.download_and_prepare()
    return builder


def refusal(folder: Path, **fields) -> pytest.ExceptionInfo:
    with pytest.raises(InputError) as error:
        configure(folder, **fields)
    return error


# What is read ------------------------------------------------------------------------------------


def test_a_table_of_ones_own(folder):
    rows = [row for rows in examples(prepare(folder)).values() for row in rows]
    assert {(row["filename"], row["patient_id"], int(row["label"])) for row in rows} == {
        (f"pictures/{name}.png", patient, int(answer == "yes"))
        for name, patient, answer in own_rows()
    }


def test_the_records_are_those_of_a_folder(tmp_path):
    """The same films, masks and table read by cxr_folder give the same in every field."""
    folder = make_folder(tmp_path / "films")
    write_metadata(folder, metadata_rows())
    for i in (0, 3, 7):
        save(folder / "lung_masks" / "normal" / f"{i:02d}.png", lung_mask(32))
    fields = dict(
        tables=("metadata.csv",),
        path="filename",
        mask="lung_masks/{filename}",
        patient="patient_id",
        label="label",
        negative=("normal",),
        split="split",
    )
    by_table = make_builder(
        folder, tmp_path / "prepared", positive_class="covid", manifest=fields, size=16
    )
    by_table.download_and_prepare()
    by_folder = cxr_folder.make_builder(folder, tmp_path / "prepared", size=16)
    by_folder.download_and_prepare()
    expected = examples(by_folder)
    for split, rows in examples(by_table).items():
        ours = sorted(rows, key=lambda row: row["filename"])
        theirs = sorted(expected[split], key=lambda row: row["filename"])
        assert len(ours) == len(theirs) > 0
        for one, other in zip(ours, theirs, strict=True):
            assert one.keys() == other.keys()
            for field, value in one.items():
                np.testing.assert_array_equal(value, other[field])


@pytest.mark.parametrize(("delimiter", "written"), [(";", ";"), ("tab", "\t"), ("|", "|")])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_delimiters_and_encodings(folder, delimiter, written, encoding):
    rows = [(film, f"{patient}-é", answer) for film, patient, answer in own_rows()]
    write_table(folder / "films.csv", HEADER, rows, delimiter=written, encoding=encoding)
    encoding = encoding.removesuffix("-sig")
    found = examples(prepare(folder, delimiter=delimiter, encoding=encoding))
    assert all(row["patient_id"].endswith("-é") for rows in found.values() for row in rows)


def test_a_packed_table_without_a_header(folder):
    lines = "".join(f"{film},{patient},{answer}\n" for film, patient, answer in own_rows())
    (folder / "films.csv.gz").write_bytes(gzip.compress(lines.encode()))
    fields = dict(tables=("films.csv.gz",), header="no", columns=HEADER)
    assert sum(map(len, filenames(prepare(folder, **fields)).values())) == 12
    assert_one_line_naming(refusal(folder, tables=("films.csv.gz",), header="no"), "columns")
    (folder / "films.csv.gz").write_bytes(gzip.compress(lines.encode())[:-20])
    assert_one_line_naming(refusal(folder, **fields), "films.csv.gz", "cannot be read", "restore")


def test_a_split_column(folder):
    words = ["train"] * 3 + ["Dev"] + ["2", "2.0"]
    rows = [(*row, words[i % 6]) for i, row in enumerate(own_rows())]
    write_table(folder / "films.csv", (*HEADER, "part"), rows)
    found = filenames(prepare(folder, split="part", split_validation=("dev",), split_test=("2",)))
    assert {split: {Path(name).stem[-1] for name in names} for split, names in found.items()} == {
        "train": {"0", "1", "2"}, "validation": {"3"}, "test": {"4", "5"},
    }  # fmt: skip
    error = refusal(folder, split="part")
    assert_one_line_naming(error, "line 5", "'Dev'", "split_validation", "'-'")


def test_a_patient_in_two_splits_is_refused(folder):
    rows = [(*row, "test" if i % 6 > 3 else "train") for i, row in enumerate(own_rows())]
    rows[5] = (rows[5][0], rows[0][1], *rows[5][2:])
    write_table(folder / "films.csv", (*HEADER, "part"), rows)
    with pytest.raises(InputError) as error:
        prepare(folder, split="part")
    assert_one_line_naming(error, "films.csv", "patient 'pyes0'", "train", "test")


def test_masks_by_a_template(folder):
    for name in ("yes0", "no0"):
        save(folder / "lungs" / f"{name}_lungs.tif", lung_mask(64))
    builder = prepare(folder, mask="lungs/{stem}_lungs.png")
    masked = {
        Path(row["filename"]).stem
        for rows in examples(builder).values()
        for row in rows
        if row["has_lung_mask"]
    }
    assert masked == {"yes0", "no0"} and builder.report["with_lung_mask"] == 2
    error = refusal(folder, mask="{person}/{stem}.png")
    assert_one_line_naming(error, "no lung mask", "pyes0/yes0.png", "'-'")


def test_paths_by_a_template_of_columns(folder):
    for name in ("yes0", "yes1"):  # two films of one name
        save(folder / "other" / f"{name}.png", picture(50))
    assert_one_line_naming(refusal(folder), "yes0", "other/yes0.png", "pictures/yes0.png", "path")
    assert configure(folder, path="pictures/{film}.png").digest


def test_films_that_are_not_there(folder, caplog):
    for name in ("yes1", "no2"):
        (folder / "pictures" / f"{name}.png").unlink()
    error = refusal(folder)
    assert_one_line_naming(error, str(folder), "2 of the 12", "yes1", "skip_unreadable")
    builder = prepare(folder, skip_unreadable=True)
    assert builder.report["left_out"] == [
        {"reason": "not on the disk", "films": 2, "such_as": "yes1"}
    ]
    assert "2 films left out: not on the disk (such as yes1)" in caplog.text
    assert sum(map(len, filenames(builder).values())) == 10


def test_prepared_data_follow_the_contents_of_the_table(folder):
    first = configure(folder).name
    assert configure(folder).name == first
    table = folder / "films.csv"
    table.write_text(table.read_text().replace("yes5,pyes5,yes", "yes5,pyes5,no"))
    assert configure(folder).name != first
    other = folder.rename(folder.with_name("elsewhere"))
    assert configure(other).name == configure(other, label_kind="value").name


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["path", "label", "patient", "source", "view", "split", "reader"])
def test_a_missing_column_is_named_with_those_that_are_there(folder, field):
    views = dict(views=("PA",)) if field == "view" else {}
    error = refusal(folder, **{field: "Finding"}, **views)
    assert_one_line_naming(error, "'Finding'", "film, person, answer", f"data.manifest.{field}")


def test_a_wrong_delimiter_shows_in_the_columns_found(folder):
    error = refusal(folder, delimiter=";")
    assert_one_line_naming(error, "film,person,answer", "data.manifest.delimiter")


def test_a_table_that_is_not_there_or_no_text(folder):
    assert_one_line_naming(refusal(folder, tables=("film.csv",)), "film.csv", "manifest.tables")
    error = refusal(folder, test_list="test.txt")
    assert_one_line_naming(error, "test.txt", "manifest.test_list", "'-'")
    (folder / "films.csv").write_bytes("film,person,answer\né,é,yes\n".encode("latin-1"))
    assert_one_line_naming(refusal(folder), "films.csv", "utf-8", "encoding", "latin-1")
    (folder / "films.csv").write_text("film,person,answer\n")
    assert_one_line_naming(refusal(folder), "films.csv", "no rows")
    assert_one_line_naming(refusal(folder / "nowhere"), "nowhere", "no folder")


def test_rows_of_one_film_must_agree(folder):
    write_table(folder / "films.csv", HEADER, [*own_rows(), ("yes0", "pyes0", "yes")])
    assert configure(folder).digest  # the same said twice
    write_table(folder / "films.csv", HEADER, [*own_rows(), ("yes0", "pyes0", "no")])
    assert_one_line_naming(refusal(folder), "line 14", "line 2", "another label", "'any'")
    assert configure(folder, rows="any").digest
    write_table(folder / "films.csv", HEADER, [*own_rows(), ("yes0", "pno0", "yes")])
    assert_one_line_naming(refusal(folder), "line 14", "'person'", "'pno0'", "'pyes0'", "line 2")


def test_two_names_of_one_film_are_refused(folder):
    write_table(folder / "films.csv", HEADER, [*own_rows(), ("pictures/yes0.png", "p", "yes")])
    assert_one_line_naming(refusal(folder), "yes0 and pictures/yes0.png", "both")


def test_rows_without_a_film_or_with_too_many_cells(folder):
    write_table(folder / "films.csv", HEADER, [*own_rows(), ("", "p", "yes")])
    assert_one_line_naming(refusal(folder), "line 14", "names no film")
    write_table(folder / "films.csv", HEADER, [*own_rows(), ("yes0", "p", "yes", "more")])
    assert_one_line_naming(refusal(folder), "line 14", "4 cells for 3 columns", "quotes")


def test_a_label_that_no_film_has_shows_those_that_there_are(folder):
    error = refusal(folder, positive=("covid",))
    assert_one_line_naming(error, "none is positive", "'covid'", "'yes' 6", "'no' 6")
    error = refusal(folder, negative=("normal", "healthy"))
    assert_one_line_naming(error, "none is negative", "'normal' or 'healthy'", "'yes' 6")


def test_a_patient_that_the_pattern_does_not_find(folder):
    assert configure(folder, patient_pattern=r"p(\w+)").digest
    error = refusal(folder, patient_pattern=r"(patient\d+)")
    assert_one_line_naming(error, "line 2", "'pyes0'", "patient_pattern")


def test_a_film_in_two_lists_is_refused(folder):
    (folder / "a.txt").write_text("yes0\nno0\n")
    (folder / "b.txt").write_text("yes0\nyes1\n")
    error = refusal(folder, train_list="a.txt", test_list="b.txt")
    assert_one_line_naming(error, "b.txt", "yes0", "train")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (dict(path="-"), ["path is empty"]),
        (dict(tables=("-",)), ["tables is empty", "'{files}'"]),
        (dict(label="-"), ["label is empty"]),
        (dict(negative=("-",)), ["negative is empty", "'*'"]),
        (dict(label_kind="list"), ["label_separator"]),
        (dict(min_readers=2), ["min_readers is 2", "manifest.reader"]),
        (dict(view="person"), ["view is 'person'", "views", "both or none"]),
        (dict(keep_values=("CT",)), ["keep_values", "both or none"]),
        (dict(patient="-", patient_pattern="(a)"), ["patient_pattern needs"]),
        (dict(patient_pattern="(a"), ["patient_pattern", "no regular expression"]),
        (dict(patient_pattern="a"), ["patient_pattern", "round brackets"]),
        (dict(row_pattern="(.*)"), ["row_pattern", "(?P<file>"]),
        (dict(path="{film"), ["path is '{film'", "braces"]),
        (dict(table_splits=("train", "test")), ["2 splits for 1 tables"]),
        (dict(table_splits=("trian",)), ["table_splits", "train, validation or test"]),
        (dict(split="part", train_list="a.txt"), ["split, table_splits and the lists"]),
        (dict(tables=("{files}",)), ["row_pattern is empty"]),
        (dict(spilt="part"), ["no field 'spilt'", "split"]),
    ],
)
def test_fields_that_make_no_sense_are_named(folder, fields, words):
    assert_one_line_naming(refusal(folder, **fields), "data.manifest", *words)


def test_an_unknown_preset_lists_those_there_are(folder):
    with pytest.raises(InputError) as error:
        make_config(folder, positive_class="yes", preset="nhi")
    assert_one_line_naming(error, "'nhi'", *PRESETS)


# Fields, words and files ------------------------------------------------------------------------


def test_the_config_has_the_fields_of_a_map_and_leaves_all_of_them_to_presets():
    section = base.get_config().data.manifest.to_dict()
    assert section.pop("preset") == ""
    assert section.keys() == {field.name for field in dataclasses.fields(ColumnMap)}
    assert not any(section.values())
    for name, preset in PRESETS.items():
        needed = dict(positive=("1",), negative=("0",)) if name == "brixia" else {}
        expected = ColumnMap(**{"positive": ("Mass",), **preset.fields} | needed)
        chosen = choose_map(section | needed, name, "Mass")
        assert {name: getattr(chosen, name) for name in ("path", "tables", "split_lists")} == {
            name: getattr(expected, name) for name in ("path", "tables", "split_lists")
        }


def test_a_users_value_wins_even_where_it_is_what_no_preset_would_have_changed():
    assert choose_map({}, "vindr", "Mass").min_readers == 2
    assert choose_map(dict(min_readers=1), "vindr", "Mass").min_readers == 1
    assert choose_map(dict(rows="agree"), "vindr", "Mass").rows == "agree"
    assert choose_map(dict(mask="-"), "covid_chestxray", "COVID-19").mask == ""
    words = dict(positive=(">1",), negative=("0",))
    assert choose_map(words, "brixia", "x").delimiter == ";"
    assert choose_map(words | dict(delimiter=","), "brixia", "x").delimiter == ","


@pytest.mark.parametrize(
    ("value", "words", "expected"),
    [
        ("Pneumonia", ("pneumonia",), True),
        ("Pneumonias", ("pneumonia",), False),
        ("1.0", ("1",), True),
        ("-1.0", ("1", "0"), False),
        ("10", ("1",), False),
        ("7", (">=7",), True),
        ("6.9", (">= 7",), False),
        ("0", ("<=0",), True),
        ("", ("<=0",), False),
        ("many", (">0",), False),
        ("", ("",), True),
        ("x", ("",), False),
        ("x", ("*",), True),
        ("", ("*",), False),
        ("x", (), False),
    ],
)
def test_words(value, words, expected):
    assert matches(value, words) == expected


def test_files_are_found_by_the_end_of_their_path(tmp_path):
    files = ("a/images/x.png", "b/images/y.png", "c/y.jpg", "d/y.1.2.jpg", "z.png", "e/z.tif")
    save_films(tmp_path, files)
    save(tmp_path / "__MACOSX" / "images" / "x.png", picture())
    index = index_files(tmp_path)
    assert index.find("x.png") == index.find("images/x") == index.find("set/a/images/x.dcm")
    assert index.find("x.png") == "a/images/x.png"
    assert index.find("b/images/x.png") is None and index.find("X.png") is None
    assert index.find("y.png") == "b/images/y.png" and index.find("c/y") == "c/y.jpg"
    assert index.find("y.1.2") == "d/y.1.2.jpg"
    assert index.find("z.png") == "z.png" and index.find("e/z.png") == "e/z.tif"
    with pytest.raises(InputError) as error:
        index.find("y")
    assert_one_line_naming(error, "b/images/y.png", "c/y.jpg")


# From the config ---------------------------------------------------------------------------------


def test_a_config_reads_a_preset(tmp_path, monkeypatch):
    section = base.get_config().data
    section.update(dict(name="cxr_manifest", positive_class="Pneumonia", image_size=32))
    section.cache_dir = str(tmp_path / "cache")
    section.manifest.preset = "nih"
    monkeypatch.delenv("CXR_DATA", raising=False)
    with pytest.raises(InputError, match="CXR_DATA.*table of films"):
        load_splits(section, 0)
    section.dir = str(make_nih(tmp_path / "nih"))
    splits, contents = load_splits(section, 0)
    assert contents.startswith("cxr_manifest/32px_crop_Pneumonia")
    assert {split: len(arrays["label"]) for split, arrays in splits.items()} == {
        "train": 2, "validation": 3, "test": 2,
    } or {split: len(arrays["label"]) for split, arrays in splits.items()} == {
        "train": 3, "validation": 2, "test": 2,
    }  # fmt: skip


def test_a_config_is_checked_before_anything_is_read():
    config = base.get_config()
    config.data.name = "cxr_manifest"
    with pytest.raises(InputError, match=r"manifest\.tables is empty"):
        check_folder(config.data)
    config.data.manifest.preset = "nih"
    check_folder(config.data)
    check_ranges(config)
    config.data.negative_classes = ("normal",)
    with pytest.raises(InputError, match=r"config\.data\.manifest\.negative"):
        check_folder(config.data)
    config.data.manifest.preset = "nhi"
    with pytest.raises(InputError, match=r"config\.data\.manifest\.preset is 'nhi'.*'vindr'"):
        check_ranges(config)


def test_a_cell_longer_than_any_report_is_refused(folder):
    """As where a quote is never closed; the limit is Python's."""
    rows = [(*row, "text " * 40_000) for row in own_rows()]
    write_table(folder / "films.csv", (*HEADER, "report"), rows)
    error = refusal(folder)
    assert_one_line_naming(error, "films.csv", "field larger than field limit", "save it again")


def test_lists_that_name_no_film_of_the_table_are_the_fault(folder):
    (folder / "a.txt").write_text("other1.png\nother2.png\n")
    (folder / "b.txt").write_text("other3.png\n")
    with pytest.raises(InputError) as error:
        prepare(folder, train_list="a.txt", test_list="b.txt")
    text = str(error.value)
    assert "the table has yes0" in text and "the lists other1.png" in text


def test_files_are_found_as_by_looking_at_each(tmp_path):
    """However many have the same name: by the same last folders, as far as both have them."""
    root, rng = tmp_path / "films", np.random.default_rng(0)
    files = {"/".join([*rng.choice(["a", "b", "c"], rng.integers(5)), "x.png"]) for _ in range(80)}
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("")
    index = index_files(root)
    for _ in range(300):
        path = "/".join([*rng.choice(["a", "b", "c"], rng.integers(6)), "x"])
        every = {file for file in files if film_files._shared(file, path) >= 0}
        near = [file for file in index._candidates(path) if film_files._shared(file, path) >= 0]
        assert len(near) == len(set(near)) and set(near) == every, path
