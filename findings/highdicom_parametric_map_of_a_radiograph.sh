#!/usr/bin/env bash
# A Parametric Map of a radiograph cannot be made by highdicom.
#
# CR and DX images have no frame of reference and no position in space; PS3.3, A.75.5, asks for plane
# positions only where a frame of reference is the patient's (2019a and later). highdicom.pm.ParametricMap
# has a branch for source images of that kind (dimension indices without positions), but ends in an
# error for every one of them: 0.27.0 asks the film for its ImagePositionPatient; 0.28.2 writes a
# dimension that its own check of the finished object then finds no values for. A film that is given
# a FrameOfReferenceUID fails in the same way. So a map of what a classifier of chest films reacts to
# has to be written by other means; Secondary Captures of the same films are made without trouble,
# but do not refer to the film that they were made of, unless SourceImageSequence is added.
#
# Seen on 2026-11-29 with highdicom 0.28.2 and 0.27.0, pydicom 3.0.2 (Python 3.11).
#
# Fails if this changes. Run: bash findings/highdicom_parametric_map_of_a_radiograph.sh
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/map.py" <<'PYTHON'
import warnings

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

warnings.simplefilter("ignore")


def film(sop_class: str, modality: str) -> Dataset:
    """A radiograph of 64 x 64 pixels with what its modules require."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.Modality = sop_class, modality
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(made, keyword, generate_uid())
    for keyword in ("PatientName", "PatientBirthDate", "AccessionNumber", "ReferringPhysicianName"):
        setattr(made, keyword, "")
    made.PatientID, made.PatientSex, made.StudyID = "1", "O", "1"
    made.StudyDate, made.StudyTime = "20260101", "120000"
    made.SeriesNumber = made.InstanceNumber = 1
    made.ViewPosition, made.PatientOrientation, made.BodyPartExamined = "PA", ["L", "F"], "CHEST"
    made.Rows = made.Columns = 64
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.ImagerPixelSpacing = [0.2, 0.2]
    made.PixelData = np.zeros((64, 64), np.uint16).tobytes()
    return made


def parametric_map(source: Dataset) -> str:
    mapping = hd.pm.RealWorldValueMapping(
        lut_label="change",
        lut_explanation="change of grey",
        unit=hd.sr.coding.CodedConcept("1", "UCUM", "no units"),
        value_range=(-2.0, 2.0),
        intercept=0,
        slope=1,
    )
    try:
        hd.pm.ParametricMap(
            [source], np.zeros((64, 64), np.float32), generate_uid(), 101, generate_uid(), 1,
            "maker", "model", "1", "1", contains_recognizable_visual_features=False,
            real_world_value_mappings=[mapping], window_center=0.0, window_width=1.0,
        )
    except Exception as error:
        return type(error).__name__
    return "made"


def secondary_capture(source: Dataset) -> str:
    capture = hd.sc.SCImage.from_ref_dataset(
        ref_dataset=source, pixel_array=np.zeros((64, 64, 3), np.uint8),
        photometric_interpretation="RGB", bits_allocated=8, coordinate_system="PATIENT",
        series_instance_uid=generate_uid(), sop_instance_uid=generate_uid(), series_number=100,
        instance_number=1, manufacturer="maker", patient_orientation=["L", "F"],
    )
    return "refers" if source.SOPInstanceUID in str(capture) else "does not refer"


for sop_class, modality in (
    (ComputedRadiographyImageStorage, "CR"),
    (DigitalXRayImageStorageForPresentation, "DX"),
):
    source = film(sop_class, modality)
    print(modality, parametric_map(source), "|", secondary_capture(source))
PYTHON
for version in 0.28.2:RuntimeError 0.27.0:AttributeError; do
  "${PYTHON:-python3}" -m venv --clear "$folder/venv"
  "$folder/venv/bin/python" -m pip install --quiet "highdicom==${version%%:*}" "pydicom==3.0.2" \
    "numpy==2.4.6" "pillow==13.0.0"
  told=$("$folder/venv/bin/python" "$folder/map.py")
  echo "highdicom ${version%%:*}:"
  echo "$told"
  error=${version##*:}
  [ "$told" = "CR $error | does not refer
DX $error | does not refer" ]
done
