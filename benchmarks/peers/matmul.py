"""The machine's rate while others are timed: a product of two square matrices."""

import torch

from benchmarks.peers.peer import Peer


def matmul(*, size: int = 2048, mode: str = "eager") -> Peer:
    """PyTorch's, of float32, or of bfloat16 in mode "bf16"; nothing is there to compile."""
    dtype = torch.bfloat16 if mode == "bf16" else torch.float32
    one, other = torch.randn(2, size, size).to(dtype).unbind()
    out = torch.empty(size, size, dtype=dtype)
    return Peer(step=lambda: torch.mm(one, other, out=out), images=1, flop=2.0 * size**3)
