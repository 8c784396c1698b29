"""What is found of a DICOM film, as DICOM objects of the film's own study.

A Secondary Capture of a picture, and a Parametric Map of the change in the film's own pixels, so
that a viewer can lay it over the film. Both refer to the film, and hold its patient and study as
its header has them: they are made to lie beside it, where nothing else that is written here holds
anything of a patient.

highdicom (0.28.2) makes no Parametric Map of a radiograph, which has no position in space, so that
one is put together here, after PS3.3, A.75, of which 2019a and later ask for positions only where a
frame of reference is the patient's.
"""

import collections
import contextlib
import datetime
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pydicom
from highdicom.sc import SCImage
from PIL import Image
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ParametricMapStorage,
    generate_uid,
)

import cxr_jax
from cxr_jax.datasets.cxr_folder.dicom import read_dicom_header
from cxr_jax.datasets.cxr_folder.dicom_views import Turn, turn_back
from cxr_jax.datasets.cxr_folder.image_files import square_box
from cxr_jax.errors import InputError

MAKER, MODEL = "cxr_jax", "latent walk"
CAPTURES, MAPS = 9001, 9002  # series numbers, beyond those of a study's own
DESCRIPTION = "For research only: what a classifier reacts to, by a walk in a latent space"
KIND = ["DERIVED", "PRIMARY"]
# Of a patient and a study: PS3.3, C.7.1.1 and C.7.2.1, those that every object of it must have.
OF_STUDY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID"),
    "AccessionNumber",
)


def read_source(path: Path) -> tuple[Dataset, Turn | None]:
    """A film's header, without its pixels, and how the film is brought upright.

    What a study's objects must have and the header lacks is there, but empty.

    Raises:
      InputError: if it is no DICOM film, or does not say to which study it belongs.
    """
    turn = read_dicom_header(path).turn
    source = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    needed = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    if missing := [keyword for keyword in needed if not source.get(keyword)]:
        raise InputError(f"{path}: has no {missing[0]}, so nothing can refer to it")
    for keyword in OF_STUDY:
        if keyword not in source:
            setattr(source, keyword, "")
    return source, turn


def write_objects(
    directory: Path,
    paths: Sequence[Path],
    *,
    changes: np.ndarray,
    pictures: Sequence[np.ndarray],
    square: str,
) -> Path:
    """A Secondary Capture and a Parametric Map of each film, into a folder; returns it.

    Args:
      paths: of the films' files.
      changes: of their grey [n, size, size], on the [-1, 1] scale.
      pictures: [height, width, 3] uint8, one for each film.
      square: see `on_film`.

    Raises:
      InputError: if a file is no DICOM film, or its header cannot be taken over, or the folder
        holds such objects already, maybe of other patients; nothing is written then.
    """
    if any(directory.glob("*_walk.dcm")):
        raise InputError(f"{directory} holds DICOM objects of other films; name another folder")
    sources = [read_source(path) for path in paths]
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as beside:
        _write_each(Path(beside), paths, sources, changes=changes, pictures=pictures, square=square)
        directory.mkdir(exist_ok=True)
        for path in sorted(Path(beside).iterdir()):
            path.replace(directory / path.name)
    return directory


def _write_each(
    folder: Path,
    paths: Sequence[Path],
    sources: Sequence[tuple[Dataset, Turn | None]],
    *,
    changes: np.ndarray,
    pictures: Sequence[np.ndarray],
    square: str,
) -> None:
    """Both objects of each film, one after the other; see `write_objects`."""
    captures, maps = (collections.defaultdict(generate_uid) for _ in range(2))  # by study
    for number, (path, (source, turn)) in enumerate(zip(paths, sources, strict=True), start=1):
        study, shape = source.StudyInstanceUID, (int(source.Rows), int(source.Columns))
        change = on_film(changes[number - 1] / 2, shape=shape, square=square, turn=turn)
        named = dict(number=number, description=DESCRIPTION)
        with _taken_over(path):
            walk = secondary_capture(source, pictures[number - 1], series=captures[study], **named)
            walk.save_as(folder / f"{number:03d}_walk.dcm", enforce_file_format=True)
            made = parametric_map(source, change, series=maps[study], **named)
            made.save_as(folder / f"{number:03d}_change.dcm", enforce_file_format=True)


