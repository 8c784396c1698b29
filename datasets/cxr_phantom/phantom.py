"""draw(seed, index, spec): one phantom radiograph with everything that is true about it.

An image is tone_curve(recorded chest + added attenuations + grain). A finding reshapes the chest
or adds to it, look-alikes and marker add, so that the same patient without one of them is
re-rendered exactly: same grain, same exposure. Each component draws from its own random stream,
which depends on nothing but (seed, index): switching one on or off, or changing the image size,
leaves the others alone.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np

from cxr_jax.datasets.cxr_phantom.canvas import grain, make_canvas
from cxr_jax.datasets.cxr_phantom.chest import Chest
from cxr_jax.datasets.cxr_phantom.finding import Finding
from cxr_jax.datasets.cxr_phantom.findings import FINDINGS, any_severity, draw_other
from cxr_jax.datasets.cxr_phantom.lesions import draw_severity, is_within, lesion_mask
from cxr_jax.datasets.cxr_phantom.lookalikes import draw_lookalikes, lookalike_mask
from cxr_jax.datasets.cxr_phantom.marker import draw_marker, marker_mask
from cxr_jax.datasets.cxr_phantom.patient import Patient, draw_patient, parameters
from cxr_jax.datasets.cxr_phantom.scene import Body, Scene, change
from cxr_jax.datasets.cxr_phantom.thorax import draw_chest, record_chest

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
    "distractor",
    *("cardiomegaly", "pneumothorax", "effusion", "reticular", "nodule"),
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
      finding: one of FINDINGS, what the label is about; finding_half is for "opacity" alone.
      distractors: probability that a film of either class shows one of the other findings.
    """

    size: int = 64
    marker_if_positive: float = 0.0
    marker_if_negative: float = 0.0
    finding_half: str = ""
    finding: str = "opacity"
    distractors: float = 0.0


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
    use = functools.partial(stream, seed, index)
    canvas = make_canvas(spec.size)
    patient = draw_patient(use("patient"))
    label = draw_label(seed, index) if label is None else label
    chance = spec.marker_if_positive if label else spec.marker_if_negative
    marker = use("marker").random() < chance if marker is None else marker
    chest = draw_chest(use("thorax"), patient, canvas)
    recorded = record_chest(chest)
    if severity is None:
        of_opacities = spec.finding == "opacity"
        severity = draw_severity(use("severity")) if of_opacities else any_severity(use("severity"))
    findings = draw_findings(use, chest, spec, severity=severity)
    own, elsewhere, other = choose_parts(use, findings, patient, spec=spec, label=label)
    # Fewer photons behind more tissue: the noise of a logarithm goes as exp(attenuation / 2).
    noise = grain(use("grain"), spec.size, GRAIN_DETAIL) * np.exp(0.5 * (recorded - 1.5))
    nothing = np.zeros((spec.size, spec.size), np.float32)
    return Scene(
        patient=patient,
        canvas=canvas,
        label=label,
        severity=severity,
        chest=chest,
        noise=patient.noise * noise,
        lookalikes=draw_lookalikes(use("lookalikes"), patient),
        findings=findings,
        own=own,
        elsewhere=elsewhere,
        other=other,
        lead=draw_marker(use("marker_shape"), canvas) if marker else nothing,
        reshaped={(): (chest, recorded)},
    )


def draw_findings(
    use: Callable[[str], np.random.Generator], chest: Chest, spec: PhantomSpec, *, severity: float
) -> dict[str, Finding]:
    """By name, in the order of FINDINGS, the label's finding, and another one if there is one.

    Args:
      use: gives the random numbers of a component.
      severity: of the label's finding.
    """
    severities = {spec.finding: severity}
    if spec.distractors:
        severities |= draw_other(use("distractor"), spec.finding, spec.distractors)
    findings = {}
    for kind, draw_kind in FINDINGS.items():
        if kind in severities:
            within = {"half": spec.finding_half} if spec.finding_half and kind == "opacity" else {}
            numbers = use("lesions" if kind == "opacity" else kind)
            findings[kind] = draw_kind(numbers, chest, severities[kind], **within)
    return findings


