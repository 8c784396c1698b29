"""Inversion as Dravid & Katsaggelos (AAAI 2022) do it: Adam on both latents, from the origin."""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.peers.batches import random_batch, to_unit_range
from benchmarks.peers.blocks import channels_last, frozen
from benchmarks.peers.classifiers import make_classifier
from benchmarks.peers.modes import autocast, prepare
from benchmarks.peers.paper_networks import GENERATOR_WIDTHS, LATENT_SIZES, Generator
from benchmarks.peers.peer import Peer

# By image size, of configs/paper.py: updates of the latents, and Adam's rate.
SETTINGS = {64: (500, 0.04), 128: (5000, 0.01)}
BETAS = (0.5, 0.999)
PIXEL, CROSS_ENTROPY = 4.0, 1.0


def as_if_trained(generator: Generator) -> Generator:
    """With BatchNorm's statistics of a drawn batch: by its first ones every image is grey."""
    for norm in generator.norms:
        norm.momentum = 1.0
    with torch.no_grad():
        generator.train()(*(torch.randn(32, n) for n in LATENT_SIZES))
    return generator


def film_error(
    networks: tuple[nn.Module, nn.Module],
    latents: tuple[torch.Tensor, torch.Tensor],
    film: torch.Tensor,
    margin: torch.Tensor,
) -> torch.Tensor:
    """Each film's squared error [b], and its cross-entropy with f's probability for the film.

    Args:
      networks: G and f.
      latents: z_structure, and a class latent that counts where f calls the film positive.
      margin: f on the film.
    """
    generator, classifier = networks
    z_structure, z_class = latents
    drawn = generator(z_structure, (margin > 0).float()[:, None] * z_class)
    pixel = (drawn - film).square().mean(dim=(1, 2, 3))
    entropy = F.binary_cross_entropy_with_logits(
        classifier(drawn).float(), margin.sigmoid(), reduction="none"
    )
    return PIXEL * pixel + CROSS_ENTROPY * entropy


def inversion(
    *,
    size: int = 64,
    batch: int = 32,
    mode: str = "eager",
    classifier: str = "compact",
    updates: int = 10,
) -> Peer:
    """The inversion of a batch of films; a step takes `updates` of its updates and goes on.

    Every update costs the same, and what comes before the first (f on the films, once) next to
    nothing: the whole is `repeats` steps. The rate is constant.
    """
    total, learning_rate = SETTINGS[size]
    generator = frozen(as_if_trained(channels_last(Generator(GENERATOR_WIDTHS[size]))))
    f = frozen(make_classifier(classifier))
    film = to_unit_range(random_batch(batch, size)[0])
    with torch.inference_mode(), autocast(mode):
        margin = f(film).float()
    margin = margin.clone()  # an ordinary tensor, which a gradient may run past
    latents = tuple(torch.zeros(batch, n, requires_grad=True) for n in LATENT_SIZES)
    optimizer = torch.optim.Adam(latents, learning_rate, BETAS, fused=True)
    error = prepare(lambda *z: film_error((generator, f), z, film, margin).sum(), mode)

    def update() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        with autocast(mode):
            total_error = error(*latents)
        total_error.backward()
        optimizer.step()
        return total_error.detach()

    def step() -> torch.Tensor:
        for _ in range(updates):
            total_error = update()
        return total_error

    return Peer(step=step, images=batch, repeats=total / updates)
