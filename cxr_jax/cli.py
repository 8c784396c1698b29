"""Command line: flags and dispatch only.

cxr-jax --config=phantom --workdir=runs/phantom
cxr-jax --config=configs/covid.py:cpu --workdir=runs/covid --task=explain
"""

import argparse
import contextlib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import ml_collections
from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from cxr_jax import api, demo
from cxr_jax.data.arrays import load_splits, make_cache
from cxr_jax.errors import InputError
from cxr_jax.pipeline import explain
from cxr_jax.pipeline.answer_checks import check_answers
from cxr_jax.pipeline.config_checks import (
    check_batches,
    check_config,
    check_films,
    most_devices,
)
from cxr_jax.pipeline.finished import export_run, load_run
from cxr_jax.pipeline.select import find_films
from cxr_jax.report.figures import make_style
from cxr_jax.runtime import interrupts, parallel
from cxr_jax.runtime.interrupts import Interrupted
from cxr_jax.runtime.startup import cpu_devices, keep_programs, split_processor
from cxr_jax.runtime.user_path import make_folder, user_path
from cxr_jax.runtime.workdir import (
    FULL_DISK,
    check_workdir,
    claim_workdir,
    is_done,
    locked,
    log_to,
)
from cxr_jax.training import classifier, encoder, evaluators, gan, prior

logger = logging.getLogger(__name__)

TASKS = {
    "classifier": classifier.run,
    "gan": gan.run,
    "encoder": encoder.run,
    "prior": prior.run,
    "evaluators": evaluators.run,
    "explain": explain.run,
}
BUILT_ON = {
    "gan": ("classifier",),
    "encoder": ("classifier", "gan"),
    "prior": ("classifier", "gan", "encoder"),
    "explain": ("classifier", "gan", "encoder", "prior"),
}
CONFIGS = Path(__file__).parent / "configs"

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


def run(argv: Sequence[str]) -> int:
    """Runs the tasks that the flags ask for; returns the exit status."""
    if len(argv) > 1:
        raise InputError(f"unexpected argument {argv[1]!r}; every option starts with --")
    for flag in ("config", "workdir"):
        if flags.FLAGS[flag].value is None:
            raise InputError(
                f"--{flag} is missing; for example cxr-jax --config=phantom --workdir=runs/phantom"
            )
    quieten_orbax()
    config, workdir = _CONFIG.value, user_path(_WORKDIR.value)
    check_config(config, workdir)
    tasks = list(TASKS) if _TASK.value == "all" else [_TASK.value]
    other_films = bool(config.explain.dir) and "explain" in tasks
    truths = evaluators.needed_truths(config.evaluators.names)
    join_processes()
    if not _DISTRIBUTED.value:
        split_processor(most_devices(config, tasks, cpu_devices()))
    check_batches(config, tasks)
    make_cache(config.data)
    check_workdir(workdir, config)
    check_order(workdir)
    with locked(workdir / "lock", f"work directory {workdir}"):
        log_to(workdir)
        if not other_films or tasks != ["explain"]:
            run_tasks(tasks, config, workdir, truths=truths)
        if other_films:
            explain_folder(config, workdir)
    return 0


def quieten_orbax() -> None:
    """It narrates every save, and its threads tell with a traceback what is then raised here."""
    absl_logging.set_verbosity(absl_logging.WARNING)
    absl_logging.get_absl_logger().addFilter(_is_not_raised_too)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def _is_not_raised_too(record: logging.LogRecord) -> bool:
    return "_SignalingThread" not in str(record.msg)


def run_tasks(
    tasks: Sequence[str],
    config: ml_collections.ConfigDict,
    workdir: Path,
    *,
    truths: Sequence[str],
) -> None:
    """Reads the data and runs the tasks on them, one after the other."""
    splits, contents = load_splits(config.data, config.seed, truths)
    check_films(config, tasks, splits["train"])
    find_films(splits["test"], config.explain.films)
    check_answers(config, workdir, splits["train"])
    # Not before the data are read: a mistyped data folder claims nothing.
    claim_workdir(workdir, config, contents)
    for name in tasks:
        TASKS[name](config, workdir, splits)
        parallel.wait(name)  # until what the first process has written is there for the others


