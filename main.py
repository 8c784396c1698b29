"""Command line: flags and dispatch only.

python main.py --config=configs/phantom.py --workdir=runs/phantom
python main.py --config=configs/covid.py:cpu --workdir=runs/covid --task=explain
"""

import re
import sys
from pathlib import Path

import ml_collections
from absl import app, flags, logging
from ml_collections import config_flags

from cxr_jax import (
    data,
    explain,
    parallel,
    precision,
    ranges,
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
BUILT_ON = {
    "gan": ("classifier",),
    "encoder": ("classifier", "gan"),
    "explain": ("classifier", "gan", "encoder"),
}

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The experiment: a file of configs/, or :variant."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints, records and figures go.")
_TASK = flags.DEFINE_enum(
    "task", "all", ["all", *TASKS], "What to run; `all` runs what is missing."
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "This is one of several processes; JAX finds them on TPU and SLURM."
)
_JOINED = {
    "coordinator_address": flags.DEFINE_string(
        "coordinator_address", None, "With --distributed elsewhere: host:port of process 0."
    ),
    "num_processes": flags.DEFINE_integer("num_processes", None, "Likewise, how many."),
    "process_id": flags.DEFINE_integer("process_id", None, "Likewise, which one this is."),
}


def main(argv: list[str]) -> int:
    """Runs the tasks; returns the exit status."""
    if len(argv) > 1:
        raise InputError(f"unexpected argument {argv[1]!r}; every option starts with --")
    for flag in ("config", "workdir"):
        if flags.FLAGS[flag].value is None:
            raise InputError(f"--{flag} is missing; see README.md for the commands")
    logging.set_verbosity(logging.WARNING)  # Orbax narrates every save
    if "://" in _WORKDIR.value:
        raise InputError(
            f"--workdir={_WORKDIR.value} is no folder: records are appended to, which objects in a "
            "bucket cannot be; mount the bucket and name the folder, see docs/tpu.md"
        )
    config, workdir = _CONFIG.value, Path(_WORKDIR.value)
    ranges.check_config(config)
    explain.check_config(config)
    precision.check_config(config)
    truths = train_evaluators.needed_truths(config.evaluators.names)
    join_processes()
    train_classifier.check_config(config, workdir)
    check_batches(config)
    records.check_workdir(workdir, config)
    check_order(workdir)
    records.log_to(workdir)
    splits, contents = data.load_splits(config.data, config.seed, truths)
    explain.find_films(splits["test"], config.explain.films)
    # Not before the data are read: a mistyped data folder claims nothing.
    records.claim_workdir(workdir, config, contents)
    for name, run in TASKS.items():
        if _TASK.value in ("all", name):
            run(config, workdir, splits)
            parallel.wait(name)  # until what the first process has written is there for the others
    return 0


def check_order(workdir: Path) -> None:
    """Raises `InputError` if what the task builds on is not there, or not trained to its end."""
    for earlier in BUILT_ON.get(_TASK.value, ()):
        if not records.is_done(workdir / earlier):
            raise InputError(
                f"{workdir / earlier} is not complete; run --task={earlier}, or all tasks, first"
            )


def check_batches(config: ml_collections.ConfigDict) -> None:
    """Raises `InputError` if a batch of what is to run cannot be split over the devices."""
    if _TASK.value in ("all", "classifier"):
        for name in ("classifier", "judge"):
            parallel.check_batch_size(name, config[name].batch_size)
    if _TASK.value in ("all", "gan"):
        parallel.check_batch_size("gan", config.gan.batch_size, train_gan.PAIRED_SHARE)
    has_encoder = config.gan.objective == "ours"
    if _TASK.value in ("all", "encoder") and has_encoder:
        parallel.check_batch_size("encoder", config.encoder.batch_size, train_gan.PAIRED_SHARE)
    if _TASK.value in ("all", "evaluators"):
        for name in config.evaluators.names:
            section = f"evaluators.{name}"
            parallel.check_batch_size(section, config.evaluators[name].batch_size)


def join_processes() -> None:
    """Does what --distributed and the flags beside it say.

    Raises:
      InputError: if they contradict each other.
    """
    given = [name for name, flag in _JOINED.items() if flag.value is not None]
    if given and not _DISTRIBUTED.value:
        raise InputError(f"--{given[0]} needs --distributed")
    if given and len(given) < len(_JOINED):
        missing = next(name for name in _JOINED if name not in given)
        raise InputError(f"--{missing} is missing; --{given[0]} needs it")
    if _DISTRIBUTED.value:
        parallel.initialize(*(flag.value for flag in _JOINED.values()))


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
