"""Does every step compile for TPU v5e and fit its memory? Asked on a machine without one.

The compiler is the real one (libtpu, as `jax[tpu]` brings it); only the chips are absent. So the
programs, their memory and their collectives are facts, and their times the compiler's estimates.
Each chip gets as many images as the config's batch has, whatever the number of chips: weak scaling.
What is in the results already, and unchanged, is not compiled again. A machine of few cores takes
most of an hour at the default effort, and many hours at the compiler's own, which is 0. The exit
status is 1 if a step does not fit a chip.
"""

import dataclasses
import hashlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import jax
import ml_collections
from jax.experimental import topologies

from benchmarks import hlo, steps
from cxr_jax.errors import InputError
from experiments import command, markdown
from experiments.study import Flag, Options, Study

CONFIGS = ("phantom:full", "covid", "paper")

# The smallest topology there is has four chips; the first of them is a machine of one.
TOPOLOGIES = {1: "v5e:2x2", 8: "v5e:2x4", 256: "v5e:16x16"}

EFFORT = "jax_exec_time_optimization_effort"  # an option of JAX until 0.11

# A v5e chip as Google publishes it: bfloat16 operations and bytes a second, bytes of memory, bytes
# a second to the other chips (1,600 Gbit/s).
PEAK_FLOPS, PEAK_BYTES, MEMORY, LINK_BYTES = 197e12, 819e9, 16e9, 200e9


def load_config(name: str, overrides: Sequence[str] = ()) -> ml_collections.ConfigDict:
    """The config of "NAME" or "NAME:variant"."""
    file, colon, variant = name.partition(":")
    return command.load_config(f"configs/{file}.py{colon}{variant}", overrides)


def chips_of(number: int) -> Sequence[jax.Device]:
    """The chips to compile for; they need not exist."""
    return topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGIES[number]).devices[
        :number
    ]


def estimated_seconds(cost: Mapping[str, float], text: str) -> float | None:
    """`optimal_seconds` without the -1 that each `ConcatBitcast` has in it; None if unknown.

    Those move nothing: they say that pieces which were fetched separately lie side by side.
    """
    seconds = cost["optimal_seconds"] + text.count('custom_call_target="ConcatBitcast"')
    return seconds if 0 < seconds < 1 else None


def over(amount: float, seconds: float | None) -> float | None:
    """An amount over the seconds, where those are known."""
    return None if seconds is None else amount / seconds


def measure(step: steps.Step, compiled: jax.stages.Compiled, chips: int) -> dict:
    """What the compiler says of one step; everything but `images_per_second` is of one chip."""
    cost, memory, text = compiled.cost_analysis(), compiled.memory_analysis(), compiled.as_text()
    seconds = estimated_seconds(cost, text)
    found = hlo.collectives(text)
    return {
        "images_per_chip": step.images,
        "flops": cost["flops"],
        "bytes": cost["bytes accessed"],
        "optimal_seconds": seconds,
        "images_per_second": over(chips * step.images, seconds),
        "compute_share": over(cost["flops"] / PEAK_FLOPS, seconds),
        "memory_share": over(cost["bytes accessed"] / PEAK_BYTES, seconds),
        "padding": hlo.padding(text),
        "hbm_bytes": memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes,
        "collectives": {kind: dataclasses.asdict(each) for kind, each in found.items()},
        "link_seconds": link_seconds(found, chips),
    }


def link_seconds(found: Mapping[str, hlo.Collective], chips: int) -> float:
    """What the collectives take at the published speed, at least: each chip sends every byte twice.

    `optimal_seconds` knows nothing of the links between chips.
    """
    return 2 * (chips - 1) / chips * sum(each.bytes for each in found.values()) / LINK_BYTES


def set_effort(effort: float) -> None:
    """Tells the compiler how hard to try.

    Raises:
      InputError: if this JAX cannot tell it: 0.12 has dropped the option.
    """
    if hasattr(jax.config, EFFORT):
        jax.config.update(EFFORT, effort)
    elif effort != 0:
        raise InputError(
            f"--effort={effort:g}: JAX {jax.__version__} cannot set the compiler's effort; "
            "pass --effort=0, which takes many hours, or install jax<0.12"
        )


def check(
    config: ml_collections.ConfigDict, name: str, chips: int, *, effort: float, known: Mapping
) -> dict:
    """One row: compiles a step, unless the row `known` is of the very same program."""
    step = steps.STEPS[name](config, chips_of(chips))
    lowered = step.lower(chips)
    program = lowered.as_text()
    loops = {"loops": program.count("stablehlo.while")}
    row = {
        "program": hashlib.sha256(program.encode()).hexdigest()[:16],
        "compiler": compiler(),
        "effort": effort,
    }
    if all(name in known and known[name] == value for name, value in row.items()):
        return dict(known) | loops
    row |= loops
    try:
        row |= measure(step, lowered.compile(), chips)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return row | {"fits": False, "error": str(error).splitlines()[0]}
    return row | {"fits": row["hbm_bytes"] <= MEMORY}


def compiler() -> str:
    """Which compiler it was."""
    return " ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("jax", "jaxlib", "libtpu")
    )


def bound_by(row: Mapping) -> str:
    """Which of the chip's limits the compiler's estimate comes closest to."""
    if row["memory_share"] is None:
        return "unknown"
    return "memory" if row["memory_share"] > row["compute_share"] else "compute"


