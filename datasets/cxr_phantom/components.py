"""What a phantom is made of, piece by piece, and the patient rendered with any of the pieces.

The truth about a classifier: what it answers when one part of a finding, look-alike or marker is
taken away, all else, the grain and the exposure included, being the same.
"""

import dataclasses

import numpy as np

from cxr_jax.datasets.cxr_phantom.phantom import PhantomSpec, draw_scene, find_patient
from cxr_jax.datasets.cxr_phantom.scene import Scene

LEAST_SEEN = 3  # grey levels of 255: what changes a pixel by less is not seen there


@dataclasses.dataclass(frozen=True, kw_only=True)
class Components:
    """A patient and the k things on the film that can be taken away.

    Attributes:
      names: "lesion", a part of the label's finding; "other" and its kind, of another finding;
        "nodule", which is calcified, "nipple" or "device"; "marker"; in this order.
      parts: number in the scene of each part of a finding; they are the first components.
    """

    scene: Scene
    names: tuple[str, ...]
    parts: tuple[int, ...]

    def render(self, on: np.ndarray) -> np.ndarray:
        """The film uint8 [size, size, 1] with the components that are on [k] bool."""
        scene, first = self.scene, len(self.parts)
        shown = np.zeros_like(scene.own)
        shown[list(self.parts)] = on[:first]
        harmless = scene.harmless(on[first : first + len(scene.lookalikes.names)])
        lead = scene.lead if "marker" in self.names and on[-1] else None
        return scene.expose(scene.body(shown), harmless, lead)[..., None]


def draw_components(patient_id: str, spec: PhantomSpec) -> Components:
    """The patient of a film, by the `patient_id` that the data set gives."""
    scene = draw_scene(*find_patient(patient_id), spec)
    lesions = np.flatnonzero(scene.own | scene.elsewhere).tolist()
    others = np.flatnonzero(scene.other).tolist()
    names = ("lesion",) * len(lesions) + tuple(f"other {scene.kinds[part]}" for part in others)
    names += scene.lookalikes.names + (("marker",) if scene.lead.any() else ())
    return Components(scene=scene, names=names, parts=(*lesions, *others))


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
