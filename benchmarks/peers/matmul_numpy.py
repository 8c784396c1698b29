"""The same product by NumPy alone, where there is no PyTorch."""

import numpy as np

from benchmarks.peers.peer import Peer, Unavailable


def matmul_numpy(*, size: int = 2048, mode: str = "eager") -> Peer:
    """Of float32.

    Raises:
      Unavailable: in mode "bf16", of which NumPy knows nothing.
    """
    if mode == "bf16":
        raise Unavailable("NumPy has no bfloat16")
    rng = np.random.Generator(np.random.Philox(0))
    one, other = rng.standard_normal((2, size, size), np.float32)
    out = np.empty_like(one)
    return Peer(step=lambda: np.matmul(one, other, out=out), images=1, flop=2.0 * size**3)
