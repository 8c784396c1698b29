"""Folders of DICOM films: beside pictures, by patients, without lateral ones; nothing leaks."""

import logging
import shutil
import struct
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_films import gradient, write_dicom
from film_folders import (
    assert_one_line_naming,
    examples,
    filenames,
    make_folder,
    prepare,
    save,
    write_metadata,
)
from PIL import Image
from pydicom import uid
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement

from cxr_jax import api
from cxr_jax.datasets.cxr_folder import dicom
from cxr_jax.datasets.cxr_folder.dicom import read_dicom_header
from cxr_jax.datasets.cxr_folder.image_files import read_grey
from cxr_jax.datasets.cxr_phantom.phantom import PhantomSpec, draw
from cxr_jax.errors import InputError

CLASSES = ("covid", "normal")
SIDE = 64
WINDOW = dict(WindowCenter=2048, WindowWidth=4096)


def film(seed: int) -> np.ndarray:
    """Values of 12 bits [64, 64], of no two seeds the same."""
    return np.roll(gradient(12, height=SIDE, width=SIDE), seed, axis=0)


def dicom_folder(root: Path, per_class: int = 10, **elements) -> Path:
    for c, name in enumerate(CLASSES):
        for i in range(per_class):
            path = root / name / f"{name}{i:02d}.dcm"
            write_dicom(path, film(20 * c + i), bits=12, **WINDOW | elements)
    return root


def change(path: Path, **elements) -> None:
    """Sets elements of a file's header."""
    dataset = pydicom.dcmread(path)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def squares(builder) -> dict[str, np.ndarray]:
    return {
        row["filename"].split(".")[0]: row["image"][..., 0].astype(int)
        for rows in examples(builder).values()
        for row in rows
    }


# The same films as PNG ---------------------------------------------------------------------------


