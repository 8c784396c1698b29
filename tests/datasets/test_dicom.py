"""DICOM films: what is read, what is turned, and what is refused."""

import gc
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from dicom_films import ENCODERS, NATIVE, gradient, lut, rewrite, write_dicom
from film_folders import assert_one_line_naming
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from cxr_jax.datasets.cxr_folder.depth import bits_scale
from cxr_jax.datasets.cxr_folder.dicom import read_dicom_header
from cxr_jax.datasets.cxr_folder.image_files import read_grey, read_lung_mask, read_range
from cxr_jax.errors import InputError

WINDOW = dict(WindowCenter=2047.5, WindowWidth=4096.0, VOILUTFunction="LINEAR_EXACT")
LOSSY = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000}


def read(path) -> np.ndarray:
    return np.asarray(read_grey(path)).astype(int)


def upright() -> np.ndarray:
    """What `WINDOW` makes of the gradient of 12 bits."""
    unit = np.clip((gradient(12) - 2047.5) / 4096 + 0.5, 0, 1)
    return np.rint(255 * unit).astype(int)


def film(tmp_path, name="x.dcm", values=None, **elements):
    elements = {"bits": 12, **WINDOW, **elements}
    return write_dicom(tmp_path / name, gradient(12) if values is None else values, **elements)


# Files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize(
    "syntax",
    [*NATIVE, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless, *ENCODERS],
    ids=lambda syntax: syntax.keyword,
)
def test_every_transfer_syntax_holds_the_same_film(tmp_path, syntax, bits):
    if bits > {uid.JPEGBaseline8Bit: 8, uid.JPEGExtended12Bit: 12}.get(syntax, 16):
        pytest.skip("the syntax has no values so deep")
    window = dict(WindowCenter=2 ** (bits - 1), WindowWidth=2**bits)
    expected = gradient(bits) * 255 / (2**bits - 1)
    path = write_dicom(tmp_path / "x", gradient(bits), bits=bits, syntax=syntax, **window)
    limit = 2 if syntax in LOSSY else 0.51
    assert np.abs(read(path) - expected).max() <= limit


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.HTJ2KLossless])
def test_streams_of_signed_values(tmp_path, syntax):
    values = gradient(12, signed=True).astype(np.int16)
    path = film(tmp_path, values=values, signed=True, WindowCenter=-0.5)
    before = read(path)
    stream = {
        uid.JPEG2000Lossless: lambda: imagecodecs.jpeg2k_encode(
            values, level=0, codecformat="j2k", reversible=True, bitspersample=12
        ),
        uid.HTJ2KLossless: lambda: imagecodecs.htj2k_encode(values, reversible=True),
    }[syntax]()
    rewrite(path, encapsulate([bytes(stream)]), syntax)
    np.testing.assert_array_equal(read(path), before)
    assert np.abs(before - upright()).max() <= 1


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian])
def test_a_file_without_preamble_is_read_where_its_name_says_dicom(tmp_path, syntax):
    path = film(tmp_path, preamble=False, syntax=syntax)
    np.testing.assert_array_equal(read(path), upright())
    with pytest.raises(InputError) as error:
        read_grey(path.rename(tmp_path / "x"))
    assert_one_line_naming(error, "not an image")


@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_single_bytes_of_a_big_endian_file_lie_in_words_or_do_not(tmp_path, vr):
    values = gradient(8, height=17, width=19)  # an odd number of them
    path = write_dicom(tmp_path / "x", values, bits=8, syntax=uid.ExplicitVRBigEndian)
    data = values.astype("u1").tobytes() + b"\0"
    data = np.frombuffer(data, "u2").byteswap().tobytes() if vr == "OW" else data
    rewrite(path, data, uid.ExplicitVRBigEndian, vr=vr)
    np.testing.assert_array_equal(read(path), values)


# What a header says ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [None, "INVERSE"])
def test_low_is_white_is_inverted_once(tmp_path, shape):
    elements = {"PresentationLUTShape": shape} if shape else {}
    path = film(tmp_path, PhotometricInterpretation="MONOCHROME1", **elements)
    np.testing.assert_array_equal(read(path), 255 - upright())
    assert "inverted" in read_dicom_header(path).notes


