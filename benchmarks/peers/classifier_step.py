"""The training step of the explained classifier, of cxr_jax/training/classifier.py."""

import copy

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import get_ema_multi_avg_fn

from benchmarks.peers.augment import Augmentation, augment
from benchmarks.peers.batches import random_batch, to_unit_range
from benchmarks.peers.classifiers import make_classifier
from benchmarks.peers.modes import autocast, prepare
from benchmarks.peers.peer import Peer

LEARNING_RATE, WEIGHT_DECAY = 2e-3, 1e-3  # configs/base.py
LABEL_SMOOTHING, EMA_DECAY = 0.05, 0.98


def smoothed_loss(network: nn.Module, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy with targets smoothing/2 away from 0 and 1."""
    target = label * (1 - LABEL_SMOOTHING) + LABEL_SMOOTHING / 2
    return F.binary_cross_entropy_with_logits(network(image).float(), target)


def classifier_step(
    *,
    size: int = 64,
    batch: int = 64,
    mode: str = "eager",
    classifier: str = "compact",
    augmentation: Augmentation = Augmentation(),  # noqa: B008  # frozen
) -> Peer:
    """The step; it returns the loss. Its rate is constant."""
    network = make_classifier(classifier).train()
    average = copy.deepcopy(network).requires_grad_(False)
    params, averages = list(network.parameters()), list(average.parameters())
    optimizer = torch.optim.AdamW(params, LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    follow = get_ema_multi_avg_fn(EMA_DECAY)
    pixels, label = random_batch(batch, size)

    @torch.no_grad()
    def view() -> torch.Tensor:
        return augment(to_unit_range(pixels), augmentation)

    draw_view = prepare(view, mode)
    loss_of = prepare(lambda image: smoothed_loss(network, image, label), mode)

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        image = draw_view()  # in float32, as films are read
        with autocast(mode):
            loss = loss_of(image)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            follow(averages, params, None)
        return loss.detach()

    return Peer(step=step, images=batch)
