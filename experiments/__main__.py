"""python -m experiments NAME [flags]; without a name it lists them."""

import sys

from cxr_jax.runtime.startup import cpu_devices, keep_programs, split_processor
from experiments import claims, finding_pictures, finding_strips, quality_plot, tables
from experiments.command import main
from experiments.studies import STUDIES

COMMANDS = {
    "claims": claims.run,
    "finding_pictures": finding_pictures.run,
    "finding_strips": finding_strips.run,
    "quality_plot": quality_plot.run,
    "tables": tables.run,
}

if __name__ == "__main__":
    keep_programs()
    split_processor(cpu_devices())
    sys.exit(main("experiments", STUDIES, sys.argv[1:], commands=COMMANDS))
