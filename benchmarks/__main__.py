"""python -m benchmarks growth|make_run|reading|step_costs|throughput|tpu_check [flags]."""

import sys

from benchmarks.registry import BENCHMARKS
from experiments.command import main

if __name__ == "__main__":
    sys.exit(main("benchmarks", BENCHMARKS, sys.argv[1:]))
