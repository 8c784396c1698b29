"""What a phantom is made of, piece by piece, and the patient rendered with any of the pieces.

The truth about a classifier: what it answers when one lesion, look-alike or marker is taken away,
all else, the grain and the exposure included, being the same.
"""

import dataclasses

import numpy as np

from cxr_jax.datasets.cxr_phantom.lesions import MOST_LESIONS
from cxr_jax.datasets.cxr_phantom.phantom import (
    PhantomSpec,
    Scene,
    draw_scene,
    find_patient,
    tone_curve,
)

LEAST_SEEN = 3  # grey levels of 255: what changes a pixel by less is not seen there


@dataclasses.dataclass(frozen=True, kw_only=True)
class Components:
    """A patient and the k things on the film that can be taken away.

    Attributes:
      names: "lesion", "nodule", "nipple", "device" or "marker"; lesions first.
      lesions: number of each lesion in the scene; they are the first components.
    """

    scene: Scene
    names: tuple[str, ...]
    lesions: tuple[int, ...]

    def render(self, on: np.ndarray) -> np.ndarray:
        """The film uint8 [size, size, 1] with the components that are on [k] bool."""
        scene, first = self.scene, len(self.lesions)
        lesion = np.zeros(MOST_LESIONS, bool)
        lesion[list(self.lesions)] = on[:first]
        harmless = scene.harmless(on[first : first + len(scene.lookalikes.names)])
        has_marker = "marker" in self.names and on[-1]
        lead = scene.lead if has_marker else scene.nothing
        base = scene.chest + harmless + scene.noise
        return tone_curve(scene.patient, base + scene.lesion(lesion) + lead)[..., None]


def draw_components(patient_id: str, spec: PhantomSpec) -> Components:
    """The patient of a film, by the `patient_id` that the data set gives."""
    scene = draw_scene(*find_patient(patient_id), spec)
    lesions = tuple(np.flatnonzero(scene.own | scene.elsewhere).tolist())
    names = ("lesion",) * len(lesions) + scene.lookalikes.names
    names += ("marker",) if scene.lead.any() else ()
    return Components(scene=scene, names=names, lesions=lesions)


def find_regions(components: Components) -> tuple[np.ndarray, np.ndarray]:
    """Where each component is seen, and how plainly.

    Returns:
      Masks bool [k, size, size, 1]: a pixel is of the component without which it changes most, and
      of none where that is less than LEAST_SEEN. What those pixels change by together [k], on the
      [-1, 1] scale: 0 for a component that lies beneath others.
    """
    every = np.ones(len(components.names), bool)
    film = components.render(every).astype(float)
    size = film.shape[0]
    if not len(every):
        return np.zeros((0, size, size, 1), bool), np.zeros(0)
    without = np.stack([components.render(every & ~one) for one in np.eye(len(every), dtype=bool)])
    change = np.abs(film - without)
    largest = change.argmax(axis=0)
    regions = np.stack([largest == number for number in range(len(every))])
    regions &= change >= LEAST_SEEN
    return regions, (regions * change).sum(axis=(1, 2, 3)) / 127.5
