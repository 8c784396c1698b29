"""python -m benchmarks throughput|tpu_check [flags]."""

import sys

from benchmarks import throughput, tpu_check
from experiments.command import main

BENCHMARKS = {study.name: study for study in (throughput.STUDY, tpu_check.STUDY)}

if __name__ == "__main__":
    sys.exit(main("benchmarks", BENCHMARKS, sys.argv[1:]))
