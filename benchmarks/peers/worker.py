"""python -m benchmarks.peers.worker NAME [--size=64 --batch=32 --mode=eager --classifier=compact]

Sets one peer up and speaks as `protocol.py` has it; its first line also has "flop", "mode" and
"set_up", in seconds. Where a peer cannot run the status is 0: a missing figure has a reason.

NAME is one of paper_gan_step, classifier_step, inversion, latent_shift, matmul, matmul_numpy. What
is not given is the peer's own default. Programs that mode "compile" makes are compiled anew each
time unless TORCHINDUCTOR_CACHE_DIR keeps them.
"""

import argparse
import importlib
import inspect
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.peers.peer import Peer, Unavailable
from benchmarks.protocol import WARM_UPS, say, serve

PEERS = {  # where each stands: imported when it is asked for, since PyTorch may be absent
    "paper_gan_step": "paper_gan",
    "classifier_step": "classifier_step",
    "inversion": "inversion",
    "latent_shift": "latent_shift",
    "matmul": "matmul",
    "matmul_numpy": "matmul_numpy",
}


def main(argv: list[str]) -> None:
    """Serves one peer until the input ends."""
    flags = vars(_parser().parse_args(argv))
    name, threads = flags.pop("name"), flags.pop("threads")
    given = {flag: value for flag, value in flags.items() if value is not None}
    start = time.perf_counter()
    try:
        threads = limit_threads(name, threads)
        peer = warmed_up(load(name, given), given.get("mode", ""))
    except Unavailable as reason:
        say({"ready": False, "reason": str(reason)})
        return
    say(
        {"ready": True, "images": peer.images, "repeats": peer.repeats}
        | {"devices": f"{threads} threads", "flop": peer.flop, "mode": given.get("mode", "eager")}
        | {"set_up": round(time.perf_counter() - start, 3)}
    )
    serve(peer.step, sys.stdin)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("name", choices=PEERS)
    for flag in ("size", "batch", "updates", "threads"):
        parser.add_argument(f"--{flag}", type=int)
    parser.add_argument("--mode", choices=("eager", "bf16", "compile"))
    parser.add_argument("--classifier", choices=("compact", "vgg16"))
    return parser


def limit_threads(name: str, threads: int | None) -> int:
    """Tells PyTorch how many threads to use, and flushes denormals as XLA does.

    Returns:
      The number of threads, where it is not told: as many as PyTorch finds cores. NumPy's are its
      library's own affair: OPENBLAS_NUM_THREADS, or all cores that this process may run on.
    """
    if name == "matmul_numpy":
        if threads is not None:
            raise Unavailable("NumPy's threads are set by OPENBLAS_NUM_THREADS, not by --threads")
        limit = os.environ.get("OPENBLAS_NUM_THREADS", "")
        return int(limit) if limit else len(os.sched_getaffinity(0))
    torch = _import("torch")
    if threads is not None:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    return torch.get_num_threads()


def load(name: str, given: Mapping[str, Any]) -> Peer:
    """The peer of that name with its step set up.

    Raises:
      Unavailable: if PyTorch is missing, or if the peer knows nothing of a flag that was given.
    """
    make = getattr(_import(f"benchmarks.peers.{PEERS[name]}"), name)
    known = inspect.signature(make).parameters
    for flag in given:
        if flag not in known:
            raise Unavailable(f"{name} takes no --{flag}; it takes {', '.join(known)}")
    return make(**given)


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name not in ("torch", "torchvision"):
            raise
        text = f'{missing.name} is not installed: python -m pip install -e ".[torch]"'
        raise Unavailable(text) from missing


def warmed_up(peer: Peer, mode: str) -> Peer:
    """The peer after its first steps, in the first of which mode "compile" compiles.

    Raises:
      Unavailable: with the compiler's reason, if it cannot.
    """
    try:
        for _ in range(WARM_UPS):
            peer.step()
    except Exception as failure:
        if mode != "compile":
            raise
        reason = " ".join(str(failure).split())[:500]
        raise Unavailable(f"torch.compile: {type(failure).__name__}: {reason}") from failure
    return peer


if __name__ == "__main__":
    main(sys.argv[1:])
