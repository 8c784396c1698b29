"""The benchmarks by name."""

from benchmarks import growth, make_run, step_costs, throughput, tpu_check

STUDIES = (growth.STUDY, make_run.STUDY, step_costs.STUDY, throughput.STUDY, tpu_check.STUDY)
BENCHMARKS = {study.name: study for study in STUDIES}
