"""python -m experiments STUDY [flags], or claims, or tables."""

import sys

from experiments import claims, tables
from experiments.command import main
from experiments.studies import STUDIES

COMMANDS = {"claims": claims.run, "tables": tables.run}

if __name__ == "__main__":
    sys.exit(main("experiments", STUDIES, sys.argv[1:], commands=COMMANDS))