@pytest.mark.parametrize(
    ("photometric", "shape"), [("MONOCHROME2", "INVERSE"), ("MONOCHROME1", "IDENTITY")]
)
def test_polarities_that_contradict_each_other_are_told(tmp_path, photometric, shape):
    path = film(tmp_path, PhotometricInterpretation=photometric, PresentationLUTShape=shape)
    np.testing.assert_array_equal(read(path), 255 - upright())
    assert "contradicts" in read_dicom_header(path).notes
    agreeing = film(tmp_path, "y.dcm", PresentationLUTShape="IDENTITY")
    assert "contradicts" not in read_dicom_header(agreeing).notes


def test_the_first_of_several_windows_counts_and_a_lut_before_them(tmp_path):
    several = dict(WindowCenter=[2047.5, 100.0], WindowWidth=[4096.0, 50.0])
    path = film(tmp_path, **several)
    np.testing.assert_array_equal(read(path), upright())
    assert "windows" in read_dicom_header(path).notes
    curve = 4095 - np.arange(4096)
    path = film(tmp_path, VOILUTSequence=lut(0, curve, 12), **several)
    np.testing.assert_allclose(read(path), 255 - upright(), atol=1)


def test_a_modality_lut_comes_first_and_slopes_are_no_more_asked(tmp_path):
    path = film(
        tmp_path,
        ModalityLUTSequence=lut(0, 4095 - np.arange(4096), 12),
        RescaleSlope=7.0,
        RescaleIntercept=0.0,
    )
    np.testing.assert_array_equal(read(path), 255 - upright())


