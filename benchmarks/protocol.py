"""What a worker says to the one that times it, a line of JSON each; needs neither JAX nor PyTorch.

When it has taken WARM_UPS steps it says {"ready": true, "images": in a step, "repeats": steps that
make up what is reported, "devices": on which it runs}, or {"ready": false, "reason": why it cannot
run here}. For each line of its input, a number n, it takes n steps and answers {"seconds": [n
numbers], "cpu_seconds": of all threads, over all n, "peak_gib": so far}. It ends with its input.
"""

import json
import resource
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

WARM_UPS = 2  # steps, of which the first compiles


def say(told: Mapping[str, Any]) -> None:
    """One line of JSON, at once."""
    print(json.dumps(told), flush=True)


def serve(step: Callable[[], Any], lines: Iterable[str]) -> None:
    """Answers each line that says a number."""
    for line in lines:
        if line.strip():
            say(timed(step, int(line)))


def timed(step: Callable[[], Any], steps: int) -> dict:
    """What is told of so many steps."""
    seconds, cpu = [], time.process_time()
    for _ in range(steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": seconds, "cpu_seconds": time.process_time() - cpu, "peak_gib": peak}
