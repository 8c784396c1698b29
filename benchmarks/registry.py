"""The benchmarks by name."""

from benchmarks import make_run, reading, step_costs, throughput, tpu_check

STUDIES = (make_run.STUDY, reading.STUDY, step_costs.STUDY, throughput.STUDY, tpu_check.STUDY)
BENCHMARKS = {study.name: study for study in STUDIES}