@pytest.mark.parametrize("as_bytes", [False, True])
def test_luts_of_8_bits_lie_in_words_or_in_bytes(tmp_path, as_bytes):
    curve = np.arange(4096) // 16
    path = film(tmp_path, VOILUTSequence=lut(0, curve, 8, as_bytes=as_bytes))
    np.testing.assert_array_equal(read(path), gradient(12) // 16)


def test_a_lut_of_all_values_and_one_that_begins_below_zero(tmp_path):
    values = gradient(16, signed=True)
    curve = np.arange(2**16)
    path = film(
        tmp_path, values=values, bits=16, signed=True, VOILUTSequence=lut(-(2**15), curve, 16)
    )
    np.testing.assert_allclose(read(path), gradient(16) * 255 / 65535, atol=0.51)


def test_padding_is_black_and_of_no_statistic(tmp_path):
    values = gradient(12) // 4 + 100
    values[:20] = 4095
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        path = film(
            tmp_path, values=values, PhotometricInterpretation=photometric, PixelPaddingValue=4095
        )
        assert (read(path)[:20] == 0).all() and (read(path)[20:] > 0).all()
    bare = write_dicom(tmp_path / "y", values, bits=12, PixelPaddingValue=4095)
    assert read_range(bare).high < 1200
    assert (read(bare)[:20] == 0).all() and read(bare)[20:].max() > 200  # as 10 bits


def test_deep_films_have_the_scale_of_their_source(tmp_path):
    path = write_dicom(tmp_path / "x", gradient(12), bits=12)
    found = read_range(path)
    assert found.is_integer and found.stored_bits == 12
    np.testing.assert_array_equal(read(path), gradient(12) // 16)
    np.testing.assert_array_equal(np.asarray(read_grey(path, bits_scale(14))), gradient(12) // 64)
    assert read_range(film(tmp_path, "y")) is None
    eight = write_dicom(
        tmp_path / "z", gradient(8), bits=8, PhotometricInterpretation="MONOCHROME1"
    )
    assert read_range(eight) is None
    np.testing.assert_array_equal(read(eight), 255 - gradient(8))


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (["L", "F"], lambda shown: shown),
        (["R", "F"], lambda shown: shown[:, ::-1]),
        (["L", "H"], lambda shown: shown[::-1]),
        (["R", "H"], lambda shown: shown[::-1, ::-1]),
        (["F", "L"], lambda shown: shown.T),
        (["H", "L"], lambda shown: shown.T[:, ::-1]),
        (["LF", "FP"], lambda shown: shown),
    ],
)
def test_films_are_turned_to_the_usual_position(tmp_path, orientation, turned):
    """`turned` makes of the film as it is looked at what such a detector stores."""
    path = film(tmp_path, values=turned(gradient(12)), PatientOrientation=orientation)
    np.testing.assert_array_equal(read(path), upright())
    header = read_dicom_header(path)
    assert (
        ("turned" in header.notes)
        == header.is_turned
        == (orientation[0][0] != "L" or orientation[1][0] != "F")
    )
    assert "position_unknown" not in header.notes


@pytest.mark.parametrize(
    ("elements", "view"),
    [
        ({"ViewPosition": "PA"}, "frontal"),
        ({"ViewPosition": "AP"}, "frontal"),
        ({"ViewPosition": "LL"}, "other"),
        ({"ViewPosition": "RL"}, "other"),
        ({"ViewPosition": "LATERAL"}, "other"),
        ({"ViewPosition": "LLO"}, "other"),
        ({"ViewPosition": "RLD"}, "other"),
        ({"ViewPosition": "CHEST LAT"}, "other"),
        ({"ViewPosition": "W033"}, "unknown"),
        ({}, "unknown"),
        ({"ViewCodeSequence": "399348003"}, "frontal"),
        ({"ViewCodeSequence": "R-10236"}, "other"),
        ({"ViewPosition": "PA", "ViewCodeSequence": "R-10236"}, "frontal"),
        ({"PatientOrientation": ["P", "F"]}, "other"),
        ({"PatientOrientation": ["P", "F"], "ViewPosition": "PA"}, "frontal"),
        ({"PatientOrientation": ["L", "F"]}, "unknown"),
    ],
)
def test_the_view(tmp_path, elements, view):
    if "ViewCodeSequence" in elements:
        item = Dataset()
        item.CodeValue = elements["ViewCodeSequence"]
        elements = elements | {"ViewCodeSequence": item}
    header = read_dicom_header(film(tmp_path, **elements))
    assert header.view == view
    assert ("view_unknown" in header.notes) == (view == "unknown")


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"Modality": "CT"}, ["modality CT", "not a radiograph"]),
        ({"Modality": "SECRET"}, ["another modality"]),
        ({"NumberOfFrames": 2}, ["several frames"]),
        ({"PhotometricInterpretation": "RGB"}, ["colour", "PNG"]),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, ["colour"]),
        ({"SamplesPerPixel": 3}, ["colour"]),
        ({"ImagerPixelSpacing": [0.1, 0.2]}, ["not square (ImagerPixelSpacing)"]),
        ({"PixelAspectRatio": [1, 2]}, ["not square (PixelAspectRatio)"]),
        ({"WindowWidth": 0}, ["WindowWidth", "PNG"]),
        ({"WindowWidth": 0.5, "VOILUTFunction": "LINEAR"}, ["WindowWidth"]),
        ({"WindowWidth": 1, "VOILUTFunction": "LINEAR"}, ["has 2 grey values after its window"]),
        ({"WindowCenter": 9999, "WindowWidth": 1}, ["has 1 grey values after its window"]),
        ({"VOILUTFunction": "SECRET"}, ["VOILUTFunction", "SIGMOID"]),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, ["RescaleSlope of zero"]),
        ({"VOILUTSequence": lut(0, np.arange(1), 12)}, ["grey values after its window"]),
        ({"HighBit": 3}, ["8 or 16 bits"]),
        ({"BitsStored": 17}, ["8 or 16 bits"]),
        ({"Rows": 49}, ["cut off"]),
        ({"without": ("PixelData",)}, ["holds no picture"]),
        ({"without": ("Rows",)}, ["holds no picture"]),
        ({"without": ("BitsStored",)}, ["no BitsStored"]),
        ({"values": np.full((48, 56), 9)}, ["one grey value"]),
        ({"values": np.full((48, 56), 9), "without": ("WindowCenter",)}, ["one grey value"]),
        ({"syntax": uid.JPEGLosslessSV1, "Rows": 49}, ["not of the size"]),
    ],
)
def test_what_is_no_film_is_refused_in_a_line(tmp_path, elements, words):
    with pytest.raises(InputError) as error:
        read_grey(film(tmp_path, **elements))
    assert_one_line_naming(error, str(tmp_path / "x.dcm"), *words)
    assert "SECRET" not in str(error.value)


