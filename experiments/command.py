"""The command line of all studies: the flags that they share, and those of one alone.

python -m experiments STUDY [flags] [--config.field=value ...]
"""

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import ml_collections
from absl import flags
from ml_collections import config_flags

from cxr_jax.cli import find_config, quieten_orbax, told_in_one_line
from cxr_jax.errors import InputError
from cxr_jax.runtime.interrupts import Interrupted
from cxr_jax.runtime.user_path import user_path
from experiments import results
from experiments.study import Flag, Options, Study

Command = Callable[[Path], None]  # of the folder of results

OVERRIDE = "--config."
HELP = ("-h", "--help", "-help", "--helpfull")
CONFIG_HELP = (
    "The experiment: a file of configs/, or :variant. --config.FIELD=VALUE overrides a field in "
    "every run."
)
WORKDIR_HELP = "Where the study keeps its runs, or the finished run that it reads."
SEEDS_HELP = (
    "How many seeds, from 0 on, each in a folder seedN of the work directory; 0 where the work "
    "directory itself is a run."
)
ONE_SEED = "Not taken: this is of one seed."
NO_RUNS = "Not taken: this needs no runs."
OUT_HELP = "Folder of the results; empty to print them only."


# 1. Configs.


def load_config(file: str, overrides: Sequence[str] = ()) -> ml_collections.ConfigDict:
    """The config of FILE.py or FILE.py:variant, with `--config.field=value` applied.

    Raises:
      InputError: if there is no such file, variant or field.
    """
    values = flags.FlagValues()
    argv = ["experiments", find_config(f"--config={file}"), *overrides]
    config_flags.DEFINE_config_file("config", None, "", flag_values=values, sys_argv=argv)
    with told_in_one_line(argv, "--help lists the flags"):
        values(argv)
        values.config.keys()  # a missing file shows itself only when it is used
    return values.config


# 2. Flags.


def define_flags(study: Study) -> flags.FlagValues:
    """The flags of a study; `--config` and its overrides are parsed apart."""
    values = flags.FlagValues()
    workdir_help = WORKDIR_HELP if study.workdir else NO_RUNS
    config_help = CONFIG_HELP + ("" if study.config else " Default: all of the study's own.")
    flags.DEFINE_string("config", study.config, config_help, flag_values=values)
    flags.DEFINE_string("workdir", study.workdir, workdir_help, flag_values=values)
    flags.DEFINE_string("out", results.RESULTS, OUT_HELP, flag_values=values)
    flags.DEFINE_integer(
        "seeds", study.seeds, ONE_SEED if study.seeds is None else SEEDS_HELP, flag_values=values
    )
    for flag in study.flags:
        _define(flag, values)
    return values


def _define(flag: Flag, values: flags.FlagValues) -> None:
    """A study's own flag."""
    kinds = {
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
        tuple: flags.DEFINE_list,
    }
    default = list(flag.default) if isinstance(flag.default, tuple) else flag.default
    kinds[type(flag.default)](flag.name, default, flag.help, flag_values=values)


def parse(study: Study, argv: Sequence[str]) -> Options:
    """The options of a command line, without the names of program and study.

    Raises:
      InputError: for a flag, a config or a number of seeds that cannot be.
    """
    overrides = tuple(arg for arg in argv if arg.startswith(OVERRIDE))
    if incomplete := [arg for arg in overrides if "=" not in arg]:
        raise InputError(f"{incomplete[0]} needs =VALUE")
    values = define_flags(study)
    with told_in_one_line(argv, "--help lists the flags"):
        rest = values([study.name, *(arg for arg in argv if arg not in overrides)])
    if len(rest) > 1:
        raise InputError(f"unexpected argument {rest[1]!r}; every option starts with --")
    if values.seeds is not None and study.seeds is None:
        raise InputError(f"{study.name} is of one seed; it takes no --seeds")
    if values.workdir and not study.workdir:
        raise InputError(f"{study.name} needs no runs; it takes no --workdir")
    least = 1 if study.seeds else 0
    if values.seeds is not None and values.seeds < least:
        raise InputError(f"--seeds={values.seeds}: {study.name} takes {least} or more")
    out = user_path(values.out) if values.out else None
    return Options(
        config_file=values.config,
        config=load_config(values.config, overrides) if values.config else None,
        overrides=overrides,
        workdir=user_path(values.workdir),
        out=out,
        seeds=values.seeds,
        own={flag.name: values[flag.name].value for flag in study.flags},
        earlier=results.read(out, study.name),
    )


def describe(program: str, study: Study) -> str:
    """What --help says of a study."""
    lines = [study.doc.strip(), "", f"python -m {program} {study.name} [flags]", ""]
    values = define_flags(study)
    names = ["config", "workdir", "seeds", "out", *(flag.name for flag in study.flags)]
    for name in names:
        value = values[name].default_as_str
        lines.append(f"  --{name}={value or ''}\n      {values[name].help}")
    return "\n".join(lines)


# 3. Running.


def measure(study: Study, options: Options, command: str) -> None:
    """Runs a study, writes its results as they come, and prints the last."""
    measured, text = results.measured_now(command, study.configs(options)), ""
    for found in study.run(options):
        carried = results.carry_over(found, options.earlier, measured)
        text = results.write(options.out, study, found, carried)
    print(text)


def main(
    program: str,
    studies: Mapping[str, Study],
    argv: Sequence[str],
    *,
    commands: Mapping[str, Command] | None = None,
) -> int:
    """Runs what the command line asks for; returns the exit status.

    Args:
      program: the package, as after `python -m`.
      commands: beside the studies; each takes `--out` alone.
    """
    commands = commands or {}
    flags.FLAGS.mark_as_parsed()  # nothing is asked of absl's own flags
    quieten_orbax()
    name, *rest = argv or ["--help"]
    if name in HELP:
        print(usage(program, studies, commands))
        return 0
    try:
        if name in commands:
            commands[name](_out_alone(name, rest))
        elif name not in studies:
            known = ", ".join([*studies, *commands])
            raise InputError(f"{name!r} is no study; choose among {known}")
        elif set(HELP) & set(rest):
            print(describe(program, studies[name]))
        else:
            study = studies[name]
            measure(study, parse(study, rest), shlex.join(["python", "-m", program, *argv]))
    except (InputError, Interrupted) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return error.status
    return 0


def _out_alone(name: str, argv: Sequence[str]) -> Path:
    """The folder of results that a command is given."""
    values = flags.FlagValues()
    flags.DEFINE_string("out", results.RESULTS, "Folder of the results.", flag_values=values)
    with told_in_one_line(argv, f"{name} takes --out alone"):
        rest = values([name, *argv])
    if len(rest) > 1:
        raise InputError(f"unexpected argument {rest[1]!r}; {name} takes --out alone")
    return user_path(values.out)


def usage(program: str, studies: Mapping[str, Study], commands: Mapping[str, Command]) -> str:
    """What there is."""
    lines = [f"python -m {program} NAME [flags]    (NAME --help for its flags)", ""]
    said = {study.name: study.title for study in studies.values()}
    said |= {name: command.__doc__.strip().splitlines()[0] for name, command in commands.items()}
    width = max(map(len, said))
    return "\n".join(lines + [f"  {name:{width}}  {title}" for name, title in said.items()])
