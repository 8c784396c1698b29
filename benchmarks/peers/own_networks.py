"""This project's generator and encoder; the peers of cxr_jax/models/{gan,encoder}.py."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.peers.blocks import (
    PixelNorm,
    ResidualBlock,
    Stem,
    conv1,
    conv3,
    downsample,
    residual_blocks,
    upsample,
)

# configs/base.py, config.gan
Z_STRUCTURE_CHANNELS = (16, 6, 3)  # at 1/16, 1/8, 1/4 of the image size
Z_CLASS_CHANNELS = (4, 2)  # at 1/8, 1/4
GENERATOR_WIDTHS = (96, 96, 48, 32)
ENCODER_WIDTHS = (16, 32, 64, 96)
Maps = list[torch.Tensor]


def latent_shapes(image_size: int) -> tuple[list[tuple], list[tuple]]:
    """Shapes [c, n, n] of the maps of z_structure and of z_class."""
    structure = [(c, image_size >> 4 << i) for i, c in enumerate(Z_STRUCTURE_CHANNELS)]
    of_class = [(c, image_size >> 3 << i) for i, c in enumerate(Z_CLASS_CHANNELS)]
    return tuple([(c, n, n) for c, n in maps] for maps in (structure, of_class))


class ClassBranch(nn.Module):
    """z_class to a map that is zero where it is."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([conv3(channels, width, False), conv3(width, width, False)])

    def forward(self, z_class: torch.Tensor) -> torch.Tensor:
        """[b, c, n, n] to [b, width, n, n]."""
        return self.convs[1](F.silu(self.convs[0](z_class)))


class Level(nn.Module):
    """One size of the generator: its structure added, modulated, and made twice as large."""

    def __init__(self, channels: int, widths: Sequence[int], conditions: int) -> None:
        super().__init__()
        self.structure = conv1(channels, widths[0], bias=False)
        self.modulation = conv1(conditions, 2 * widths[0], bias=False)
        self.block = ResidualBlock(widths[0], widths[0])
        self.out = conv1(widths[0], widths[1])

    def forward(self, x: torch.Tensor, z: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """[b, widths[0], n, n] to [b, widths[1], 2n, 2n]."""
        gain, shift = self.modulation(F.silu(condition)).chunk(2, dim=1)
        return upsample(self.out(self.block((x + self.structure(z)) * (1 + gain) + shift)))


class Generator(nn.Module):
    """G(z_structure, z_class), both pyramids of maps, to an image."""

    def __init__(self, image_size: int, widths: Sequence[int] = GENERATOR_WIDTHS) -> None:
        super().__init__()
        self.base = nn.Parameter(torch.randn(1, widths[0], image_size >> 4, image_size >> 4))
        self.branches = nn.ModuleList(ClassBranch(c, widths[-1]) for c in Z_CLASS_CHANNELS)
        self.levels = nn.ModuleList(
            Level(c, widths[i : i + 2], widths[-1]) for i, c in enumerate(Z_STRUCTURE_CHANNELS)
        )
        self.norm = PixelNorm(widths[-1])
        self.convs = nn.ModuleList([conv3(widths[-1], widths[-1]), conv3(widths[-1], 4)])
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("binomial", (row[:, None] * row)[None, None], persistent=False)

    def forward(self, z_structure: Maps, z_class: Maps) -> torch.Tensor:
        """Maps of shapes `latent_shapes` to [b, 1, h, w] in [-1, 1]."""
        coarse, fine = (branch(u) for branch, u in zip(self.branches, z_class, strict=True))
        conditions = [downsample(coarse), coarse, upsample(coarse) + fine]
        x = self.base.expand(len(z_structure[0]), -1, -1, -1)
        for level, z, condition in zip(self.levels, z_structure, conditions, strict=True):
            x = level(x, z, condition)
        x = F.silu(self.convs[0](F.silu(self.norm(x))))
        x = F.pixel_shuffle(self.convs[1](x), 2).float()
        x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), self.binomial)
        return torch.tanh(x.float())


class Encoder(nn.Module):
    """An image to the moments of both latents."""

    def __init__(self, widths: Sequence[int] = ENCODER_WIDTHS) -> None:
        super().__init__()
        self.stem = Stem(tuple(widths[:2]))
        self.blocks = residual_blocks(widths)
        self.norms = nn.ModuleList(PixelNorm(width) for width in widths[1:])
        before = widths[-1], widths[-2]
        self.contexts = nn.ModuleList(
            conv3(features + context, widths[-2])
            for features, context in zip(widths[-2:0:-1], before, strict=True)
        )
        heads = zip(widths[:0:-1], Z_STRUCTURE_CHANNELS, strict=True)
        self.structure = nn.ModuleList(conv3(width, 2 * c) for width, c in heads)
        self.of_class = nn.ModuleList(conv3(widths[-2], 2 * c) for c in Z_CLASS_CHANNELS)

    def forward(self, image: torch.Tensor) -> tuple[Maps, Maps]:
        """[b, 1, h, w] to [mean, log_std] of every map, along the channels."""
        x, pyramid = self.stem(image), []
        for stage, (block, norm) in enumerate(zip(self.blocks, self.norms, strict=True)):
            x = block(downsample(x) if stage > 0 else x)
            pyramid.append(F.silu(norm(x)))
        context, *finer = pyramid[::-1]
        contexts = []
        for features, conv in zip(finer, self.contexts, strict=True):
            context = F.silu(conv(torch.cat([features, upsample(context)], dim=1)))
            contexts.append(context)
        structure = [head(x) for head, x in zip(self.structure, pyramid[::-1], strict=True)]
        return structure, [head(x) for head, x in zip(self.of_class, contexts, strict=True)]


def means(moments: Maps) -> Maps:
    """The first half of every map's channels."""
    return [moment.chunk(2, dim=1)[0].float() for moment in moments]
