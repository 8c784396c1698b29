"""Compiles every step for TPU v5e, on a machine without one, and reads what comes out.

    make tpu-check

The compiler is the real one (libtpu, as `jax[tpu]` brings it); only the chips are absent. So the
programs, their memory and their collectives are facts, and their times the compiler's estimates.
Each chip gets as many images as the config's batch has, whatever the number of chips: weak scaling.
What is in the results already, and unchanged, is not compiled again. A machine of few cores takes
most of an hour at the default effort, and many hours at the compiler's own, which is 0. Writes
benchmarks/results/tpu_check.json and .md; the exit status is 1 if a step does not fit a chip.
"""

import hashlib
import importlib
import importlib.metadata
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import ml_collections
from absl import app, flags
from jax.experimental import topologies

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import hlo, steps  # noqa: E402

CONFIGS = ("phantom:full", "covid", "paper")

# The smallest topology there is has four chips; the first of them is a machine of one.
TOPOLOGIES = {1: "v5e:2x2", 8: "v5e:2x4", 256: "v5e:16x16"}

# A v5e chip as Google publishes it: bfloat16 operations and bytes a second, bytes of memory, bytes
# a second to the other chips (1,600 Gbit/s).
PEAK_FLOPS, PEAK_BYTES, MEMORY, LINK_BYTES = 197e12, 819e9, 16e9, 200e9


def load_config(name: str) -> ml_collections.ConfigDict:
    """The config of "NAME" or "NAME:variant"."""
    module, _, variant = name.partition(":")
    return importlib.import_module(f"configs.{module}").get_config(variant)


def chips_of(number: int) -> Sequence[jax.Device]:
    """The chips to compile for; they need not exist."""
    return topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGIES[number]).devices[
        :number
    ]


def estimated_seconds(cost: Mapping[str, float], text: str) -> float:
    """`optimal_seconds` without the -1 that each `ConcatBitcast` has in it for "unknown".

    Those move nothing: they say that pieces which were fetched separately lie side by side.
    """
    seconds = cost["optimal_seconds"] + text.count('custom_call_target="ConcatBitcast"')
    return seconds if 0 < seconds < 1 else math.nan


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
        "images_per_second": chips * step.images / seconds,
        "compute_share": cost["flops"] / PEAK_FLOPS / seconds,
        "memory_share": cost["bytes accessed"] / PEAK_BYTES / seconds,
        "padding": hlo.padding(text),
        "hbm_bytes": memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes,
        "collectives": {kind: each._asdict() for kind, each in found.items()},
        "link_seconds": link_seconds(found, chips),
    }


def link_seconds(found: Mapping[str, hlo.Collective], chips: int) -> float:
    """What the collectives take at the published speed, at least: each chip sends every byte twice.

    `optimal_seconds` knows nothing of the links between chips.
    """
    return 2 * (chips - 1) / chips * sum(each.bytes for each in found.values()) / LINK_BYTES


def check(config: ml_collections.ConfigDict, name: str, chips: int, known: Mapping) -> dict:
    """One row: compiles a step, unless the row `known` is of the very same program."""
    step = steps.STEPS[name](config, chips_of(chips))
    lowered = step.lower(chips)
    program = lowered.as_text()
    loops = {"loops": program.count("stablehlo.while")}
    row = {
        "program": hashlib.sha256(program.encode()).hexdigest()[:16],
        "compiler": compiler(),
        "effort": jax.config.jax_exec_time_optimization_effort,
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
    return "memory" if row["memory_share"] > row["compute_share"] else "compute"


def say_collectives(row: Mapping) -> str:
    """Such as "1 all-reduce, 5.0 MB"."""
    each = row["collectives"].items()
    parts = [f"{c['count']} {kind}, {c['bytes'] / 1e6:.2f} MB" for kind, c in each]
    return "; ".join(parts) or "none"


HEADER = (
    *("config", "step", "chips", "images a chip", "GFLOP", "MB moved", "optimal ms", "images/s"),
    *("bound by", "of peak FLOP/s", "padding", "HBM GB", "collectives", "links ms"),
)


def table_row(row: Mapping) -> str:
    """A line of the table."""
    name = f"| {row['config']} | {row['step']} | {row['chips']} |"
    if "flops" not in row:
        return f"{name} does not fit: {row['error']} |"
    cells = (
        f"{row['images_per_chip']}",
        f"{row['flops'] / 1e9:.1f}",
        f"{row['bytes'] / 1e6:.0f}",
        f"{row['optimal_seconds'] * 1e3:.2f}",
        "–" if row["loops"] else f"{row['images_per_second']:,.0f}",
        bound_by(row),
        f"{row['compute_share']:.1%}",
        f"{row['padding']:.1f}",
        f"{row['hbm_bytes'] / 1e9:.2f}" + ("" if row["fits"] else " (does not fit)"),
        say_collectives(row),
        f"{row['link_seconds'] * 1e3:.3f}",
    )
    return f"{name} {' | '.join(cells)} |"


def report(rows: Sequence[Mapping]) -> str:
    """The results as Markdown."""
    lines = [
        "# Compiled for TPU v5e, without one",
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
        f"| {' | '.join(HEADER)} |",
        "|" + "---|" * len(HEADER),
        *(table_row(row) for row in rows),
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


def main(argv: list[str]) -> int:
    del argv
    use_absent_chips()
    jax.config.update("jax_exec_time_optimization_effort", flags.FLAGS.effort)
    path = Path(flags.FLAGS.out) / "tpu_check.json"
    stored = json.loads(path.read_text()) if path.exists() else []
    rows = {(row["config"], row["step"], row["chips"]): row for row in stored}
    asked = []
    for config_name in flags.FLAGS.configs:
        config = load_config(config_name)
        taken = steps.names(config)
        for step in [name for name in flags.FLAGS.steps or taken if name in taken]:
            for chips in map(int, flags.FLAGS.chips):
                key = config_name, step, chips
                known = rows[key] if key in rows else {}
                row = dict(config=config_name, step=step, chips=chips)
                rows[key] = row | check(config, step, chips, known)
                asked.append(rows[key])
                print(table_row(rows[key]), flush=True)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(in_order(rows), indent=2) + "\n")
                path.with_suffix(".md").write_text(report(in_order(rows)))
    misfits = [row for row in asked if not row["fits"]]
    print(f"{len(asked)} programs, {len(misfits)} do not fit {MEMORY / 1e9:.0f} GB of memory")
    return 1 if misfits else 0


if __name__ == "__main__":
    flags.DEFINE_list("configs", list(CONFIGS), "Experiments, NAME or NAME:variant.")
    flags.DEFINE_list("steps", "", "Only these steps; all if empty.")
    flags.DEFINE_list("chips", "1,8,256", "Numbers of chips.")
    flags.DEFINE_float("effort", -0.5, "The compiler's, to make programs fast: -1 to 1.")
    flags.DEFINE_string("out", "benchmarks/results", "Folder of the results.")
    app.run(main)
