"""The benchmarks by name."""

from benchmarks import gan_rate, growth, make_run, reading, step_costs, throughput, tpu_check

_MODULES = (gan_rate, growth, make_run, reading, step_costs, throughput, tpu_check)
STUDIES = tuple(module.STUDY for module in _MODULES)
BENCHMARKS = {study.name: study for study in STUDIES}
