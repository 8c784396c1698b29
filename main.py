"""Command line: flags and dispatch only.

python main.py --config=configs/phantom.py --workdir=runs/phantom
python main.py --config=configs/covid.py:cpu --workdir=runs/covid --task=explain
"""

import re
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from cxr_jax import (
    data,
    explain,
    precision,
    records,
    train_classifier,
    train_encoder,
    train_evaluators,
    train_gan,
)
from datasets.errors import InputError

TASKS = {
    "classifier": train_classifier.run,
    "gan": train_gan.run,
    "encoder": train_encoder.run,
    "evaluators": train_evaluators.run,
    "explain": explain.run,
}

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The experiment: a file of configs/, or :variant."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints, records and figures go.")
_TASK = flags.DEFINE_enum(
    "task", "all", ["all", *TASKS], "What to run; `all` runs what is missing."
)


def main(argv: list[str]) -> int:
    """Runs the tasks; returns the exit status."""
    if len(argv) > 1:
        raise InputError(f"unexpected argument {argv[1]!r}; every option starts with --")
    for flag in ("config", "workdir"):
        if flags.FLAGS[flag].value is None:
            raise InputError(f"--{flag} is missing; see README.md for the commands")
    logging.set_verbosity(logging.WARNING)  # Orbax narrates every save
    config, workdir = _CONFIG.value, Path(_WORKDIR.value)
    explain.check_config(config)
    precision.check_config(config)
    train_classifier.check_config(config, workdir)
    records.check_workdir(workdir, config)
    records.log_to(workdir)
    truths = train_evaluators.needed_truths(config.evaluators.names)
    splits, contents = data.load_splits(config.data, config.seed, truths)
    # Not before the data are read: a mistyped data folder claims nothing.
    records.claim_workdir(workdir, config, contents)
    for name, run in TASKS.items():
        if _TASK.value in ("all", name):
            run(config, workdir, splits)
    return 0


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line; whatever is wrong with it becomes an `InputError`."""
    try:
        rest = flags.FLAGS(argv)
        if _CONFIG.value is not None:
            _CONFIG.value.keys()  # a missing config file shows itself only when it is used
        return rest
    except flags.Error as error:
        raise InputError(f"{_last_line(error)}; --helpfull lists the flags") from error
    except (AttributeError, KeyError) as error:
        name = re.search(r"\w+", str(error)).group()
        where = next((arg for arg in argv if arg.split("=")[0].endswith(f".{name}")), name)
        raise InputError(f"{where}: no such field; configs/base.py has them all") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{_last_line(error)}; see configs/base.py for the fields") from error
    except OSError as error:
        raise InputError(f"the config cannot be read: {_last_line(error)}") from error


def _last_line(error: Exception) -> str:
    """What an error says in the end; some carry a whole traceback before it."""
    first, *others = str(error).strip().splitlines()
    return f"{first} {others[-1].strip()}" if others else first


def cli(run, argv):
    """Runs `run(argv)`; an `InputError` ends in one line and exit status 2."""
    try:
        return run(argv)
    except InputError as error:
        print(f"main.py: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    app.run(lambda argv: cli(main, argv), flags_parser=lambda argv: cli(parse_flags, argv))
