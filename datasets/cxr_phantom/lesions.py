"""Ground-glass opacities: where COVID-19 shows on the film, and how dense."""

import dataclasses

import numpy as np

from cxr_jax.datasets.cxr_phantom.canvas import smooth_noise, splat
from cxr_jax.datasets.cxr_phantom.chest import Chest
from cxr_jax.datasets.cxr_phantom.finding import Finding
from cxr_jax.datasets.cxr_phantom.lungs import Lungs, place_in_lung
from cxr_jax.datasets.cxr_phantom.patient import Patient, body_to_film

MOST_LESIONS = 8
PUFFS = 9  # blobs that make the cloud of one lesion
PUFF_REACH = 1.5  # of a lesion's reach: how far its puffs go
MOST_FILLED = 1.0  # share of the air that fluid replaces in a lesion of severity 1
MASK_FRACTION = 0.15  # of the image's own peak: where an opacity counts as there
BARELY_VISIBLE = 0.05  # share of positives
# Places follow the disease's habit (low, peripheral) only so often, so that no fixed map of
# where lesions usually are can pass for an explanation.
TYPICAL_PLACE = 0.35


def draw_severity(rng: np.random.Generator) -> float:
    """Severity in (0, 1]: plain to see from 0.36 upwards, barely visible below 0.14."""
    barely_visible, fraction = rng.random() < BARELY_VISIBLE, rng.random()
    return 0.06 + 0.08 * fraction if barely_visible else 0.36 + 0.64 * fraction


def place_lesions(rng: np.random.Generator, p: Patient) -> np.ndarray:
    """Body points [MOST_LESIONS, 2], mostly on alternating sides; no part is spared."""
    left = (rng.integers(2) + np.arange(MOST_LESIONS)) % 2
    left = np.where(rng.random(MOST_LESIONS) < 0.2, 1 - left, left)
    typical = rng.random(MOST_LESIONS) < TYPICAL_PLACE
    height = np.where(typical, rng.beta(3.0, 1.0, MOST_LESIONS), rng.beta(0.8, 0.8, MOST_LESIONS))
    lateral = np.where(typical, rng.beta(2.5, 0.7, MOST_LESIONS), rng.beta(0.8, 0.6, MOST_LESIONS))
    return place_in_lung(p, left, 0.03 + 0.95 * height, 0.98 * lateral)


def is_within(p: Patient, half: str, centre: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Which lesions [n] lie in a half of the film, and do not reach over its middle."""
    place = body_to_film(p, centre)[:, 0 if half in ("left", "right") else 1]
    side = place if half in ("right", "lower") else -place
    return side > PUFF_REACH * p.scale * reach


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lesions(Finding):
    """The lesions of one patient, MOST_LESIONS in number, of which those can be drawn that are on.

    Attributes:
      centre: body points [MOST_LESIONS, 2]; `reach`: how far each goes, in body units.
      stage: how far each has come at this severity, in [0, 1]: 0 has not begun.
      points, radius, weight: of their puffs, body points and film units.
      filled: share of the air that is replaced; `texture`: [size, size], how uneven the fluid is.
    """

    centre: np.ndarray
    reach: np.ndarray
    stage: np.ndarray
    points: np.ndarray
    radius: np.ndarray
    weight: np.ndarray
    filled: float
    texture: np.ndarray

    @property
    def begun(self) -> np.ndarray:
        """Which lesions there are at this severity, bool [MOST_LESIONS]."""
        return self.stage > 0

    def attenuation(self, chest: Chest, on: np.ndarray) -> np.ndarray:
        """Attenuation [size, size] in nepers of the lesions that are on [MOST_LESIONS] bool."""
        points = body_to_film(chest.patient, chest.inner(self.points))
        cloud = splat(chest.canvas, points, self.radius, self.weight * np.repeat(on, PUFFS))
        # Clouds that overlap saturate; Gaussian tails are cut off so that lesions end somewhere.
        opacity = 1.0 - np.exp(-np.maximum(cloud - 0.06, 0.0))
        return self.filled * opacity * self.texture * room(chest.patient, chest.lungs)


def room(p: Patient, lungs: Lungs) -> np.ndarray:
    """What attenuation [size, size] there is room for in the lungs, in nepers.

    Fluid takes the place of air: where the beam meets less lung it adds less, and beside the heart,
    whose border fades over a few pixels, it must not draw a bright rim.
    """
    return lungs.edge * np.maximum(lungs.air - 0.2 * p.lung_air, 0.15 * p.lung_air)


def draw_lesions(
    rng: np.random.Generator, chest: Chest, severity: float, *, half: str = ""
) -> Lesions:
    """Lesions that are nowhere outside the lungs, and nowhere less for a higher severity.

    Every lesion has an onset, the severity at which it appears. All are drawn whatever the
    severity, so that one patient can be rendered at every stage.

    Args:
      half: of the film, in which at least one of them lies; "" for none.
    """
    p, size = chest.patient, chest.canvas.size
    texture = 1.0 + 0.15 * smooth_noise(rng, size, 17)
    texture += 0.15 * smooth_noise(rng, size, 31)
    centre = place_lesions(rng, p)
    onset = np.sort(rng.uniform(-0.5, 0.9, MOST_LESIONS))
    onset[0] = -1.0  # at any severity there is at least one
    reach = rng.uniform(0.065, 0.14, MOST_LESIONS)
    thickness = rng.uniform(0.65, 1.0, MOST_LESIONS)
    offset = rng.normal(0.0, 0.8, (MOST_LESIONS, PUFFS, 2))
    offset[:, 0] = 0.0  # one puff stays in the middle
    width = rng.uniform(0.45, 0.9, (MOST_LESIONS, PUFFS))
    if half:
        while not (inside := is_within(p, half, centre, reach)).any():
            centre = place_lesions(rng, p)
        first = int(inside.argmax())  # what is there at any severity must lie in the half
        onset[[0, first]] = onset[[first, 0]]

    stage = np.clip((severity - onset) / 0.15, 0.0, 1.0)
    points = centre[:, None] + reach[:, None, None] * offset
    radius = (0.7 + 0.3 * severity) * p.scale * reach[:, None] * width
    return Lesions(
        centre=centre,
        reach=reach,
        stage=stage,
        points=points.reshape(-1, 2),
        radius=radius.ravel(),
        weight=np.repeat(0.55 * stage * thickness, PUFFS),
        filled=MOST_FILLED * severity**0.5,
        texture=np.clip(texture, 0.2, 1.2),
    )


def lesion_mask(attenuation: np.ndarray) -> np.ndarray:
    """Where lesions stand, bool [size, size]: above MASK_FRACTION of the image's own peak.

    Relative to the peak, so that a barely visible lesion has a mask as well.
    """
    return attenuation > MASK_FRACTION * attenuation.max()
