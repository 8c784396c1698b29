"""The training step of Dravid & Katsaggelos (AAAI 2022), of cxr_jax/training/paper_gan.py."""

import dataclasses

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.peers.batches import random_batch, to_unit_range
from benchmarks.peers.blocks import channels_last, frozen
from benchmarks.peers.classifiers import make_classifier
from benchmarks.peers.modes import autocast, prepare
from benchmarks.peers.paper_networks import (
    GENERATOR_WIDTHS,
    LATENT_SIZES,
    Discriminator,
    Generator,
)
from benchmarks.peers.peer import Peer

ENTROPY_WEIGHT, MODE_SEEKING_WEIGHT = 1.0, 0.2  # configs/paper.py
EPSILON = 1e-2  # cxr_jax/training/paper_objective.py
LEARNING_RATE, BETAS = 2e-4, (0.5, 0.999)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Players:
    """The networks of a step; the classifier is frozen."""

    generator: nn.Module
    discriminator: nn.Module
    classifier: nn.Module


def draw_latents(rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """z_structure [b, 100], z_class [b, 10], zero for every second row, and the labels [b]."""
    label = torch.arange(rows) % 2
    num_structure, num_class = LATENT_SIZES
    z_class = label[:, None] * torch.randn(rows, num_class)
    return torch.randn(rows, num_structure), z_class, label.float()


def mode_seeking(image: torch.Tensor, z_structure: torch.Tensor) -> torch.Tensor:
    """d(z_structure) / d(image) of rows 0 and 2, 1 and 3 of each four (Mao et al., 2019)."""
    one, other = image.unflatten(0, (-1, 2, 2)).unbind(1)
    z, another = z_structure.unflatten(0, (-1, 2, 2)).unbind(1)
    apart = (one - other).abs().mean(dim=(-3, -2, -1))
    return (1 / (apart / (z - another).abs().mean(dim=-1) + EPSILON)).mean()


def generator_loss(
    players: Players, z_structure: torch.Tensor, z_class: torch.Tensor, label: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The generator's objective, and the images that it is of."""
    image = players.generator(z_structure, z_class)
    adversarial = F.softplus(-players.discriminator(image).float()).mean()
    margin = players.classifier(image).float()
    entropy = F.binary_cross_entropy_with_logits(margin, label)
    seeking = mode_seeking(image, z_structure)
    loss = adversarial + ENTROPY_WEIGHT * entropy + MODE_SEEKING_WEIGHT * seeking
    return loss, image.detach()


def discriminator_loss(
    discriminator: nn.Module, pixels: torch.Tensor, fake: torch.Tensor
) -> torch.Tensor:
    """Binary cross-entropy of films and drawn images, each a batch of its own to BatchNorm."""
    real = discriminator(to_unit_range(pixels)).float()
    return F.softplus(-real).mean() + F.softplus(discriminator(fake).float()).mean()


def make_players(size: int, classifier: str) -> Players:
    """Fresh networks in the layout of their maps."""
    return Players(
        generator=channels_last(Generator(GENERATOR_WIDTHS[size])),
        discriminator=channels_last(Discriminator(size)),
        classifier=frozen(make_classifier(classifier)),
    )


def paper_gan_step(
    *, size: int = 64, batch: int = 32, mode: str = "eager", classifier: str = "compact"
) -> Peer:
    """The step; it returns both losses.

    Both players move from the same drawn images and from each other's state before the step. The
    discriminator's parameters get no gradient of the generator's loss: it would be thrown away.
    The rate is constant, and no average of the parameters is kept: both cost next to nothing.
    """
    players = make_players(size, classifier)
    optimizers = [
        torch.optim.Adam(network.parameters(), LEARNING_RATE, BETAS, fused=True)
        for network in (players.generator, players.discriminator)
    ]
    pixels, _ = random_batch(batch, size)
    of_generator = prepare(lambda *latents: generator_loss(players, *latents), mode)
    of_discriminator = prepare(
        lambda fake: discriminator_loss(players.discriminator, pixels, fake), mode
    )

    def step() -> torch.Tensor:
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        players.discriminator.requires_grad_(False)
        with autocast(mode):
            loss, fake = of_generator(*draw_latents(batch))
        loss.backward()
        players.discriminator.requires_grad_(True)
        with autocast(mode):
            logistic = of_discriminator(fake)
        logistic.backward()
        for optimizer in optimizers:
            optimizer.step()
        return torch.stack([loss.detach(), logistic.detach()])

    return Peer(step=step, images=batch)