def told(figure: float | None, form: Callable[[float], str]) -> str:
    """A figure, where the compiler has an estimate."""
    return "unknown" if figure is None else form(figure)


def say_collectives(row: Mapping) -> str:
    """Such as "1 all-reduce, 5.0 MB"."""
    each = row["collectives"].items()
    parts = [f"{c['count']} {kind}, {c['bytes'] / 1e6:.2f} MB" for kind, c in each]
    return "; ".join(parts) or "none"


HEADER = (
    *("config", "step", "chips", "images a chip", "GFLOP", "MB moved", "optimal ms", "images/s"),
    *("bound by", "of peak FLOP/s", "padding", "HBM GB", "collectives", "links ms"),
)


def cells(row: Mapping) -> list[str]:
    """A line of the table."""
    name = [row["config"], row["step"], f"{row['chips']}"]
    if "flops" not in row:
        return [*name, f"does not fit: {row['error']}"]
    return [
        *name,
        f"{row['images_per_chip']}",
        f"{row['flops'] / 1e9:.1f}",
        f"{row['bytes'] / 1e6:.0f}",
        told(row["optimal_seconds"], lambda seconds: f"{seconds * 1e3:.2f}"),
        "–" if row["loops"] else told(row["images_per_second"], "{:,.0f}".format),
        bound_by(row),
        told(row["compute_share"], "{:.1%}".format),
        f"{row['padding']:.1f}",
        f"{row['hbm_bytes'] / 1e9:.2f}" + ("" if row["fits"] else " (does not fit)"),
        say_collectives(row),
        f"{row['link_seconds'] * 1e3:.3f}",
    ]


def to_markdown(rows: Sequence[Mapping]) -> str:
    """The table for people."""
    lines = [
        "## Compiled for TPU v5e, without one",
        "",
        f"*Compiler estimates, not measurements* ({said(rows, 'compiler')}). Every figure but",
        "images/s is of one chip. `optimal ms` is the compiler's `optimal_seconds`, each operation",
        "at the chip's limits; it leaves out the links between chips, which stand at the right",
        f"(bytes at the published {LINK_BYTES / 1e9:.0f} GB/s). *Bound by* is the limit that the",
        "estimate is closer to; *padding* is bytes written over bytes meant: the last two axes are",
        "stored in tiles of 8 by 128, of which few channels fill little. Of a loop (an attack, an",
        "inversion, a walk) the compiler counts one turn: but for its memory such a row may be",
        "less than the whole step, and has no images/s. Compiled at",
        f"`--effort={said(rows, 'effort')}` of -1 to 1, where 0 is the compiler's own.",
        "",
        *markdown.table(HEADER, map(cells, rows)),
    ]
    return "\n".join(lines) + "\n"


def said(rows: Sequence[Mapping], field: str) -> str:
    """What stands in a field of the rows, each value once."""
    return ", ".join(sorted({str(row[field]) for row in rows}))


def in_order(rows: Mapping[tuple[str, str, int], Mapping]) -> list[Mapping]:
    """By config, step and number of chips, whatever was asked for first."""
    configs = [*CONFIGS, *sorted({config for config, *_ in rows} - set(CONFIGS))]
    names = list(steps.STEPS)
    place = lambda key: (configs.index(key[0]), names.index(key[1]), key[2])
    return [rows[key] for key in sorted(rows, key=place)]


def use_absent_chips() -> None:
    """Tells libtpu what it would otherwise ask the machine that it expects around it."""
    jax.config.update("jax_platforms", "cpu")
    os.environ |= {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-8",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
    }


def names_of(options: Options) -> list[str]:
    """The configs that are asked for, as the results call them."""
    if not options.config_file:
        return list(CONFIGS)
    file, colon, variant = options.config_file.partition(":")
    return [f"{Path(file).stem}{colon}{variant}"]


def configs(options: Options) -> dict[str, ml_collections.ConfigDict]:
    """Those configs."""
    return {name: load_config(name, options.overrides) for name in names_of(options)}


def run(options: Options) -> Iterator[list[Mapping]]:
    """Compiles what is missing; the rows so far."""
    use_absent_chips()
    effort, chosen = options.own["effort"], options.own["steps"]
    set_effort(effort)
    rows = {(row["config"], row["step"], row["chips"]): row for row in options.known or []}
    asked = []
    for name, config in configs(options).items():
        taken = steps.names(config)
        for step in [each for each in chosen or taken if each in taken]:
            for chips in map(int, options.own["chips"]):
                key = name, step, chips
                row = dict(config=name, step=step, chips=chips)
                rows[key] = row | check(config, step, chips, effort=effort, known=rows.get(key, {}))
                asked.append(rows[key])
                print(" | ".join(cells(rows[key])), flush=True)
                yield in_order(rows)
    misfits = [row for row in asked if not row["fits"]]
    print(f"{len(asked)} programs, {len(misfits)} do not fit {MEMORY / 1e9:.0f} GB of memory")
    if misfits:
        sys.exit(1)


STUDY = Study(
    name="tpu_check",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    flags=(
        Flag(name="steps", default=(), help="Only these steps; all if empty."),
        Flag(name="chips", default=("1", "8", "256"), help="Numbers of chips."),
        Flag(name="effort", default=-0.5, help="The compiler's, to make programs fast: -1 to 1."),
    ),
    configs=configs,
)
