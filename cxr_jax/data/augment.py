"""Augmentation that respects anatomy: a patient may stand differently, but never mirrored.

A mirrored chest has its heart on the wrong side, and an upside-down one does not exist.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float

from cxr_jax.gaussian import gaussian_weights
from cxr_jax.runtime.streams import Stream, fold_keys
from cxr_jax.types import Image, Keys, Mask

Plane = Float[Array, "h w"]

POSE = ("shift", "rotation", "zoom")  # of an augmentation: what moves a mask too
MAX_LEADS = 2
LEAD_POINTS = 128
LEAD_RADIUS = 0.004  # of the image's side; a thinner one than 0.4 pixels is drawn as wide as that
BEAD_RADII = 0.008, 0.03
# Standard deviations of the Gaussians that part octaves of detail, as shares of the image's side.
OCTAVES = 1 / 64, 1 / 32, 1 / 16, 1 / 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Largest random changes of a film; all zero leaves it as it is.

    Attributes:
      shift: as a share of the image's side.
      rotation: in degrees.
      zoom: relative.
      brightness: added, on the [-1, 1] scale.
      contrast: relative, about the film's own mean.
      noise: standard deviation of added Gaussian noise.
      detail: largest logarithm of the factors by which octaves of detail are made stronger, or
        weaker; each has its own, and so has what is coarser than they.
      support_devices: brightness added by up to MAX_LEADS leads that say nothing about the patient.
    """

    shift: float
    rotation: float
    zoom: float
    brightness: float
    contrast: float
    noise: float
    detail: float
    support_devices: float


def augment(image: Image, keys: jax.Array, strength: Augmentation) -> Image:
    """Draws one random view of each image from its own key; not meant to be differentiated."""
    if not any(dataclasses.astuple(strength)):
        return image
    return jax.vmap(lambda x, key: _augment_one(x, key, strength))(image, keys)


def view_keys(keys: Keys) -> Keys:
    """Keys for the films' views, other than those that a step splits `keys` into.

    Without this a film would be moved by the numbers that are added to its latents.
    """
    return fold_keys(keys, Stream.VIEW)


def augment_mask(mask: Mask, keys: jax.Array, strength: Augmentation) -> Mask:
    """The mask of the view that `augment` draws with these keys: moved alike, with no tone."""
    tone = [field.name for field in dataclasses.fields(strength) if field.name not in POSE]
    pose = dataclasses.replace(strength, **dict.fromkeys(tone, 0.0))
    return augment(2.0 * mask - 1, keys, pose) > 0


def _augment_one(
    image: Float[Array, "h w 1"], key: jax.Array, strength: Augmentation
) -> Float[Array, "h w 1"]:
    if strength.support_devices:
        leads = draw_support_devices(
            jax.random.fold_in(key, Stream.SUPPORT_DEVICES), image.shape[0]
        )
        image = image + strength.support_devices * leads[..., None]
    key_pose, key_tone, key_noise = jax.random.split(key, 3)
    shift_y, shift_x, angle, zoom = jax.random.uniform(key_pose, (4,), minval=-1.0)
    if strength.shift or strength.rotation or strength.zoom:
        matrix = _rotation(jnp.deg2rad(angle * strength.rotation)) * (1 + zoom * strength.zoom)
        shift = jnp.stack([shift_y, shift_x]) * strength.shift * image.shape[0]
        image = _warp(image, matrix, shift)
    if strength.detail:
        image = weigh_octaves(image, jax.random.fold_in(key, Stream.DETAIL), strength.detail)
    brightness, contrast = jax.random.uniform(key_tone, (2,), minval=-1.0)
    centre = image.mean()
    image = (image - centre) * (1 + contrast * strength.contrast) + centre
    image = image + brightness * strength.brightness
    if strength.noise:
        image = image + strength.noise * jax.random.normal(key_noise, image.shape)
    return image.clip(-1, 1)


def weigh_octaves(
    image: Float[Array, "h w 1"], key: jax.Array, strength: float
) -> Float[Array, "h w 1"]:
    """The image with each octave of its detail, and the rest about its mean, times a factor.

    Args:
      strength: the logarithms of the factors are drawn from -strength to strength.
    """
    coarser = [image, *(blur(image, share * image.shape[0]) for share in OCTAVES), image.mean()]
    octaves = [one - other for one, other in itertools.pairwise(coarser)]
    logarithms = strength * jax.random.uniform(key, (len(octaves),), minval=-1.0)
    weighed = zip(jnp.exp(logarithms), octaves, strict=True)
    return image.mean() + sum(factor * octave for factor, octave in weighed)


