"""Random films, the same numbers that our own steps are timed with (benchmarks/throughput.py)."""

import numpy as np
import torch


def random_batch(rows: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels [rows, 1, size, size] of uint8 and labels [rows], 0 or 1, of float32."""
    rng = np.random.Generator(np.random.Philox(0))
    pixels = rng.integers(256, size=(rows, size, size, 1), dtype=np.uint8)
    label = rng.integers(2, size=rows, dtype=np.int32)
    # One channel: rows of pixels lie alike whether the channel comes first or last.
    return torch.from_numpy(pixels.reshape(rows, 1, size, size)), torch.from_numpy(label).float()


def to_unit_range(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 to float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1
