"""The networks of Dravid & Katsaggelos (AAAI 2022); the peers of cxr_jax/models/paper.py."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

LATENT_SIZES = (100, 10)  # z_structure, z_class
# By image size: configs/base.py, and configs/paper.py:64 with one layer fewer.
GENERATOR_WIDTHS = {64: (768, 256, 192, 64), 128: (768, 384, 256, 192, 64)}
DISCRIMINATOR_WIDTHS = (16, 32, 64, 128, 256, 512)
FIRST = 5  # pixels across, that the only pixel becomes


class Generator(nn.Module):
    """Transposed convolutions of stride 2 without padding: a pixel grows to 64 or 128.

    The first of them, of a single pixel, is a product of matrices and written as one, straight into
    the channels-last layout: three times as fast here as nn.ConvTranspose2d of the same kernel.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.dense = nn.Linear(sum(LATENT_SIZES), widths[0])
        self.first = nn.Linear(widths[0], FIRST * FIRST * widths[1], bias=False)
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 5, 2, bias=False)
            for before, after in zip(widths[1:], widths[2:], strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
        self.image = nn.ConvTranspose2d(widths[-1], 1, 8, 2, bias=False)
        self.apply(_init)

    def forward(self, z_structure: torch.Tensor, z_class: torch.Tensor) -> torch.Tensor:
        """[b, 100] and [b, 10] to [b, 1, h, w] in [-1, 1]."""
        x = self.first(self.dense(torch.cat([z_structure, z_class], dim=-1)))
        x = x.view(len(x), FIRST, FIRST, -1).permute(0, 3, 1, 2)
        x = F.relu(self.norms[0](x))
        for grow, norm in zip(self.grow, self.norms[1:], strict=True):
            x = F.relu(norm(grow(x)))
        return torch.tanh(self.image(x).float())


class Discriminator(nn.Module):
    """Six 3x3 convolutions, every second of which halves the image, and one logit."""

    def __init__(
        self, image_size: int, widths: Sequence[int] = DISCRIMINATOR_WIDTHS, rate: float = 0.5
    ) -> None:
        super().__init__()
        self.rate = rate
        halves = [i % 2 == 0 for i in range(len(widths))]
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, 2 if half else 1, padding=int(half), bias=False)
            for before, after, half in zip((1, *widths), widths, halves, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
        for half in halves:
            image_size = (image_size + 1) // 2 if half else image_size - 2
        self.logit = nn.Linear(image_size * image_size * widths[-1], 1)
        self.apply(_init)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """[b, 1, h, w] to logits [b]; BatchNorm and dropout as in training mode, or not."""
        x = image
        for i, conv in enumerate(self.convs):
            x = conv(x)
            x = self.norms[i - 1](x) if i > 0 else x
            x = F.dropout(F.leaky_relu(x, 0.2), self.rate, self.training)
        return self.logit(x.flatten(1))[:, 0]


def _init(module: nn.Module) -> None:
    """Kernels from N(0, 0.02) (Radford et al., 2016), biases at zero."""
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