def blur(image: Float[Array, "h w 1"], width: float) -> Float[Array, "h w 1"]:
    """Means by a Gaussian of so many pixels, of what lies in the image."""
    each = (gaussian_weights(side, width) for side in image.shape[:2])
    down, across = (weight / weight.sum(axis=1, keepdims=True) for weight in each)
    return jnp.einsum("ij,jkc,lk->ilc", down, image, across, precision="highest")


def draw_support_devices(key: jax.Array, size: int) -> Plane:
    """Up to MAX_LEADS leads with a bead at one end, as [size, size] in [0, 1].

    What hangs on a chest is bright and lies where findings do, and a classifier of few films takes
    it for a little of one. As Random Erasing (Zhong et al., 2020), but drawn as what is really
    there: nodules, electrodes, ports and their lines. A third of all lines is absent, and a third
    of all beads.
    """
    keys = jax.random.split(key, MAX_LEADS)
    return jax.vmap(lambda key: _draw_lead(key, size))(keys).sum(axis=0).clip(0, 1)


def _draw_lead(key: jax.Array, size: int) -> Plane:
    """A quadratic Bezier curve from a bead on the chest to somewhere about the film's border."""
    key_curve, key_tone, key_radius = jax.random.split(key, 3)
    from_border = jnp.array([0.2, 0.0, -0.1])[:, None]  # least, of bead, bend and far end
    control = jax.random.uniform(key_curve, (3, 2), minval=from_border, maxval=1 - from_border)
    t = jnp.linspace(0.0, 1.0, LEAD_POINTS)
    weights = jnp.stack([(1 - t) ** 2, 2 * t * (1 - t), t**2])
    points = jnp.einsum("kp,kc->pc", weights, control, precision="highest")
    width = max(LEAD_RADIUS, 0.4 / size)
    spacing = jnp.linalg.norm(jnp.gradient(points, axis=0), axis=1)
    line = _blobs(points, width, spacing / (width * jnp.sqrt(2 * jnp.pi)), size=size)
    least, most = BEAD_RADII
    radius = jax.random.uniform(key_radius, minval=least, maxval=most)
    bead = _blobs(control[:1], radius, jnp.ones(1), size=size)
    of_line, of_bead = jax.nn.relu(jax.random.uniform(key_tone, (2,), minval=-0.5))
    return of_line * line.clip(0, 1) + of_bead * bead


def _blobs(
    points: Float[Array, "p 2"], radius: float | jax.Array, height: Float[Array, " p"], *, size: int
) -> Plane:
    """A sum of Gaussian blobs; points and radius in shares of the side."""
    pixels = (jnp.arange(size).reshape(1, 1, size) + 0.5) / size
    down, across = jnp.exp(-0.5 * ((pixels - points.T[..., None]) / radius) ** 2)  # each [p, size]
    return jnp.einsum("p,ph,pw->hw", height, down, across, precision="highest")


def _rotation(angle: Float[Array, ""]) -> Float[Array, "2 2"]:
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([jnp.stack([cos, -sin]), jnp.stack([sin, cos])])


def _warp(
    image: Float[Array, "h w 1"], matrix: Float[Array, "2 2"], shift: Float[Array, "2"]
) -> Float[Array, "h w 1"]:
    """Bilinear resampling about the centre; pixels from outside repeat the edge."""
    h, w, _ = image.shape
    rows, cols = jnp.mgrid[:h, :w] - jnp.array([(h - 1) / 2, (w - 1) / 2]).reshape(2, 1, 1)
    source_rows = matrix[0, 0] * rows + matrix[0, 1] * cols + (h - 1) / 2 + shift[0]
    source_cols = matrix[1, 0] * rows + matrix[1, 1] * cols + (w - 1) / 2 + shift[1]
    # A TPU fetches single pixels one by one, and multiplies matrices at no cost beside that.
    warped = jax.lax.platform_dependent(
        image[..., 0], source_rows, source_cols, tpu=_by_products, default=_by_fetching
    )
    return warped[..., None]


def _by_fetching(plane: Plane, rows: Plane, cols: Plane) -> Plane:
    """The plane [h, w] at these places, each from its four neighbours."""
    return map_coordinates(plane, [rows, cols], order=1, mode="nearest")


def _by_products(plane: Plane, rows: Plane, cols: Plane) -> Plane:
    """The same: bilinear interpolation is linear in the pixels, by weights of rows and columns."""

    def weights(places: Plane, size: int) -> Float[Array, "h w n"]:
        inside = places.clip(0, size - 1)[..., None]
        return jax.nn.relu(1 - jnp.abs(inside - jnp.arange(size).reshape(1, 1, size)))

    h, w = plane.shape
    at_rows = jnp.einsum("ijr,rc->ijc", weights(rows, h), plane, precision="highest")
    return (at_rows * weights(cols, w)).sum(-1).astype(plane.dtype)
