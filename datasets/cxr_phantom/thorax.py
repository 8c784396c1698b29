"""The chest: everything that attenuates but opacities, nodules, look-alikes and marker."""

import numpy as np

from cxr_jax.datasets.cxr_phantom.canvas import Canvas, blur_matrix, bump, ramp, smooth_noise
from cxr_jax.datasets.cxr_phantom.chest import Chest
from cxr_jax.datasets.cxr_phantom.lungs import (
    Lungs,
    draw_vessels,
    grow_vessels,
    make_lungs,
    outer_border,
)
from cxr_jax.datasets.cxr_phantom.patient import Patient, film_to_body

RIB_PROFILE_BINS = 64


def body(p: Patient, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Soft tissue as if the chest held no air: neck, shoulders, trunk, arms cut by the film."""
    beside = np.abs(x)
    half_width = p.body_width + 0.5 * ramp(-0.15 - y, 0.35)
    across = np.clip(beside / half_width, 0.0, 1.0)
    thickness = p.body_thickness * np.sqrt(np.sqrt(1.0 - across * across))
    slope = np.maximum(beside - 0.22, 0.0)
    trapezius = 0.22 * np.exp(slope * (-1.0 / 0.13))  # rises to the neck
    below_shoulder = y - (p.shoulder_height + 0.42 * slope * np.sqrt(slope) - trapezius)
    # Above the shoulders only the neck stands in the beam.
    neck = 0.9 * ramp(0.30 - beside, 0.08)
    above_chest = 0.65 + 0.35 * ramp(y + 0.90, 0.9)
    return thickness * above_chest * np.maximum(ramp(below_shoulder, 0.14), neck)


def rib_profile(canvas: Canvas, spacing: float) -> np.ndarray:
    """One rib and its gap, [RIB_PROFILE_BINS]: dull in the middle, brighter at its rims."""
    offset = np.abs((np.arange(RIB_PROFILE_BINS) + 0.5) / RIB_PROFILE_BINS - 0.5)
    softness = float(np.hypot(0.03, 0.5 * canvas.pixel / spacing))
    plate = 0.7 * ramp(0.21 + softness - offset, 2.0 * softness)
    rim = 0.5 * (0.03 / np.hypot(0.03, softness)) * bump(offset - 0.19, np.hypot(0.03, softness))
    return (plate + rim).astype(np.float32)


def ribs(p: Patient, canvas: Canvas, x: np.ndarray, y: np.ndarray, lungs: Lungs) -> np.ndarray:
    """Posterior ribs falling gently sideways, and fainter anterior ones falling inwards."""
    sideways = np.abs(x) / outer_border(p, y)  # 1 on the chest wall
    level = y - p.lung_apex
    spacing = p.rib_spacing * (0.80 + 0.25 * level)
    profile = rib_profile(canvas, p.rib_spacing)

    def comb(rows: np.ndarray) -> np.ndarray:
        phase = rows / spacing + (p.rib_phase + 32.0)  # above zero, where truncation is floor
        return profile[(phase * RIB_PROFILE_BINS).astype(np.int32) & (RIB_PROFILE_BINS - 1)]

    level = level - p.rib_slope * sideways * sideways - 0.02 * (x > 0.0)
    posterior = comb(level) * ramp(sideways - 0.08, 0.15)
    # Each rib turns on the chest wall and comes forward, still falling.
    anterior = comb(level - 0.75 * (1.0 - sideways)) * (0.45 * ramp(sideways - 0.40, 0.30))
    above_abdomen = 1.0 - 0.7 * ramp(y - 0.35, 0.3)
    before_air = 0.6 + 0.4 * lungs.interior  # bone shows best against air
    return p.rib_contrast * (posterior + anterior) * lungs.chest * before_air * above_abdomen


def clavicles(p: Patient, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Two slender S-shaped bones that rise sideways from the sternum's top."""
    along = np.clip((np.abs(x) - 0.08) / 0.72, -0.2, 1.2)
    centre = p.clavicle_height - p.clavicle_slope * along - 0.05 * np.sin(6.28 * along)
    across = np.abs(y - centre)
    plate = 0.7 * ramp(0.045 - across, 0.02) + 0.4 * bump(across - 0.030, 0.010)
    return 0.60 * plate * ramp(along + 0.02, 0.05) * ramp(1.05 - along, 0.08)


def shoulder_blades(p: Patient, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Scapula's inner edge, and the head of the humerus beyond the film's edge."""
    beside = np.abs(x)
    inner_edge = p.chest_width - 0.10 + 0.22 * (y + 0.45)
    blade = 0.38 * ramp(beside - inner_edge, 0.03) * ramp(y + 0.80, 0.15) * ramp(-y, 0.25)
    across, down = beside - 0.98, y + 0.66
    humerus = 0.45 * ramp(0.17 - np.sqrt(across * across + down * down), 0.05)
    return blade + humerus


def spine(p: Patient, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A column with a darker gap at each disc, and a faint line of spinous processes."""
    beside = np.abs(x)
    vertebrae = 0.80 + 0.20 * np.cos((6.2832 / 0.135) * (y * (1.0 - 0.12 * y)))
    column = vertebrae * ramp(0.115 - beside, 0.035)
    return p.spine_contrast * (column + 0.35 * bump(beside, 0.022) * vertebrae)


def soft_shadows(p: Patient, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Trachea, breasts and the gas in the stomach."""
    beside = np.abs(x)
    trachea = -0.40 * ramp(0.055 - beside, 0.03) * ramp(-0.24 - y, 0.08)
    total = trachea + 0.25 * bump(beside - 0.13, 0.06) * bump(y + 0.10, 0.12)  # hila
    if p.breast > 0.0:
        across, down = (beside - 0.42) / 0.34, (y - 0.12) / 0.30
        total += p.breast * ramp(1.0 - np.sqrt(across * across + down * down), 0.35)
    if p.gastric_bubble > 0.0:
        # Gas above a level of fluid: round on top, flat below.
        fluid = 0.44 + 0.22 * p.inspiration + p.left_dome_drop
        across, up = (x - 0.32) / p.gastric_width, (y - fluid) * (1.0 / 0.09)
        gas = ramp(1.0 - np.sqrt(across * across + up * up), 0.4) * ramp(fluid - y + 0.015, 0.015)
        total -= p.gastric_bubble * gas
    return total


def record(p: Patient, canvas: Canvas, attenuation: np.ndarray) -> np.ndarray:
    """Attenuation as the detector sees it: blurred, and lifted by scattered photons."""
    sharp = blur_matrix(canvas, p.blur)
    wide = blur_matrix(canvas, 0.30)
    intensity = np.exp(-(sharp @ attenuation @ sharp.T))
    scattered = wide @ intensity @ wide.T
    return -np.log((1.0 - p.scatter) * intensity + p.scatter * scattered)


def draw_chest(rng: np.random.Generator, p: Patient, canvas: Canvas) -> Chest:
    """The healthy chest of a patient."""
    x, y = film_to_body(p, canvas)
    points, radii = grow_vessels(rng, p)
    tissue = 0.07 * smooth_noise(rng, canvas.size, 9) + 0.05 * smooth_noise(rng, canvas.size, 27)
    return Chest(
        patient=p,
        canvas=canvas,
        x=x,
        y=y,
        lungs=make_lungs(p, x, y),
        vessels=points,
        radii=radii,
        tissue=tissue,
    )


def record_chest(chest: Chest) -> np.ndarray:
    """Attenuation [size, size] of a chest as the detector sees it."""
    p, canvas, lungs, x, y = chest.patient, chest.canvas, chest.lungs, chest.x, chest.y
    flesh = body(p, x, y)
    inside = np.minimum(flesh, 1.0)  # nothing stands in the air beside the body
    bones = ribs(p, canvas, x, y, lungs) + clavicles(p, x, y) + shoulder_blades(p, x, y)
    bones += spine(p, x, y) * (1.0 - 0.6 * lungs.interior)
    vessels = draw_vessels(p, canvas, chest.inner(chest.vessels), radii=chest.radii)
    total = flesh - lungs.air + vessels * lungs.markings
    total = total + inside * (bones + soft_shadows(p, x, y) + chest.tissue)
    return record(p, canvas, np.maximum(total + chest.pleura, 0.0))
