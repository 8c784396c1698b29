"""DICOM files as they come, and damaged ones: read rightly, or refused in one line."""

import tempfile
from pathlib import Path

import numpy as np
from dicom_films import ENCODERS, NATIVE, gradient, write_dicom
from fuzzing import both_suites, damaged, explore
from hypothesis import strategies as st
from pydicom import uid

from cxr_jax.datasets.cxr_folder.image_files import fit_film, read_grey, read_range

SYNTAXES = [*NATIVE, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless, *ENCODERS]


@st.composite
def films(draw: st.DrawFn) -> bytes:
    """Of some depth, polarity, window, padding and transfer syntax."""
    bits = draw(st.sampled_from([8, 10, 12, 16]))
    syntax = draw(st.sampled_from(SYNTAXES))
    if syntax in (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit):
        bits = 8 if syntax == uid.JPEGBaseline8Bit else min(bits, 12)
    elements = {
        "PhotometricInterpretation": draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"])),
        "WindowCenter": draw(st.sampled_from([None, 0, 2 ** (bits - 1)])),
        "WindowWidth": draw(st.sampled_from([2, 2**bits])),
        "PatientOrientation": draw(st.sampled_from([["L", "F"], ["R", "F"], ["H", "L"], []])),
    }
    if draw(st.booleans()):
        elements["PixelPaddingValue"] = draw(st.integers(0, 2**bits - 1))
    with tempfile.TemporaryDirectory() as root:
        path = write_dicom(
            Path(root) / "x.dcm",
            gradient(bits, height=20, width=18),
            bits=bits,
            syntax=syntax,
            preamble=draw(st.integers(0, 3)) > 0,
            **{keyword: value for keyword, value in elements.items() if value is not None},
        )
        return path.read_bytes()


def check_film(data: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / name
        path.write_bytes(data)
        read_range(path)
        grey = read_grey(path)
    assert grey.mode == "L" and np.asarray(fit_film(grey, 16)).shape == (16, 16)


@both_suites(quick=120, thorough=2000)
def test_dicom(num_examples):
    names = st.sampled_from(["x.dcm", "x", "x.png"])
    explore(check_film, num_examples, damaged(films()), names)