def explain_folder(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """Explains the films of a folder that is no part of the data set, by the finished run.

    Of several processes each explains all of them, and the first writes.
    """
    folder = Path(os.path.abspath(user_path(config.explain.dir)))  # "." has a name too
    explainer = api.bind_run(load_run(workdir, config))
    result = explainer.explain(folder)
    out = workdir / "explain" / "films" / folder.name
    if parallel.is_first():
        result.save(
            out,
            style=make_style(config.explain.figures),
            num_page_films=config.explain.num_page_films,
        )
    parallel.wait("explain.dir")  # until it has written
    accepted = sum(film.accepted for film in result)
    logger.info("%d of %d films pass the gate; written to %s", accepted, len(result), out)


def check_order(workdir: Path) -> None:
    """Raises `InputError` if what the task builds on is not there, or not trained to its end."""
    for earlier in BUILT_ON.get(_TASK.value, ()):
        if not is_done(workdir / earlier):
            raise InputError(
                f"{workdir / earlier} is not complete; run --task={earlier}, or all tasks, first"
            )


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


def find_config(arg: str) -> str:
    """`--config=phantom:tiny`, or configs/phantom.py where there is no checkout, as a file."""
    flag, _, value = arg.partition("=")
    file, colon, variant = value.partition(":")
    if flag not in ("--config", "-config") or not file:
        return arg
    path, packaged = user_path(file), CONFIGS / f"{Path(file).stem}.py"
    found = packaged if packaged.exists() and not path.exists() else path
    return f"{flag}={found}{colon}{variant}"


def parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses the command line; whatever is wrong with it becomes an `InputError`."""
    argv = [find_config(arg) for arg in argv]
    with told_in_one_line(argv, "--helpfull lists the flags"):
        rest = flags.FLAGS(argv)
        if _CONFIG.value is not None:
            _CONFIG.value.keys()  # a missing config file shows itself only when it is used
        return rest


@contextlib.contextmanager
def told_in_one_line(argv: Sequence[str], remedy: str) -> Iterator[None]:
    """Makes an `InputError` of what is raised where flags and fields of a config are parsed.

    Args:
      argv: the command line.
      remedy: what helps where a flag is wrong.
    """
    try:
        yield
    except flags.Error as error:
        raise InputError(f"{_last_line(error)}; {remedy}") from error
    except (AttributeError, KeyError) as error:
        name = re.search(r"\w+", str(error)).group()
        where = next((arg for arg in argv if arg.split("=")[0].endswith(f".{name}")), name)
        raise InputError(f"{where}: no such field; configs/base.py has them all") from error
    except (IndexError, TypeError, ValueError) as error:  # an index: widths[0] is no field
        raise InputError(f"{_last_line(error)}; see configs/base.py for the fields") from error
    except OSError as error:
        raise InputError(f"the config cannot be read: {_last_line(error)}") from error


def _last_line(error: Exception) -> str:
    """What an error says in the end; some carry a whole traceback before it."""
    first, *others = str(error).strip().splitlines() or [type(error).__name__]
    return f"{first} {others[-1].strip()}" if others else first


def guard(call: Callable, argv: Sequence[str]):
    """Runs `call(argv)`; what the user can mend ends in one line and exit status 2.

    A training that a signal has stopped ends in one line too, with the signal's own status.
    """
    try:
        return call(argv)
    except (InputError, Interrupted) as ended:
        say(str(ended))
        sys.exit(ended.status)
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        say(
            f"{error.filename or 'the disk'}: {error.strerror}; make room and give the same "
            "command again: it goes on from the last checkpoint"
        )
        sys.exit(InputError.status)


def say(line: str) -> None:
    """Tells the user what became of the command."""
    print(f"{Path(sys.argv[0]).name}: {line}", file=sys.stderr)


def export(argv: Sequence[str]) -> int:
    """`cxr-jax export`: a finished run as two files that explain films anywhere."""
    parser = argparse.ArgumentParser(prog="cxr-jax export", description=export.__doc__)
    parser.add_argument("--workdir", required=True, help="of the finished run")
    parser.add_argument("--out", required=True, help="folder of the two files")
    parser.add_argument(
        "--without-prior",
        action="store_true",
        help="leave out what new patients are drawn from; films are explained without it",
    )
    given = parser.parse_args(argv)
    quieten_orbax()
    run = load_run(user_path(given.workdir))
    out = make_folder(user_path(given.out), "--out")
    export_run(run, out, prior=not given.without_prior)
    print(f"written to {out}; cxr_jax.load({str(out)!r}) explains films by it")
    return 0


COMMANDS = {"demo": demo.run, "export": export}


def main() -> None:
    """The command `cxr-jax`, and main.py."""
    interrupts.die_at_once()
    keep_programs()
    # --help tells of the flags of the file that was started, which defines none.
    for flag in flags.FLAGS.get_key_flags_for_module(__name__):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    command = COMMANDS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    if command is not None:
        split_processor(cpu_devices())
        sys.exit(guard(command, sys.argv[2:]))
    app.run(lambda argv: guard(run, argv), flags_parser=lambda argv: guard(parse_flags, argv))
