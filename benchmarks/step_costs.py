"""How much does every step compute, and how many bytes does it touch?

Counted by XLA on a step's program before it is optimised, for one device: the same on every
machine, and not in seconds. The body of a loop is counted once, however often it is run: one update
of the inversion, one frame of a walk. A test holds the steps to what is recorded here.
"""

from collections.abc import Iterator, Mapping

import jax
import ml_collections

from benchmarks import steps
from experiments.command import load_config
from experiments.markdown import table
from experiments.study import Options, Study

CONFIGS = ("configs/phantom.py:full", "configs/paper.py:64")


def step_cost(config: ml_collections.ConfigDict, name: str) -> dict[str, float]:
    """Images, GFLOP and GB of a step."""
    step = steps.STEPS[name](config, jax.devices()[:1])
    cost = step.lower(1).cost_analysis()
    return {
        "images": step.images,
        "gflop": round(cost["flops"] / 1e9, 3),
        "gbyte": round(cost["bytes accessed"] / 1e9, 3),
    }


def to_markdown(results: Mapping[str, Mapping[str, Mapping]]) -> str:
    """One row a step."""
    head = ["config", "step", "images", "GFLOP", "GFLOP an image", "GB"]
    rows = [
        [
            config,
            name,
            str(cost["images"]),
            f"{cost['gflop']:.2f}",
            f"{cost['gflop'] / cost['images']:.3f}",
            f"{cost['gbyte']:.2f}",
        ]
        for config, costs in results.items()
        for name, cost in costs.items()
    ]
    return "\n".join(table(head, rows)) + "\n"


def configs(options: Options) -> dict[str, ml_collections.ConfigDict]:
    """Those whose steps are counted."""
    return {file: load_config(file, options.overrides) for file in CONFIGS}


def run(options: Options) -> Iterator[dict]:
    """Counts."""
    yield {
        file: {name: step_cost(config, name) for name in steps.names(config)}
        for file, config in configs(options).items()
    }


STUDY = Study(name="step_costs", doc=__doc__, run=run, to_markdown=to_markdown, configs=configs)
