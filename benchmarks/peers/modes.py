"""The three ways in which a PyTorch user would run a step on a processor."""

from collections.abc import Callable

import torch

MODES = ("eager", "bf16", "compile")


def autocast(mode: str) -> torch.autocast:
    """Mode "bf16": products and convolutions in bfloat16, parameters and losses in float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=mode == "bf16")


def prepare(function: Callable, mode: str) -> Callable:
    """The function as the mode runs it: compiled by the default backend, or as it is.

    Shapes never change here, and a program for any shape is slower.
    """
    if mode not in MODES:
        raise ValueError(f"unknown mode {mode!r}; choose one of {', '.join(MODES)}")
    return torch.compile(function, dynamic=False) if mode == "compile" else function
