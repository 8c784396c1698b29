"""The explained classifier f: ours, or the VGG16 of Dravid & Katsaggelos (AAAI 2022)."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.peers.blocks import PixelNorm, Stem, channels_last, downsample, residual_blocks

WIDTHS = (16, 32, 64, 96)  # configs/base.py, config.classifier.widths
VGG_HIDDEN = (4096, 4096, 1024, 256, 64)  # of the paper's head


class CompactClassifier(nn.Module):
    """The peer of cxr_jax/models/classifier.py: a residual CNN with one logit."""

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.stem = Stem(tuple(widths[:2]))
        self.blocks = residual_blocks(widths)
        self.norm = PixelNorm(widths[-1])
        self.logit = nn.Linear(widths[-1], 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """[b, 1, h, w] in [-1, 1] to the logit margin [b]."""
        x = self.stem(image)
        for stage, block in enumerate(self.blocks):
            x = block(downsample(x) if stage > 0 else x)
        return self.logit(F.silu(self.norm(x)).mean(dim=(2, 3)))[:, 0]


class VGGClassifier(nn.Module):
    """torchvision's VGG16 of one channel and one logit, with the paper's head; random weights.

    As config.classifier.architecture = "vgg16" has it: films are not resized, and the trunk's maps
    are averaged, or repeated, to the 7x7 that the head sees.
    """

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import vgg16  # noqa: PLC0415  # the compact one does without

        self.vgg = vgg16(weights=None, init_weights=False)
        self.vgg.features[0] = nn.Conv2d(1, 64, 3, padding=1)
        units = (512 * 7 * 7, *VGG_HIDDEN)
        hidden = [
            layer
            for before, after in zip(units, units[1:], strict=False)
            for layer in (nn.Linear(before, after), nn.ReLU(inplace=True), nn.Dropout(0.5))
        ]
        self.vgg.classifier = nn.Sequential(*hidden, nn.Linear(units[-1], 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """[b, 1, h, w] in [-1, 1] to the logit margin [b]."""
        return self.vgg(image)[:, 0]


CLASSIFIERS = {"compact": CompactClassifier, "vgg16": VGGClassifier}


def make_classifier(name: str) -> nn.Module:
    """The classifier by name, in the layout of its maps."""
    if name not in CLASSIFIERS:
        raise ValueError(f"unknown classifier {name!r}; choose one of {', '.join(CLASSIFIERS)}")
    return channels_last(CLASSIFIERS[name]())
