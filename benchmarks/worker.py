"""A contender in a process of its own, that takes steps when it is told to.

python -m benchmarks.worker NAME CONFIG [--config.field=value ...]

When it has taken two steps it says {"ready": true, "images": in a step, "repeats": 1, "devices":
"2 x cpu"}. For each line of its input, a number n, it takes n steps and answers {"seconds": [n
numbers], "cpu_seconds": of all, "peak_gib": so far}. It ends with its input.
"""

import json
import resource
import sys
import time
from collections.abc import Iterable, Sequence

import jax

from benchmarks.contenders import CONTENDERS, Contender
from cxr_jax.runtime.startup import cpu_devices, keep_programs, split_processor
from experiments.command import load_config

WARM_UP = 2  # steps, of which the first compiles


def answer(contender: Contender, num_steps: int) -> dict:
    """What is told of so many steps."""
    seconds, cpu = [], time.process_time()
    for _ in range(num_steps):
        start = time.perf_counter()
        contender.step()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": seconds, "cpu_seconds": time.process_time() - cpu, "peak_gib": peak}


def serve(contender: Contender, lines: Iterable[str]) -> None:
    """Answers each line."""
    for line in lines:
        say(answer(contender, int(line)))


def say(told: dict) -> None:
    """One line of JSON, at once."""
    print(json.dumps(told), flush=True)


def main(argv: Sequence[str]) -> None:
    """As the commands do, it keeps programs and splits the processor."""
    name, file, *overrides = argv
    keep_programs()
    split_processor(cpu_devices())
    contender = CONTENDERS[name](load_config(file, overrides))
    for _ in range(WARM_UP):
        contender.step()
    kind = jax.devices()[0]
    devices = f"{jax.device_count()} x {kind.device_kind} ({kind.platform})"
    say({"ready": True, "images": contender.images, "repeats": 1, "devices": devices})
    serve(contender, sys.stdin)


if __name__ == "__main__":
    main(sys.argv[1:])
