"""python -m benchmarks step_costs|throughput|tpu_check [flags]."""

import sys

from benchmarks import step_costs, throughput, tpu_check
from experiments.command import main

BENCHMARKS = {study.name: study for study in (step_costs.STUDY, throughput.STUDY, tpu_check.STUDY)}

if __name__ == "__main__":
    sys.exit(main("benchmarks", BENCHMARKS, sys.argv[1:]))
