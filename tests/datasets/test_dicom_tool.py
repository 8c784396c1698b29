"""The same films by DCMTK's command: equal to one grey level, which it cuts off and we round.

Where it does otherwise than the standard or than we decided, a test says so. It reads neither
JPEG-LS (its `dcmdjpls` decodes that first) nor JPEG 2000.
"""

import shutil
import subprocess

import numpy as np
import pytest
from dicom_films import NATIVE, gradient, lut, write_dicom
from PIL import Image
from pydicom import uid

from cxr_jax.datasets.cxr_folder.depth import bits_scale
from cxr_jax.datasets.cxr_folder.image_files import read_grey

TOOL = shutil.which("dcm2img") or shutil.which("dcmj2pnm")
pytestmark = pytest.mark.skipif(
    TOOL is None or shutil.which("dcmcjpls") is None,
    reason="needs dcm2img or dcmj2pnm of DCMTK (apt-get install dcmtk)",
)
WINDOW = ("+Wi", "1")
CURVE = np.rint(4095 * (np.arange(3000) / 2999) ** 0.5)


def call(*command) -> None:
    subprocess.run([str(each) for each in command], check=True, capture_output=True)


def by_tool(path, *flags: str) -> np.ndarray:
    out = path.with_suffix(".pgm")
    call(TOOL, *flags, "+opb", path, out)  # PGM of 8 bits
    return np.asarray(Image.open(out)).astype(int)


def by_us(path, scale=None) -> np.ndarray:
    return np.asarray(read_grey(path, scale)).astype(int)


def assert_alike(path, *flags: str) -> None:
    difference = np.abs(by_us(path) - by_tool(path, *flags))
    assert difference.max() <= 1
    assert by_us(path).std() > 20  # of a picture


def window(bits: int, *, signed: bool = False) -> dict:
    middle = 0 if signed else 2 ** (bits - 1)
    return dict(WindowCenter=middle, WindowWidth=0.6 * 2**bits)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_every_depth_and_polarity(tmp_path, bits, signed, photometric):
    path = write_dicom(
        tmp_path / "x.dcm",
        gradient(bits, signed=signed),
        bits=bits,
        signed=signed,
        PhotometricInterpretation=photometric,
        **window(bits, signed=signed),
    )
    assert_alike(path, *WINDOW)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_without_a_window_a_detector_s_bits_are_dropped(tmp_path, bits, photometric):
    path = write_dicom(
        tmp_path / "x.dcm", gradient(bits), bits=bits, PhotometricInterpretation=photometric
    )
    assert np.abs(by_us(path, bits_scale(bits)) - by_tool(path)).max() <= 1


@pytest.mark.parametrize(
    "elements",
    [
        {"VOILUTFunction": "LINEAR", "WindowCenter": 1000.5, "WindowWidth": 700},
        {"VOILUTFunction": "LINEAR_EXACT", "WindowCenter": 1000.5, "WindowWidth": 700},
        {"VOILUTFunction": "SIGMOID", "WindowCenter": 1000.5, "WindowWidth": 700},
        {"WindowCenter": [2048, 100], "WindowWidth": [3000, 50]},
        {"high_bits": 9} | window(12),  # overlays
        {"RescaleSlope": 2.5, "RescaleIntercept": -1000, "WindowCenter": 3000, "WindowWidth": 5000},
        {"ModalityLUTSequence": lut(500, CURVE, 12), "WindowCenter": 2000, "WindowWidth": 3000},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}
        | window(12),
        {"PresentationLUTShape": "INVERSE"} | window(12),
        {"PresentationLUTShape": "IDENTITY"} | window(12),
    ],
)
def test_what_headers_say(tmp_path, elements):
    assert_alike(write_dicom(tmp_path / "x.dcm", gradient(12), bits=12, **elements), *WINDOW)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("first", "table"),
    [
        (500, lut(500, CURVE, 12)),
        (-1500, lut(-1500, CURVE, 12)),
        (500, lut(500, np.arange(3000) // 12, 8)),
        (500, lut(500, np.arange(3000) // 12, 8, as_bytes=True)),
    ],
)
def test_voi_luts_go_before_windows(tmp_path, first, table, photometric):
    signed = first < 0
    path = write_dicom(
        tmp_path / "x.dcm",
        gradient(12, signed=signed),
        bits=12,
        signed=signed,
        PhotometricInterpretation=photometric,
        VOILUTSequence=table,
        WindowCenter=2000,
        WindowWidth=100,
    )
    assert_alike(path, "+Wl", "1")


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize(
    "syntax",
    [
        *(*NATIVE, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless, uid.JPEGExtended12Bit),
        *(uid.JPEGLossless, uid.JPEGLosslessSV1),
    ],
    ids=lambda syntax: syntax.keyword,
)
def test_transfer_syntaxes(tmp_path, syntax, bits):
    path = write_dicom(tmp_path / "x.dcm", gradient(bits), bits=bits, syntax=syntax, **window(bits))
    assert_alike(path, *WINDOW)


@pytest.mark.parametrize(
    "command",
    [
        *(["dcmcjpeg", "+e1"], ["dcmcjpeg", "+el", "+sv", "6"], ["dcmcrle"]),
        *(["dcmcjpls"], ["dcmcjpls", "+en", "+md", "2"], ["dcmconv", "+td"], ["dcmconv", "+tb"]),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("signed", [False, True])
def test_files_that_the_tool_has_compressed(tmp_path, command, signed):
    signed = signed and "+en" not in command  # it writes none of these
    values = gradient(12, signed=signed)
    plain = write_dicom(
        tmp_path / "x.dcm", values, bits=12, signed=signed, **window(12, signed=signed)
    )
    call(*command, plain, tmp_path / "y.dcm")
    assert np.abs(by_us(tmp_path / "y.dcm") - by_us(plain)).max() <= 1


def test_where_the_tool_differs(tmp_path):
    """Padding, which it shows as white where low is white; and headers that contradict themselves.

    MONOCHROME1 and IDENTITY exclude each other (PS3.3, C.8.11.3): it follows the second, we follow
    the first, as most viewers do, and warn.
    """
    values = gradient(12)
    values[:10] = 0
    low_white = dict(PhotometricInterpretation="MONOCHROME1") | window(12)
    path = write_dicom(tmp_path / "x.dcm", values, bits=12, PixelPaddingValue=0, **low_white)
    assert (by_tool(path, *WINDOW)[:10] == 255).all() and (by_us(path)[:10] == 0).all()
    path = write_dicom(
        tmp_path / "y.dcm", gradient(12), bits=12, PresentationLUTShape="IDENTITY", **low_white
    )
    assert np.abs(by_us(path) - (255 - by_tool(path, *WINDOW))).max() <= 1