def test_forty_films_of_phantoms_are_prepared_as_their_pictures(tmp_path, caplog):
    """Half of them MONOCHROME1, in three transfer syntaxes and two depths."""
    syntaxes = (uid.ExplicitVRLittleEndian, uid.JPEGLosslessSV1, uid.JPEG2000Lossless)
    names = {0: "normal", 1: "covid"}
    for i in range(40):
        label = i % 2
        shown = draw(5, i, PhantomSpec(size=SIDE), label=label)["image"][..., 0].astype(np.int64)
        bits = (10, 12)[i // 2 % 2]
        # The window shows the middle half of what the detector has.
        step, low_white = 2 ** (bits - 9), i // 4 % 2 == 1
        values, center = shown * step + 2 ** (bits - 2), 2 ** (bits - 2) + 127.5 * step
        if low_white:
            values, center = 2**bits - 1 - values, 2**bits - 1 - center
        write_dicom(
            tmp_path / "dicom" / names[label] / f"film{i}",
            values,
            bits=bits,
            syntax=syntaxes[i % 3],
            PhotometricInterpretation="MONOCHROME1" if low_white else "MONOCHROME2",
            VOILUTFunction="LINEAR_EXACT",
            WindowCenter=center,
            WindowWidth=255 * step,
        )
        save(tmp_path / "png" / names[label] / f"film{i}.png", shown.astype(np.uint8))
    caplog.set_level("INFO")
    found = squares(prepare(tmp_path / "dicom", tmp_path / "prepared", size=32))
    expected = squares(prepare(tmp_path / "png", tmp_path / "prepared", size=32))
    assert found.keys() == expected.keys() and len(found) == 40
    assert max(np.abs(found[name] - expected[name]).max() for name in found) <= 1
    assert "of 40 DICOM films 20 are stored with low values white" in caplog.text
    assert "40 films have their patient from the DICOM header" in caplog.text
    pixels, named = api.read_films(tmp_path / "dicom" / "covid", 32)
    assert len(named) == 20 and np.abs(pixels[0, ..., 0] - found["covid/film1"]).max() <= 1


def test_pictures_and_dicom_lie_together(tmp_path):
    folder = make_folder(tmp_path / "films", per_class=6)
    shown = np.asarray(Image.open(folder / "covid" / "00.png"))
    write_dicom(folder / "covid" / "twin", shown.astype(np.int64), bits=8)
    (folder / "covid" / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + bytes(50))
    builder = prepare(folder, tmp_path / "prepared")
    found = squares(builder)
    np.testing.assert_array_equal(found["covid/twin"], found["covid/00"])
    assert builder.report["dicom"]["films"] == 1
    assert builder.report["ignored"] == ["covid/DICOMDIR"]


def test_detectors_that_state_their_depth_need_no_source(tmp_path, caplog):
    folder = tmp_path / "films"
    for name in CLASSES:
        for i in range(8):
            bits = 10 if i % 2 else 14  # sixteen times as bright
            values = gradient(bits, height=SIDE, width=SIDE)
            write_dicom(folder / name / f"{name}{i}", np.roll(values, i, axis=0), bits=bits)
    caplog.set_level("INFO")
    builder = prepare(folder, tmp_path / "prepared", size=SIDE)
    for name, found in squares(builder).items():
        shown = np.roll(gradient(8, height=SIDE, width=SIDE), int(name[-1]), axis=0)
        assert np.abs(found - shown).max() <= 1
    assert [each["bits"] for each in builder.report["depth"]] == [10, 14]
    assert "8 films of more than 8 bits that state 10 bits are read as 10 bits" in caplog.text


def test_counters_for_names_say_nothing_of_dicom_films(tmp_path):
    """As media have them: the same few names in every patient's folder, and in both classes."""
    folder = tmp_path / "films"
    for c, name in enumerate(CLASSES):
        for i in range(6):
            elements = dict(PatientID=f"{name}{i}") | WINDOW
            place = folder / name / (f"P{i}/IM000001" if i else "IM000001")
            write_dicom(place, film(20 * c + i), bits=12, **elements)
    report = prepare(folder, tmp_path / "prepared").report
    assert report["films"] == 12 and report["patient_folders"] == 5


# Patients ----------------------------------------------------------------------------------------


def groups(builder) -> dict[str, set[str]]:
    """{patient: splits}."""
    found = {}
    for split, rows in examples(builder).items():
        for row in rows:
            found.setdefault(row["patient_id"], set()).add(split)
    return found


def set_patients(folder: Path, mark: str = "ID") -> None:
    """Two films of each patient."""
    for name in CLASSES:
        for i in range(10):
            change(folder / name / f"{name}{i:02d}.dcm", PatientID=f"{mark}-{name}-{i // 2}")


def test_films_of_one_patient_stay_together_and_the_number_is_forgotten(tmp_path):
    folder = dicom_folder(tmp_path / "films")
    set_patients(folder)
    builder = prepare(folder, tmp_path / "prepared")
    found = groups(builder)
    assert len(found) == 10 and all(len(splits) == 1 for splits in found.values())
    assert "patient of covid/covid02.dcm" in found
    assert builder.report["dicom"]["patients"] == 20 and builder.report["unknown_patient"] == 0
    # Other numbers, the same patients: nothing prepared depends on a number.
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    set_patients(other, "ANOTHER")
    again = prepare(other, tmp_path / "prepared")
    assert again.builder_config.name != builder.builder_config.name
    assert groups(again) == found and filenames(again) == filenames(builder)


def test_the_table_s_patients_go_before_the_header_s(tmp_path):
    folder = dicom_folder(tmp_path / "films")
    set_patients(folder)
    rows = [
        {"filename": f"{name}/{name}{i:02d}.dcm", "patient_id": f"{name}{i}" if i < 6 else ""}
        for name in CLASSES
        for i in range(10)
    ]
    write_metadata(folder, rows)
    builder = prepare(folder, tmp_path / "prepared")
    assert builder.report["dicom"]["patients"] == 8
    found = groups(builder)
    assert {"covid0", "covid1", "patient of covid/covid06.dcm"} <= found.keys()
    assert len(found) == 16


def test_a_film_that_the_table_leaves_open_stays_with_its_header_s_patient(tmp_path):
    """The first of each patient's two films is known to the table, the second by its header."""
    folder = dicom_folder(tmp_path / "films")
    set_patients(folder)
    rows = [
        {"filename": f"{name}/{name}{i:02d}.dcm", "patient_id": "" if i % 2 else f"{name}{i}"}
        for name in CLASSES
        for i in range(10)
    ]
    write_metadata(folder, rows)
    found = {}
    for split, films in examples(prepare(folder, tmp_path / "prepared")).items():
        for film in films:
            found.setdefault(film["group"], []).append((split, film["filename"]))
    assert len(found) == 10
    for group, films in found.items():
        (split, first), (other, second) = sorted(films)
        assert split == other and first[:-5] == second[:-5]
        assert group == first, "a group is called after its first film"


def test_one_number_for_all_is_no_patient(tmp_path, caplog):
    folder = dicom_folder(tmp_path / "films", PatientID="Removed")
    builder = prepare(folder, tmp_path / "prepared")
    assert builder.report["unknown_patient"] == 20
    assert "have the same one: it stands for all" in caplog.text
    assert "Removed" not in caplog.text
    for path in (folder / "covid").iterdir():
        change(path, PatientID="anonymous" if path.stem < "covid05" else "")
    for path in (folder / "normal").iterdir():
        change(path, PatientID=path.stem)
    report = prepare(folder, tmp_path / "prepared").report
    assert report["unknown_patient"] == 10 and report["dicom"]["patients"] == 10


def test_a_patient_s_folder_is_joined_with_the_header_s(tmp_path):
    folder = dicom_folder(tmp_path / "films")
    set_patients(folder)
    place = folder / "covid" / "somebody" / "x.dcm"
    place.parent.mkdir()
    (folder / "covid" / "covid00.dcm").rename(place)  # covid01 is of the same patient
    builder = prepare(folder, tmp_path / "prepared")
    split_of = {name: split for split, names in filenames(builder).items() for name in names}
    assert split_of["covid/somebody/x.dcm"] == split_of["covid/covid01.dcm"]


# Views -------------------------------------------------------------------------------------------


def test_lateral_films_are_refused_left_out_or_used(tmp_path, caplog):
    folder = dicom_folder(tmp_path / "films")
    change(folder / "covid" / "covid03.dcm", ViewPosition="LL")
    change(folder / "normal" / "normal04.dcm", ViewPosition="PA")
    with pytest.raises(InputError) as error:
        prepare(folder, tmp_path / "prepared")
    assert_one_line_naming(error, "covid03.dcm", "frontal", "lateral_views='leave_out'")
    left = prepare(folder, tmp_path / "prepared", lateral_views="leave_out").report
    assert left["films"] == 19 and left["dicom"]["left_out"] == ["covid/covid03.dcm"]
    assert left["dicom"]["notes"]["view_unknown"] == 18
    assert "1 files left out as no frontal views: covid/covid03.dcm" in caplog.text
    assert prepare(folder, tmp_path / "prepared", lateral_views="use").report["films"] == 20
    skipped = prepare(folder, tmp_path / "prepared", skip_unreadable=True).report["skipped"]
    assert [each["filename"] for each in skipped] == ["covid/covid03.dcm"]
    with pytest.raises(InputError) as error:
        prepare(folder, tmp_path / "prepared", lateral_views="perhaps")
    assert_one_line_naming(error, "lateral_views='perhaps'", "leave_out")


def test_lateral_films_to_explain(tmp_path, caplog):
    folder = dicom_folder(tmp_path / "films") / "covid"
    lateral = folder / "covid03.dcm"
    change(lateral, ViewPosition="LL")
    for films in (folder, lateral, [folder / "covid00.dcm", lateral]):
        with pytest.raises(InputError, match="covid03.dcm: is no frontal view"):
            api.read_films(films, SIDE)
    with pytest.raises(InputError, match="is no frontal view"):
        api.read_films(lateral, SIDE, lateral_views="leave_out")
    assert len(api.read_films(lateral, SIDE, lateral_views="use")[1]) == 1
    pixels, names = api.read_films(folder, SIDE, lateral_views="leave_out")
    assert len(pixels) == len(names) == 9 and lateral.name not in names
    assert "1 films are left out as no frontal views" in caplog.text


def test_a_mask_of_a_film_that_is_turned_is_refused(tmp_path):
    folder = dicom_folder(tmp_path / "films")
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[10:50, 5:30] = 255
    save(folder / "lung_masks" / "covid" / "covid00.png", mask)
    assert prepare(folder, tmp_path / "prepared").report["with_lung_mask"] == 1
    change(folder / "covid" / "covid00.dcm", PatientOrientation=["R", "F"])
    with pytest.raises(InputError) as error:
        prepare(folder, tmp_path / "prepared")
    assert_one_line_naming(error, "covid00.dcm", "lung mask", "upright")


# Nothing of the patient --------------------------------------------------------------------------

MARK = "ZQXJ"  # nothing else holds it


def mark_header(path: Path) -> None:
    """Names, numbers, dates and UIDs, true to their kind or not; also where nobody looks."""
    dataset = pydicom.dcmread(path)
    private = dataset.private_block(0x0011, f"{MARK} maker", create=True)
    private.add_new(1, "LO", f"{MARK} private")
    keywords = (
        *("PatientName", "OtherPatientNames", "ReferringPhysicianName", "InstitutionName"),
        *("AccessionNumber", "StudyID", "StudyDate", "PatientBirthDate", "StudyTime"),
        *("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "StudyDescription"),
        *("PatientComments", "ImageComments", "StationName", "DeviceSerialNumber", "PatientAge"),
    )
    for keyword in keywords:
        tag = tag_for_keyword(keyword)
        value = f"{MARK}^{keyword}"[:16]
        dataset[tag] = DataElement(tag, dictionary_VR(tag), value, validation_mode=0)
    dataset.PatientID = f"{MARK}-{path.stem[:-1]}"  # ten films a patient
    dataset.save_as(path)


def write_marked(root: Path) -> Path:
    folder = dicom_folder(root, per_class=30)
    for path in folder.rglob("*.dcm"):
        mark_header(path)
    assert MARK in (folder / "covid" / "covid00.dcm").read_bytes().decode("latin-1")
    return folder


def test_nothing_of_a_header_is_prepared_or_logged(tmp_path, caplog, capfd):
    folder = write_marked(tmp_path / "films")
    for path in ("covid/covid07.dcm", "normal/normal11.dcm"):  # damaged, and lateral
        (folder / path).write_bytes((folder / path).read_bytes()[:-5000])
    change(folder / "covid" / "covid09.dcm", ViewPosition="LL")
    caplog.set_level("DEBUG")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        builder = prepare(
            folder, tmp_path / "prepared", skip_unreadable=True, lateral_views="leave_out"
        )
        with pytest.raises(InputError) as error:
            prepare(folder, tmp_path / "prepared")
        pixels, names = api.read_films(folder / "normal" / "normal00.dcm", SIDE)
    said = [caplog.text, *capfd.readouterr(), str(error.value), str(names)]
    said += [str(each.message) for each in warned]
    said += [str(builder.report), str(builder.info), str(builder.builder_config)]
    said += [str({k: v for k, v in row.items() if k != "image"})
             for rows in examples(builder).values() for row in rows]  # fmt: skip
    said += [path.read_bytes().decode("latin-1") for path in (tmp_path / "prepared").rglob("*")
             if path.is_file()]  # fmt: skip
    assert not [text for text in said if MARK in text]
    assert builder.report["dicom"]["patients"] == 57 and len(groups(builder)) == 6


@pytest.mark.parametrize("keyword", dicom._TAGS)
def test_no_message_holds_what_an_element_says(tmp_path, keyword, caplog, capfd):
    """Every element that is read, in a header where it is anything but what it should be."""
    path, tag = tmp_path / "x.dcm", tag_for_keyword(keyword)
    dataset = pydicom.dcmread(write_dicom(path, film(0), bits=12, **WINDOW))
    dataset[tag] = DataElement(tag, "LO", f"{MARK}~lower\\{MARK}", validation_mode=0)
    dataset.save_as(path)
    data, element = path.read_bytes(), struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    caplog.set_level(logging.DEBUG)
    said = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for vr in (b"LO", b"DS", b"IS", b"CS", b"US", b"FD", b"AT", b"UI"):
            path.write_bytes(data.replace(element + b"LO", element + vr))
            for read in (read_dicom_header, read_grey):
                try:
                    said.append(repr(read(path)))
                except InputError as error:
                    said.append(str(error))
    said += [str(each.message) for each in warned]
    said += [caplog.text, *capfd.readouterr()]
    assert not [each for each in said if MARK in each]