@contextlib.contextmanager
def _taken_over(path: Path) -> Iterator[None]:
    """Where a film's header is copied: libraries quote in warnings and errors what stands in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (ValueError, TypeError):
            raise InputError(
                f"{path}: the header's patient or study is not as DICOM wants it (a date as "
                "19501231, a sex as F, M or O, a name as SURNAME^GIVEN); correct it first"
            ) from None


# 1. Where the change is, in the film's own pixels.


def on_film(
    change: np.ndarray,
    *,
    shape: tuple[int, int],
    square: str,
    turn: Turn | None,
) -> np.ndarray:
    """A change [size, size] as [rows, columns] float32, zero where the square does not reach.

    Args:
      shape: rows and columns of the film as it is stored.
      square: "crop", if the square was cut from the film's centre, or "pad".
      turn: how the film was brought upright, see `dicom_views.find_turn`.
    """
    height, width = shape[::-1] if turn is not None and turn[0] else shape
    left, top, right, bottom = square_box((width, height), square)
    enlarged = Image.fromarray(change.astype(np.float32)).resize(
        (right - left, bottom - top), Image.Resampling.BILINEAR
    )
    upright = Image.new("F", (width, height), 0.0)
    upright.paste(enlarged, (left, top))
    pixels = np.asarray(upright)
    return pixels if turn is None else turn_back(pixels, turn)


# 2. The objects.


def secondary_capture(
    source: Dataset, picture: np.ndarray, *, series: str, number: int, description: str
) -> Dataset:
    """A picture [height, width, 3] uint8.

    Args:
      source: the film's header.
      series: its UID, the same for all pictures of a study.
      number: of the picture in it.
      description: what it shows.
    """
    made = SCImage.from_ref_dataset(
        ref_dataset=source,
        pixel_array=picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=["L", "F"],
        series_instance_uid=series,
        sop_instance_uid=generate_uid(),
        series_number=CAPTURES,
        instance_number=number,
        manufacturer=MAKER,
    )
    made.ImageType = [*KIND]
    made.SeriesDescription, made.DerivationDescription = "Latent walk", description
    made.SourceImageSequence = Items([_reference(source)])
    return made


def parametric_map(
    source: Dataset, change: np.ndarray, *, series: str, number: int, description: str
) -> Dataset:
    """A change [rows, columns] float32, in shares of the range from black to white.

    Args:
      source: the film's header, of the same rows and columns.
      series, number, description: see `secondary_capture`.
    """
    made = Dataset()
    if "SpecificCharacterSet" in source:  # in which the patient's name is written
        made.SpecificCharacterSet = source.SpecificCharacterSet
    for keyword in OF_STUDY:
        setattr(made, keyword, source[keyword].value)
    made.Manufacturer, made.ManufacturerModelName = MAKER, MODEL
    made.DeviceSerialNumber, made.SoftwareVersions = "0", cxr_jax.__version__
    now = datetime.datetime.now()
    made.SOPClassUID, made.SOPInstanceUID = ParametricMapStorage, generate_uid()
    made.Modality, made.SeriesInstanceUID, made.SeriesNumber = "OT", series, MAPS
    made.SeriesDescription, made.InstanceNumber = "Latent walk: change", number
    made.ContentDate, made.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    made.ContentLabel, made.ContentDescription = "CHANGE", description[:64]
    made.ContentCreatorName = f"{MAKER}^"
    # Of one film: no place in the patient is said, so that no plane position belongs to it.
    made.FrameOfReferenceUID = source.get("FrameOfReferenceUID") or generate_uid()
    made.PositionReferenceIndicator = ""
    made.ImageType = [*KIND, "STATIC", "NONE"]
    made.ContentQualification, made.BurnedInAnnotation = "RESEARCH", "NO"
    made.RecognizableVisualFeatures = "NO"
    made.LossyImageCompression, made.PresentationLUTShape = "00", "IDENTITY"
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = change.shape
    made.BitsAllocated, made.NumberOfFrames = 32, 1
    made.FloatPixelData = np.ascontiguousarray(change, "<f4").tobytes()
    made.AcquisitionContextSequence = Items([])
    _add_frame(made, source, float(np.abs(change).max()))
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


def _add_frame(made: Dataset, source: Dataset, largest: float) -> None:
    """The functional groups of the one frame, its one dimension, and what it was made of."""
    dimensions = generate_uid()
    made.DimensionOrganizationSequence = _items(DimensionOrganizationUID=dimensions)
    made.DimensionIndexSequence = _items(
        DimensionOrganizationUID=dimensions,
        DimensionIndexPointer=tag_for_keyword("InStackPositionNumber"),
        FunctionalGroupPointer=tag_for_keyword("FrameContentSequence"),
    )
    limit = max(largest, 1e-6)
    shared = Dataset()
    shared.ParametricMapFrameTypeSequence = _items(FrameType=[*KIND, "STATIC", "NONE"])
    shared.PixelValueTransformationSequence = _items(
        RescaleIntercept=0, RescaleSlope=1, RescaleType="US"
    )
    shared.PixelMeasuresSequence = _items(**_spacing(source))
    shared.FrameVOILUTSequence = _items(WindowCenter=0.0, WindowWidth=2 * limit)
    shared.RealWorldValueMappingSequence = _items(
        LUTLabel="CHANGE",
        LUTExplanation="Change of grey, in shares of the range from black to white",
        DoubleFloatRealWorldValueFirstValueMapped=-1.0,
        DoubleFloatRealWorldValueLastValueMapped=1.0,
        RealWorldValueIntercept=0.0,
        RealWorldValueSlope=1.0,
        MeasurementUnitsCodeSequence=_code(codes.UCUM.NoUnits),
    )
    shared.DerivationImageSequence = _items(
        DerivationDescription="Change along a walk in the latent space of a GAN",
        DerivationCodeSequence=_code(codes.DCM.PixelByPixelSubtraction),
        SourceImageSequence=Items([_reference(source, purpose=True)]),
    )
    shared.FrameAnatomySequence = _items(
        FrameLaterality="B", AnatomicRegionSequence=_code(codes.SCT.Chest)
    )
    frame = Dataset()
    frame.FrameContentSequence = _items(
        DimensionIndexValues=1, StackID="1", InStackPositionNumber=1
    )
    made.SharedFunctionalGroupsSequence = Items([shared])
    made.PerFrameFunctionalGroupsSequence = Items([frame])
    made.ReferencedSeriesSequence = _items(
        SeriesInstanceUID=source.SeriesInstanceUID,
        ReferencedInstanceSequence=Items([_reference(source)]),
    )


def _spacing(source: Dataset) -> dict[str, object]:
    """The distance of the film's pixels on the detector, in mm, where it is known."""
    spacing = source.get("ImagerPixelSpacing") or source.get("PixelSpacing")
    return {"PixelSpacing": spacing} if spacing else {}


def _items(**elements: object) -> Items:
    """A sequence of one item."""
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return Items([item])


def _code(code: Code) -> Items:
    return _items(
        CodeValue=code.value,
        CodingSchemeDesignator=code.scheme_designator,
        CodeMeaning=code.meaning,
    )


def _reference(source: Dataset, *, purpose: bool = False) -> Dataset:
    """To the film."""
    (reference,) = _items(
        ReferencedSOPClassUID=source.SOPClassUID,
        ReferencedSOPInstanceUID=source.SOPInstanceUID,
    )
    if purpose:
        used = codes.DCM.SourceImageForImageProcessingOperation
        reference.PurposeOfReferenceCodeSequence = _code(used)
    return reference
