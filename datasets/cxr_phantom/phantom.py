"""draw(seed, index, spec): one phantom radiograph with everything that is true about it.

An image is tone_curve(sum of attenuations + grain). Lesions, look-alikes and marker are added
attenuations, so that the same patient without one of them is re-rendered exactly: same grain,
same exposure. Each component draws from its own random stream, which depends on nothing but
(seed, index): switching one on or off, or changing the image size, leaves the others alone.
"""

import dataclasses

import numpy as np

from cxr_jax.datasets.cxr_phantom.canvas import Canvas, grain, make_canvas
from cxr_jax.datasets.cxr_phantom.lesions import (
    Lesions,
    draw_lesions,
    draw_severity,
    is_within,
    lesion_mask,
)
from cxr_jax.datasets.cxr_phantom.lookalikes import Lookalikes, draw_lookalikes, lookalike_mask
from cxr_jax.datasets.cxr_phantom.lungs import Lungs
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
    "elsewhere",
)
OTHER = {"left": "right", "right": "left", "upper": "lower", "lower": "upper"}
ELSEWHERE_PROBABILITY = 0.5  # of lesions in the half that the label is not about
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
      finding_half: "" or the half of the film, one of OTHER, that the label is about: a positive
        has lesions there and a negative none, while the other half has some or none in either.
    """

    size: int = 64
    marker_if_positive: float = 0.0
    marker_if_negative: float = 0.0
    finding_half: str = ""


def stream(seed: int, index: int, name: str) -> np.random.Generator:
    """The random numbers of one component of one patient."""
    return np.random.Generator(np.random.PCG64([seed, index, STREAMS.index(name)]))


def name_patient(seed: int, index: int) -> str:
    """What a patient is called."""
    return f"{seed}-{index:08d}"


def find_patient(patient_id: str) -> tuple[int, int]:
    """Seed and index of the patient who is called so."""
    seed, _, index = patient_id.partition("-")
    return int(seed), int(index)


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
    p: Patient, base: np.ndarray, *, both: np.ndarray, beside: np.ndarray, lead: np.ndarray
) -> dict[str, np.ndarray]:
    """The four renderings of one patient, in the order of IMAGE_NAMES.

    Args:
      both: attenuation of all lesions; `beside`: of those that the label is not about.
    """
    sums = (base + both + lead, base + beside + lead, base + both, base + beside)
    return {name: tone_curve(p, total) for name, total in zip(IMAGE_NAMES, sums, strict=True)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """One patient before the film, who can be rendered with any of the components on or off.

    Attributes:
      label: 0 or 1; severity: of its lesions, whether they are drawn or not.
      chest, noise: attenuations [size, size] of the healthy body, and of the grain.
      lead: that of the marker; zero for none.
      own, elsewhere: which lesions [MOST_LESIONS] the label is about, and which it is not.
    """

    patient: Patient
    canvas: Canvas
    label: int
    severity: float
    chest: np.ndarray
    lungs: Lungs
    noise: np.ndarray
    lookalikes: Lookalikes
    lesions: Lesions
    own: np.ndarray
    elsewhere: np.ndarray
    lead: np.ndarray

    @property
    def nothing(self) -> np.ndarray:
        """No attenuation [size, size]."""
        return np.zeros((self.canvas.size, self.canvas.size), np.float32)

    def lesion(self, on: np.ndarray) -> np.ndarray:
        """Attenuation [size, size] of those lesions that are on [MOST_LESIONS] bool."""
        return self.lesions.attenuation(self.canvas, on) if on.any() else self.nothing

    def harmless(self, on: np.ndarray | None = None) -> np.ndarray:
        """Attenuation [size, size] of the look-alikes that are on, all for None."""
        on = np.ones(len(self.lookalikes.names), bool) if on is None else on
        return self.lookalikes.attenuation(self.canvas, on)


def draw_scene(
    seed: int,
    index: int,
    spec: PhantomSpec,
    *,
    label: int | None = None,
    severity: float | None = None,
    marker: bool | None = None,
) -> Scene:
    """Patient `index` of the population `seed`; see `draw`."""
    streams = {name: stream(seed, index, name) for name in STREAMS}
    canvas = make_canvas(spec.size)
    patient = draw_patient(streams["patient"])
    label = draw_label(seed, index) if label is None else label
    severity = draw_severity(streams["severity"]) if severity is None else severity
    chance = spec.marker_if_positive if label else spec.marker_if_negative
    marker = streams["marker"].random() < chance if marker is None else marker
    chest, lungs = draw_thorax(streams["thorax"], patient, canvas)
    half = spec.finding_half
    lesions = draw_lesions(
        streams["lesions"], patient, canvas, lungs=lungs, severity=severity, half=half
    )
    begun = lesions.stage > 0
    elsewhere = np.zeros_like(begun)
    if half:
        within = [is_within(patient, h, lesions.centre, lesions.reach) for h in (half, OTHER[half])]
        begun, elsewhere = (begun & side for side in within)
        elsewhere &= streams["elsewhere"].random() < ELSEWHERE_PROBABILITY
    # Fewer photons behind more tissue: the noise of a logarithm goes as exp(attenuation / 2).
    noise = grain(streams["grain"], spec.size, GRAIN_DETAIL) * np.exp(0.5 * (chest - 1.5))
    nothing = np.zeros((spec.size, spec.size), np.float32)
    return Scene(
        patient=patient,
        canvas=canvas,
        label=label,
        severity=severity,
        chest=chest,
        lungs=lungs,
        noise=patient.noise * noise,
        lookalikes=draw_lookalikes(streams["lookalikes"], patient),
        lesions=lesions,
        own=begun & bool(label),
        elsewhere=elsewhere,
        lead=draw_marker(streams["marker_shape"], canvas) if marker else nothing,
    )


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
    scene = draw_scene(seed, index, spec, label=label, severity=severity, marker=marker)
    harmless = scene.harmless() if lookalikes else scene.nothing
    lesions, beside = scene.lesion(scene.own), scene.lesion(scene.elsewhere)
    both = scene.lesion(scene.own | scene.elsewhere) if scene.elsewhere.any() else lesions
    base = scene.chest + harmless + scene.noise
    pictures = expose(scene.patient, base, both=both, beside=beside, lead=scene.lead)
    beside_mask = lesion_mask(beside) if scene.elsewhere.any() else beside > 0
    masks = {
        "lesion_mask": lesion_mask(lesions),
        "lung_mask": scene.lungs.mask,
        "lookalike_mask": lookalike_mask(harmless) | beside_mask,
        "marker_mask": marker_mask(scene.lead),
    }
    return {
        **{name: picture[..., None] for name, picture in pictures.items()},
        **{name: mask[..., None] * np.uint8(255) for name, mask in masks.items()},
        "label": scene.label,
        "severity": np.float32(scene.severity if scene.label else 0.0),
        "patient_id": name_patient(seed, index),
        "parameters": parameters(scene.patient),
    }
