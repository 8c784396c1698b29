"""Layers of the compact networks; the peers of cxr_jax/models/blocks.py.

Maps are [b, c, h, w] in the channels-last layout, which oneDNN's convolutions take as it is and
which makes a norm over channels one over the fastest axis.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F


def channels_last(network: nn.Module) -> nn.Module:
    """The network with its kernels in the layout of its maps."""
    return network.to(memory_format=torch.channels_last)


def frozen(network: nn.Module) -> nn.Module:
    """Not trained, and no gradient of its parameters computed."""
    return network.eval().requires_grad_(False)


def conv3(channels: int, features: int, bias: bool = True) -> nn.Conv2d:
    """A 3x3 convolution of stride 1 that keeps the size."""
    return nn.Conv2d(channels, features, 3, padding=1, bias=bias)


def conv1(channels: int, features: int, bias: bool = True) -> nn.Conv2d:
    """The same affine map of every pixel."""
    return nn.Conv2d(channels, features, 1, bias=bias)


def downsample(x: torch.Tensor) -> torch.Tensor:
    """Mean of 2x2 blocks."""
    return F.avg_pool2d(x, 2)


def upsample(x: torch.Tensor) -> torch.Tensor:
    """Nearest-neighbour repetition to twice the size."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


class PixelNorm(nn.Module):
    """RMS norm over channels, pixel by pixel, with a learned gain."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, c, h, w] to the same; moments in float32 where x is of fewer bits."""
        y = F.rms_norm(x.permute(0, 2, 3, 1).float(), self.gain.shape, self.gain, 1e-6)
        return y.permute(0, 3, 1, 2).to(x.dtype)


class ResidualBlock(nn.Module):
    """x + two normalised 3x3 convolutions, the second of which starts at zero."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([PixelNorm(channels), PixelNorm(width)])
        self.convs = nn.ModuleList([conv3(channels, width), conv3(width, width)])
        nn.init.zeros_(self.convs[1].weight)
        self.skip = conv1(channels, width, bias=False) if channels != width else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, channels, h, w] to [b, width, h, w]."""
        y = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(F.silu(norm(y)))
        return self.skip(x) + y


def residual_blocks(widths: Sequence[int]) -> nn.ModuleList:
    """One for each size after a stem of widths[:2]."""
    pairs = zip((widths[1], *widths[1:-1]), widths[1:], strict=True)
    return nn.ModuleList(ResidualBlock(before, after) for before, after in pairs)


class Stem(nn.Module):
    """An image to maps at a quarter of its size: twice space-to-depth and a 3x3 convolution."""

    def __init__(self, widths: tuple[int, int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList([conv3(4, widths[0]), conv3(4 * widths[0], widths[1])])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """[b, 1, h, w] to [b, widths[1], h / 4, w / 4]."""
        x = F.silu(self.convs[0](F.pixel_unshuffle(image, 2)))
        return self.convs[1](F.pixel_unshuffle(x, 2))
