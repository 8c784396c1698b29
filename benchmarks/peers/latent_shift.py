"""Latent Shift (Cohen et al., MIDL 2021): z + lambda d of one gradient d, frame by frame."""

from collections.abc import Callable, Sequence

import torch

from benchmarks.peers.batches import random_batch, to_unit_range
from benchmarks.peers.blocks import channels_last, frozen
from benchmarks.peers.classifiers import make_classifier
from benchmarks.peers.modes import autocast, prepare
from benchmarks.peers.own_networks import Encoder, Generator, Maps, means
from benchmarks.peers.peer import Peer

FRAMES = 24
REACH = 100.0  # of lambda, to either side; the time does not depend on it


def direction(ask: Callable[..., torch.Tensor], latents: Maps) -> Sequence[torch.Tensor]:
    """d f(G(z)) / dz over both latents, as maps.

    Args:
      ask: f(G(z)) [b] of the maps of z.
    """
    latents = [z.detach().requires_grad_() for z in latents]
    return torch.autograd.grad(ask(*latents).sum(), latents)


def latent_shift(
    *, size: int = 64, batch: int = 1, mode: str = "eager", classifier: str = "compact"
) -> Peer:
    """Films explained, one batch a step: encoded, one gradient, 24 frames drawn and classified.

    The frames of a single film are one batch of 24; of several films each frame is a batch of them,
    whose maps then stay in the processor's caches. The step returns f of every frame [24, b].
    """
    generator, encoder = (frozen(channels_last(net)) for net in (Generator(size), Encoder()))
    f = frozen(make_classifier(classifier))
    pixels, _ = random_batch(batch, size)
    shifts = torch.linspace(-REACH, REACH, FRAMES)

    def encode() -> Maps:
        structure, of_class = encoder(to_unit_range(pixels))
        return [*means(structure), *means(of_class)]

    def ask(*latents: torch.Tensor) -> torch.Tensor:
        count = len(generator.levels)
        return f(generator(latents[:count], latents[count:])).float()

    encode, ask = prepare(encode, mode), prepare(ask, mode)

    def frame(latents: Maps, moves: Maps, shift: torch.Tensor) -> torch.Tensor:
        return ask(*[z + shift * move for z, move in zip(latents, moves, strict=True)])

    def step() -> torch.Tensor:
        with autocast(mode):
            with torch.no_grad():
                latents = encode()
            moves = direction(ask, latents)
            with torch.no_grad():
                if batch == 1:
                    return frame(latents, moves, shifts.view(-1, 1, 1, 1))[:, None]
                return torch.stack([frame(latents, moves, shift) for shift in shifts])

    return Peer(step=step, images=batch)
