"""python -m benchmarks NAME [flags]; without a name it lists them."""

import sys

from benchmarks import growth_plot
from benchmarks.registry import BENCHMARKS
from experiments.command import main

if __name__ == "__main__":
    commands = {"growth_plot": growth_plot.run}
    sys.exit(main("benchmarks", BENCHMARKS, sys.argv[1:], commands=commands))
