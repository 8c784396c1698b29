"""Random views of films, all of a batch at once; the peer of cxr_jax/data/augment.py."""

import dataclasses
import math

import torch
from torch.nn import functional as F

MAX_LEADS = 2
LEAD_POINTS = 128
LEAD_RADIUS = 0.004
BEAD_RADII = 0.008, 0.03


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Largest random changes: as `cxr_jax.data.augment.Augmentation`, of configs/phantom.py."""

    shift: float = 0.06
    rotation: float = 5.0
    zoom: float = 0.06
    brightness: float = 0.1
    contrast: float = 0.15
    noise: float = 0.02
    support_devices: float = 1.0


def uniform(rows: int, *shape: int) -> torch.Tensor:
    """[rows, *shape] in [-1, 1]."""
    return 2 * torch.rand(rows, *shape) - 1


def augment(image: torch.Tensor, strength: Augmentation) -> torch.Tensor:
    """One random view of each image [b, 1, h, w] in [-1, 1]."""
    rows = len(image)
    if strength.support_devices:
        leads = draw_support_devices(rows, image.shape[-1])
        image = image + strength.support_devices * leads[:, None]
    image = warp(image, strength)
    brightness, contrast = uniform(rows, 2, 1, 1, 1).unbind(1)
    centre = image.mean(dim=(1, 2, 3), keepdim=True)
    image = (image - centre) * (1 + contrast * strength.contrast) + centre
    image = image + brightness * strength.brightness
    return (image + strength.noise * torch.randn_like(image)).clamp(-1, 1)


def warp(image: torch.Tensor, strength: Augmentation) -> torch.Tensor:
    """Shifted, turned and zoomed, bilinear; pixels from outside repeat the edge."""
    shift_y, shift_x, angle, zoom = uniform(len(image), 4).unbind(1)
    angle, zoom = torch.deg2rad(angle * strength.rotation), 1 + zoom * strength.zoom
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    # The grid runs from -1 to 1 between the middles of the outermost pixels.
    shift = 2 * strength.shift * image.shape[-1] / (image.shape[-1] - 1)
    across = torch.stack([cos, sin, shift * shift_x], dim=-1)
    down = torch.stack([-sin, cos, shift * shift_y], dim=-1)
    grid = F.affine_grid(torch.stack([across, down], dim=1), image.shape, align_corners=True)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=True)


def draw_support_devices(rows: int, size: int) -> torch.Tensor:
    """Up to MAX_LEADS leads with a bead at one end, [rows, size, size] in [0, 1]."""
    leads = rows * MAX_LEADS
    least = torch.tensor([0.2, 0.0, -0.1])[:, None]  # of bead, bend and far end
    control = least + (1 - 2 * least) * torch.rand(leads, 3, 2)
    t = torch.linspace(0, 1, LEAD_POINTS)
    weights = torch.stack([(1 - t) ** 2, 2 * t * (1 - t), t**2])
    points = torch.einsum("kp,lkc->lpc", weights, control)
    width = max(LEAD_RADIUS, 0.4 / size)
    (gradient,) = torch.gradient(points, dim=1)
    spacing = torch.linalg.vector_norm(gradient, dim=-1) / (width * math.sqrt(2 * math.pi))
    line = _blobs(points, torch.tensor(width), spacing, size)
    smallest, largest = BEAD_RADII
    radius = smallest + (largest - smallest) * torch.rand(leads, 1, 1, 1)
    bead = _blobs(control[:, :1], radius, torch.ones(leads, 1), size)
    of_line, of_bead = (1.5 * torch.rand(2, leads, 1, 1) - 0.5).relu()
    drawn = of_line * line.clamp(0, 1) + of_bead * bead
    return drawn.unflatten(0, (rows, MAX_LEADS)).sum(dim=1).clamp(0, 1)


def _blobs(
    points: torch.Tensor, radius: torch.Tensor, height: torch.Tensor, size: int
) -> torch.Tensor:
    """Sums [l, size, size] of Gaussian blobs at points [l, p, 2], of heights [l, p]."""
    pixels = (torch.arange(size) + 0.5) / size
    distance = (pixels - points[..., None]) / radius  # [l, p, 2, size]
    down, across = torch.exp(-0.5 * distance.square()).unbind(2)
    return torch.bmm((height[..., None] * down).transpose(1, 2), across)
