"""The numbers that make a patient and an exposure, and the pose that carries body to film.

Body coordinates are film coordinates before the pose (shift, rotation, scale): x = 0 is the
midline, negative x the patient's right, y runs downwards; the lungs span about [-0.7, 0.7] by
[-0.8, 0.4]. Attenuation is in nepers (log of a ratio of intensities), so that organs add.
"""

import dataclasses

import numpy as np

from cxr_jax.datasets.cxr_phantom.canvas import Canvas


def between(low: float, high: float) -> dataclasses.Field:
    """A dataclass field drawn uniformly from [low, high]."""
    return dataclasses.field(metadata={"range": (low, high)})


@dataclasses.dataclass(frozen=True)
class Patient:
    """Lengths in film units (2 = the film's width), angles in radians, densities in nepers."""

    # pose
    rotation: float = between(-0.07, 0.07)
    shift_x: float = between(-0.07, 0.07)
    shift_y: float = between(-0.07, 0.07)
    scale: float = between(0.90, 1.10)
    # lungs
    lung_apex: float = between(-0.84, -0.74)
    chest_width: float = between(0.70, 0.88)
    inspiration: float = between(0.0, 1.0)
    left_dome_drop: float = between(0.0, 0.09)
    dome_curve: float = between(0.5, 1.1)
    lung_air: float = between(1.6, 2.05)
    vessels: float = between(0.16, 0.34)
    # mediastinum
    mediastinum_width: float = between(0.085, 0.135)
    aortic_knob: float = between(0.03, 0.09)
    pulmonary_trunk: float = between(0.01, 0.05)
    heart_width: float = between(0.18, 0.36)
    right_atrium: float = between(0.04, 0.10)
    # bones
    rib_spacing: float = between(0.125, 0.150)
    rib_phase: float = between(0.0, 1.0)
    rib_slope: float = between(0.28, 0.50)
    rib_contrast: float = between(0.20, 0.45)
    clavicle_height: float = between(-0.64, -0.50)
    clavicle_slope: float = between(0.0, 0.30)
    spine_contrast: float = between(0.25, 0.55)
    # soft tissue; below zero the thing is absent
    body_width: float = between(0.94, 1.22)
    body_thickness: float = between(2.7, 3.3)
    shoulder_height: float = between(-0.98, -0.80)
    breast: float = between(-0.35, 0.35)
    gastric_bubble: float = between(-0.8, 0.8)
    gastric_width: float = between(0.10, 0.22)
    # exposure
    exposure: float = between(-0.25, 0.35)
    contrast: float = between(0.85, 1.15)
    scatter: float = between(0.05, 0.20)
    blur: float = between(0.004, 0.009)
    noise: float = between(0.003, 0.011)
    # not drawn: by how much disease has displaced the heart's left border
    heart_enlarged: float = 0.0


# What a network can be asked to regress from the image alone.
PARAMETER_NAMES: tuple[str, ...] = (
    "rotation",
    "shift_x",
    "shift_y",
    "scale",
    "lung_apex",
    "chest_width",
    "inspiration",
    "left_dome_drop",
    "mediastinum_width",
    "aortic_knob",
    "heart_width",
    "rib_contrast",
    "clavicle_height",
    "body_width",
    "exposure",
    "contrast",
)


def draw_patient(rng: np.random.Generator) -> Patient:
    drawn = [f for f in dataclasses.fields(Patient) if "range" in f.metadata]
    low, high = np.array([f.metadata["range"] for f in drawn]).T
    # Python floats: NumPy's own float64 scalars would turn every float32 image into float64.
    return Patient(*(low + (high - low) * rng.random(low.size)).tolist())


def parameters(patient: Patient) -> np.ndarray:
    """The values of PARAMETER_NAMES, float32 [len(PARAMETER_NAMES)]; the heart is as enlarged."""
    values = {name: getattr(patient, name) for name in PARAMETER_NAMES}
    values["heart_width"] += patient.heart_enlarged
    return np.array(list(values.values()), np.float32)


def film_to_body(patient: Patient, canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """Body coordinates (x, y) of every pixel, two arrays [size, size]."""
    cos = float(np.cos(patient.rotation)) / patient.scale
    sin = float(np.sin(patient.rotation)) / patient.scale
    column = canvas.axis - patient.shift_x
    row = (canvas.axis - patient.shift_y)[:, None]
    return cos * column + sin * row, cos * row - sin * column


def body_to_film(patient: Patient, points: np.ndarray) -> np.ndarray:
    """Film coordinates of body points, both [..., 2] as (x, y)."""
    cos = np.cos(patient.rotation) * patient.scale
    sin = np.sin(patient.rotation) * patient.scale
    x, y = points[..., 0], points[..., 1]
    film = np.stack([cos * x - sin * y + patient.shift_x, sin * x + cos * y + patient.shift_y], -1)
    return film
