"""draw(seed, index, spec): one phantom radiograph with everything that is true about it.

An image is tone_curve(sum of attenuations + grain). Lesions, look-alikes and marker are added
attenuations, so that the same patient without one of them is re-rendered exactly: same grain,
same exposure. Each component draws from its own random stream, which depends on nothing but
(seed, index): switching one on or off, or changing the image size, leaves the others alone.
"""

import dataclasses

import numpy as np

from cxr_jax.datasets.cxr_phantom.canvas import grain, make_canvas
from cxr_jax.datasets.cxr_phantom.lesions import draw_lesions, draw_severity, lesion_mask
from cxr_jax.datasets.cxr_phantom.lookalikes import draw_lookalikes, lookalike_mask
from cxr_jax.datasets.cxr_phantom.marker import draw_marker, marker_mask
from cxr_jax.datasets.cxr_phantom.patient import Patient, draw_patient, parameters
from cxr_jax.datasets.cxr_phantom.thorax import draw_thorax

STREAMS = (
    "patient",
    "thorax",
    "label",
    "severity",
    "lesions",
    "lookalikes",
    "marker",
    "marker_shape",
    "grain",
)
GRAIN_DETAIL = 0.75  # share of fine noise that the detector passes at each doubling
IMAGE_NAMES = ("image", "twin", "without_marker", "without_both")
MASK_NAMES = ("lesion_mask", "lung_mask", "lookalike_mask", "marker_mask")


@dataclasses.dataclass(frozen=True)
class PhantomSpec:
    """What may differ between two data sets of the same patients.

    Attributes:
      size: pixels a side; a power of two, at least 32.
      marker_if_positive: probability that a positive carries a marker.
      marker_if_negative: the same for a negative.
    """

    size: int = 64
    marker_if_positive: float = 0.0
    marker_if_negative: float = 0.0


def stream(seed: int, index: int, name: str) -> np.random.Generator:
    """The random numbers of one component of one patient."""
    return np.random.Generator(np.random.PCG64([seed, index, STREAMS.index(name)]))


def draw_label(seed: int, index: int) -> int:
    """0 or 1. Patients 2k and 2k + 1 have opposite labels in random order.

    Every even number of examples is then balanced, without a stride that a shard could hit.
    """
    return int(stream(seed, index // 2, "label").integers(2)) ^ (index % 2)


def tone_curve(p: Patient, attenuation: np.ndarray) -> np.ndarray:
    """Grey levels uint8 of the displayed film: a sigmoid, as film's own characteristic curve."""
    steepness = 1.35 * p.contrast
    level = 1.0 / (1.0 + np.exp(steepness * (1.75 - p.exposure - attenuation)))
    return (level * 255.0 + 0.5).astype(np.uint8)


def expose(
    p: Patient, base: np.ndarray, lesions: np.ndarray, lead: np.ndarray
) -> dict[str, np.ndarray]:
    """The four renderings of one patient, in the order of IMAGE_NAMES."""
    sums = (base + lesions + lead, base + lead, base + lesions, base)
    return {name: tone_curve(p, total) for name, total in zip(IMAGE_NAMES, sums, strict=True)}


def draw(
    seed: int,
    index: int,
    spec: PhantomSpec,
    *,
    label: int | None = None,
    severity: float | None = None,
    marker: bool | None = None,
    lookalikes: bool = True,
) -> dict[str, np.ndarray | int | str]:
    """Draw patient `index` of the population `seed`.

    Args:
      seed: names the population.
      index: names the patient, >= 0.
      spec: size and marker probabilities.
      label: forces negative (0) or positive (1).
      severity: forces the severity of a positive, in (0, 1]; negatives have none.
      marker: forces the marker's presence.
      lookalikes: False leaves the harmless look-alikes out; everything else stays as it is.

    Returns:
      image, twin (without lesions), without_marker, without_both: uint8 [size, size, 1].
      lesion_mask, lung_mask, lookalike_mask, marker_mask: uint8 [size, size, 1], 0 or 255.
      label: int. severity: float32, 0 for negatives. patient_id: str.
      parameters: float32 [len(PARAMETER_NAMES)].
    """
    if severity is not None and not 0.0 < severity <= 1.0:
        raise ValueError(f"severity must be in (0, 1], got {severity}")
    streams = {name: stream(seed, index, name) for name in STREAMS}
    canvas = make_canvas(spec.size)
    patient = draw_patient(streams["patient"])
    label = draw_label(seed, index) if label is None else label
    severity = draw_severity(streams["severity"]) if severity is None else severity
    chance = spec.marker_if_positive if label else spec.marker_if_negative
    marker = streams["marker"].random() < chance if marker is None else marker

    nothing = np.zeros((spec.size, spec.size), np.float32)
    chest, lungs = draw_thorax(streams["thorax"], patient, canvas)
    harmless = draw_lookalikes(streams["lookalikes"], patient, canvas) if lookalikes else nothing
    lesions = nothing
    if label:
        lesions = draw_lesions(streams["lesions"], patient, canvas, lungs, severity)
    lead = draw_marker(streams["marker_shape"], canvas) if marker else nothing
    # Fewer photons behind more tissue: the noise of a logarithm goes as exp(attenuation / 2).
    noise = grain(streams["grain"], spec.size, GRAIN_DETAIL) * np.exp(0.5 * (chest - 1.5))
    pictures = expose(patient, chest + harmless + patient.noise * noise, lesions, lead)
    masks = {
        "lesion_mask": lesion_mask(lesions),
        "lung_mask": lungs.mask,
        "lookalike_mask": lookalike_mask(harmless),
        "marker_mask": marker_mask(lead),
    }
    return {
        **{name: picture[..., None] for name, picture in pictures.items()},
        **{name: mask[..., None] * np.uint8(255) for name, mask in masks.items()},
        "label": label,
        "severity": np.float32(severity if label else 0.0),
        "patient_id": f"{seed}-{index:08d}",
        "parameters": parameters(patient),
    }