def choose_parts(
    use: Callable[[str], np.random.Generator],
    findings: Mapping[str, Finding],
    p: Patient,
    *,
    spec: PhantomSpec,
    label: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See `own`, `elsewhere` and `other` of Scene."""
    begun = [finding.begun for finding in findings.values()]
    is_own = np.repeat([kind == spec.finding for kind in findings], [len(b) for b in begun])
    begun = np.concatenate(begun)
    own, elsewhere = begun & is_own, np.zeros_like(begun)
    if half := spec.finding_half:
        lesions = findings["opacity"]
        for parts, side in ((own, half), (elsewhere, OTHER[half])):
            within = is_within(p, side, lesions.centre, lesions.reach)
            parts[is_own] = lesions.begun & within
        elsewhere[is_own] &= use("elsewhere").random() < ELSEWHERE_PROBABILITY
    return own & bool(label), elsewhere, begun & ~is_own


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
      spec: size, finding and probabilities.
      label: forces negative (0) or positive (1).
      severity: forces the severity of a positive, in (0, 1]; negatives have none.
      marker: forces the marker's presence.
      lookalikes: False leaves the harmless look-alikes out; everything else stays as it is.

    Returns:
      image, twin (without the label's finding), without_marker, without_both: uint8
        [size, size, 1].
      lesion_mask, lung_mask, lookalike_mask, marker_mask: uint8 [size, size, 1], 0 or 255: where
        the label's finding changes the picture; the healthy lungs, whatever hides them; look-alikes
        and what is seen of other findings; the marker.
      label: int. severity: float32, 0 for negatives. patient_id: str.
      parameters: float32 [len(PARAMETER_NAMES)], of the film: the heart's width is the enlarged.
    """
    if severity is not None and not 0.0 < severity <= 1.0:
        raise ValueError(f"severity must be in (0, 1], got {severity}")
    scene = draw_scene(seed, index, spec, label=label, severity=severity, marker=marker)
    harmless = scene.harmless() if lookalikes else scene.nothing
    twin = scene.body(scene.elsewhere | scene.other)
    is_ill = scene.own.any()
    film = scene.body(scene.own | scene.elsewhere | scene.other) if is_ill else twin
    pictures = expose_all(scene, film, twin, harmless=harmless)
    masks = draw_masks(scene, film, twin, harmless=harmless)
    return {
        **{name: picture[..., None] for name, picture in pictures.items()},
        **{name: mask[..., None] * np.uint8(255) for name, mask in masks.items()},
        "label": scene.label,
        "severity": np.float32(scene.severity if scene.label else 0.0),
        "patient_id": name_patient(seed, index),
        "parameters": parameters(film.chest.patient),
    }


def expose_all(
    scene: Scene, film: Body, twin: Body, *, harmless: np.ndarray
) -> dict[str, np.ndarray]:
    """The pictures of IMAGE_NAMES, uint8 [size, size]; those that are the same are made once."""
    has_marker = scene.lead.any()
    bare = scene.expose(film, harmless)
    bare_twin = bare if film is twin else scene.expose(twin, harmless)
    image, image_twin = bare, bare_twin
    if has_marker:
        image = scene.expose(film, harmless, scene.lead)
        image_twin = image if film is twin else scene.expose(twin, harmless, scene.lead)
    return dict(zip(IMAGE_NAMES, (image, image_twin, bare, bare_twin), strict=True))


def draw_masks(
    scene: Scene, film: Body, twin: Body, *, harmless: np.ndarray
) -> dict[str, np.ndarray]:
    """The masks of MASK_NAMES, bool [size, size].

    A finding's is where it changes the picture, given the other one; and each half's lesions have
    theirs without the other half's.
    """
    own, others = film, twin
    if scene.elsewhere.any():
        own, others = scene.body(scene.own | scene.other), scene.body(scene.other)
    healthy = scene.body(np.zeros_like(scene.other)) if scene.other.any() else others
    harm = lookalike_mask(harmless)
    for body, without in ((twin, others), (others, healthy)):
        if body is not without:
            harm |= lesion_mask(change(body, without))
    return {
        "lesion_mask": lesion_mask(change(own, others)),
        "lung_mask": scene.chest.lungs.mask,
        "lookalike_mask": harm,
        "marker_mask": marker_mask(scene.lead),
    }