@pytest.mark.parametrize(
    "syntax", [uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.HTJ2KLossless]
)
def test_streams_that_end_early_are_refused(tmp_path, syntax):
    path = film(tmp_path)
    stream = bytes(ENCODERS[syntax](gradient(12).astype("u2"), 12))
    rewrite(path, encapsulate([stream[: len(stream) // 2 * 2 - 40]]), syntax)
    with pytest.raises(InputError) as error:
        read_grey(path)
    assert_one_line_naming(error, "cut off")


@pytest.mark.parametrize("filling", [b"", b"\0", b"\xff", b"\0\0"])
def test_streams_may_be_filled_up(tmp_path, filling):
    path, before = film(tmp_path), read(film(tmp_path))
    stream = bytes(ENCODERS[uid.JPEGLosslessSV1](gradient(12).astype("u2"), 12)) + filling
    rewrite(path, encapsulate([stream]), uid.JPEGLosslessSV1)
    np.testing.assert_array_equal(read(path), before)


def test_a_syntax_that_is_not_read_and_one_without_decoder(tmp_path, monkeypatch):
    path = rewrite(film(tmp_path), encapsulate([b"\0" * 100]), uid.MPEG2MPML)
    with pytest.raises(InputError) as error:
        read_grey(path)
    assert_one_line_naming(error, "MPEG2", "dcmdjpeg")

    def missing(*arguments, **fields):
        raise ImportError

    monkeypatch.setattr(imagecodecs, "jpeg8_decode", missing)
    with pytest.raises(InputError) as error:
        read_grey(film(tmp_path, syntax=uid.JPEGLosslessSV1))
    assert_one_line_naming(error, "JPEG Lossless", "pip install imagecodecs")


def test_a_name_that_lies(tmp_path):
    Image.fromarray(gradient(8).astype(np.uint8)).save(tmp_path / "x.png")
    with pytest.raises(InputError) as error:
        read_grey((tmp_path / "x.png").rename(tmp_path / "x.dcm"))
    assert_one_line_naming(error, "x.dcm", "is none")
    np.testing.assert_array_equal(read(film(tmp_path, "y.png")), upright())


def test_a_mask_is_no_dicom(tmp_path):
    with pytest.raises(InputError) as error:
        read_lung_mask(film(tmp_path), (56, 48))
    assert_one_line_naming(error, "DICOM", "PNG")


def test_a_deflated_file_may_not_become_larger_than_a_film(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError) as error:
        read_grey(film(tmp_path))
    assert_one_line_naming(error, "million pixels")
    path = film(tmp_path, syntax=uid.DeflatedExplicitVRLittleEndian)
    data = path.read_bytes()
    start = 144 + struct.unpack("<I", data[140:144])[0]
    packer = zlib.compressobj(wbits=-15)
    bomb = packer.compress(zlib.decompress(data[start:], -15))
    bomb += packer.compress(bytes(65 * 2**20)) + packer.flush()
    path.write_bytes(data[:start] + bomb)
    with pytest.raises(InputError) as error:
        read_grey(path)
    assert_one_line_naming(error, "deflated", "larger")


def test_nothing_is_kept_of_a_file_that_was_read(tmp_path):
    path = film(tmp_path)
    read_grey(path)
    gc.collect()
    path.unlink()  # an open map of it would have warned
    assert "Nobody" not in repr(read_dicom_header(film(tmp_path)))
