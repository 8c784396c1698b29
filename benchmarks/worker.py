"""A contender in a process of its own, that takes steps when it is told to; see `protocol.py`.

python -m benchmarks.worker NAME CONFIG [--config.field=value ...]
"""

import sys
from collections.abc import Sequence

import jax

from benchmarks.contenders import CONTENDERS
from benchmarks.protocol import WARM_UPS, say, serve
from cxr_jax.runtime.startup import cpu_devices, keep_programs, split_processor
from experiments.command import load_config


def main(argv: Sequence[str]) -> None:
    """As the commands do, it keeps programs and splits the processor."""
    name, file, *overrides = argv
    keep_programs()
    split_processor(cpu_devices())
    contender = CONTENDERS[name](load_config(file, overrides))
    for _ in range(WARM_UPS):
        contender.step()
    kind = jax.devices()[0]
    devices = f"{jax.device_count()} x {kind.device_kind} ({kind.platform})"
    say({"ready": True, "images": contender.images, "repeats": 1, "devices": devices})
    serve(contender.step, sys.stdin)


if __name__ == "__main__":
    main(sys.argv[1:])
