"""Objects that go back into an archive: what they refer to, and where the change lies."""

import itertools
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_films import gradient, write_dicom
from pydicom.uid import generate_uid

from cxr_jax.datasets.cxr_folder.dicom_views import turn_upright
from cxr_jax.errors import InputError
from cxr_jax.report.dicom_objects import on_film, write_objects

SIZE = 8


def change_at(row: int, column: int) -> np.ndarray:
    change = np.zeros((SIZE, SIZE), np.float32)
    change[row, column] = 1.0
    return change


def place(pixels: np.ndarray) -> tuple[int, int]:
    """Where the largest change is."""
    return tuple(int(i) for i in np.unravel_index(np.abs(pixels).argmax(), pixels.shape))


@pytest.mark.parametrize(
    ("square", "pixel", "rows", "columns"),
    [
        # Of a film of 40 x 80 the square of 40 begins at column 20; its pixels are 5 x 5.
        ("crop", (7, 0), range(35, 40), range(20, 25)),
        # The square of 80 begins 20 above the film; of its pixels of 10 x 10 row 5 is 30 to 39.
        ("pad", (5, 0), range(30, 40), range(10)),
    ],
)
def test_the_change_lies_where_the_square_was_cut(square, pixel, rows, columns):
    pixels = on_film(change_at(*pixel), shape=(40, 80), square=square, turn=None)
    row, column = place(pixels)
    assert pixels.shape == (40, 80) and row in rows and column in columns
    if square == "crop":
        assert not pixels[:, :20].any() and not pixels[:, 60:].any()


@pytest.mark.parametrize("turn", [*itertools.product((False, True), repeat=3)])
def test_a_film_that_is_stored_otherwise_has_the_change_as_it_is_stored(turn):
    upright = on_film(change_at(1, 2), shape=(40, 60), square="crop", turn=None)
    shape = (60, 40) if turn[0] else (40, 60)
    stored = on_film(change_at(1, 2), shape=shape, square="crop", turn=turn)
    assert stored.shape == shape
    np.testing.assert_array_equal(turn_upright(stored, turn), upright)


@pytest.fixture
def films(tmp_path) -> list[Path]:
    """Of three patients' films the first two are of one study; the last is stored mirrored."""
    studies = [generate_uid()] * 2 + [generate_uid()]
    return [
        write_dicom(
            tmp_path / f"{i}.dcm",
            gradient(12, height=40, width=60),
            bits=12,
            StudyInstanceUID=study,
            SeriesInstanceUID=generate_uid(),
            PatientOrientation=["R", "F"] if i == 2 else ["L", "F"],
        )
        for i, study in enumerate(studies)
    ]


@pytest.fixture
def written(films, tmp_path) -> tuple[list[pydicom.Dataset], list[pydicom.Dataset]]:
    """The captures and the maps."""
    rng = np.random.default_rng(0)
    changes = rng.uniform(-1, 1, (3, SIZE, SIZE)).astype(np.float32)
    changes[2] = change_at(0, 0)
    pictures = [rng.integers(256, size=(9, 30, 3), dtype=np.uint8) for _ in films]
    out = tmp_path / "out"
    write_objects(out, films, changes=changes, pictures=pictures, square="crop")
    captures, maps = (
        [pydicom.dcmread(path) for path in sorted(out.glob(f"*_{kind}.dcm"))]
        for kind in ("walk", "change")
    )
    for capture, picture in zip(captures, pictures, strict=True):
        np.testing.assert_array_equal(capture.pixel_array, picture)
    return captures, maps


def test_objects_belong_to_the_film_s_study_and_refer_to_it(films, written):
    captures, maps = written
    for path, capture, made in zip(films, captures, maps, strict=True):
        source = pydicom.dcmread(path)
        for each in (capture, made):
            assert each.PatientID == source.PatientID
            assert each.StudyInstanceUID == source.StudyInstanceUID
            assert each.SeriesInstanceUID != source.SeriesInstanceUID
            assert source.SOPInstanceUID in str(each)
        (reference,) = capture.SourceImageSequence
        assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
        (derived,) = made.SharedFunctionalGroupsSequence[0].DerivationImageSequence
        assert derived.SourceImageSequence[0].ReferencedSOPClassUID == source.SOPClassUID
    for kind in written:
        series = [each.SeriesInstanceUID for each in kind]
        assert series[0] == series[1] != series[2]  # a series is of one study


def test_a_map_has_the_film_s_pixels_and_the_change_as_shares_of_its_range(films, written):
    _, maps = written
    for path, made in zip(films, maps, strict=True):
        source = pydicom.dcmread(path)
        assert (made.Rows, made.Columns) == (source.Rows, source.Columns) == (40, 60)
    # A change of 1 on the [-1, 1] scale is half of the range; the stored film is mirrored.
    pixels = np.frombuffer(maps[2].FloatPixelData, "<f4").reshape(40, 60)
    assert pixels.max() == pytest.approx(0.5, abs=0.05)
    row, column = place(pixels)
    assert row < 6 and 44 <= column < 50
    mapping = maps[2].SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)


def test_a_name_is_written_as_the_film_has_it(films, tmp_path):
    source = pydicom.dcmread(films[0])
    source.SpecificCharacterSet, source.PatientName = "ISO_IR 192", "Иванов^Иван"
    source.save_as(films[0])
    changes, pictures = np.zeros((3, SIZE, SIZE), np.float32), [np.zeros((9, 9, 3), np.uint8)] * 3
    out = write_objects(tmp_path / "out", films, changes=changes, pictures=pictures, square="crop")
    for kind in ("walk", "change"):
        assert str(pydicom.dcmread(out / f"001_{kind}.dcm").PatientName) == "Иванов^Иван"


def test_a_header_that_cannot_be_taken_over_is_refused_and_not_quoted(films, tmp_path, capfd):
    source = pydicom.dcmread(films[2])
    with pytest.warns(UserWarning):
        source.PatientBirthDate = "MARK-1950"
        source.PatientName = "MARK"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source.save_as(films[2])
    changes, pictures = np.zeros((3, SIZE, SIZE), np.float32), [np.zeros((9, 9, 3), np.uint8)] * 3
    with pytest.raises(InputError, match=r"2\.dcm: the header's patient or study") as error:
        write_objects(tmp_path / "out", films, changes=changes, pictures=pictures, square="crop")
    assert not (tmp_path / "out").exists()
    assert error.value.__suppress_context__ and "MARK" not in str(error.value)
    assert "MARK" not in "".join(capfd.readouterr())


def test_a_film_that_nothing_can_refer_to_is_refused_before_anything_is_written(films, tmp_path):
    films[1] = write_dicom(tmp_path / "bare.dcm", gradient(12), bits=12)  # no study
    changes, pictures = np.zeros((3, SIZE, SIZE), np.float32), [np.zeros((9, 9, 3), np.uint8)] * 3
    with pytest.raises(InputError, match="bare.dcm: has no StudyInstanceUID"):
        write_objects(tmp_path / "out", films, changes=changes, pictures=pictures, square="crop")
    assert not (tmp_path / "out").exists()
