"""How fast is every step, beside PyTorch's and beside another checkout's?

Each step is a process of its own; those of a group are ready together and take rounds in turn, so
that what else the machine does hits them all. A rate is the median of the rounds, with the least
and the most; a ratio that of the rounds' own ratios. Random pixels and untrained networks: a step's
speed does not depend on what it has learned. Where a round has 16 steps of the GAN, they hold the
lazy penalty once, which is its share in training; shorter rounds hold it in some and not in others.
"""

import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import ml_collections
import numpy as np

from benchmarks import step_costs
from benchmarks.contenders import matmul_gflop
from benchmarks.interleave import Entrant, Timed, race
from cxr_jax.errors import InputError
from cxr_jax.runtime.user_path import user_path
from experiments.command import load_config
from experiments.markdown import table
from experiments.results import RESULTS, ROOT, read
from experiments.study import Flag, Options, Study

FLOAT32 = tuple(f"--config.{section}.dtype=float32" for section in ("gan", "classifier", "judge"))
MATMUL = "matrix product"
AGAINST = ", other checkout"
R1_EVERY = 16  # steps of our GAN; a round of it has as many


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ours:
    """A step of ours.

    Attributes:
      name: of `contenders.CONTENDERS`.
      steps: in a round.
      keeps: whether it finds the programs that were compiled before.
    """

    name: str
    config: str = "configs/phantom.py"
    overrides: tuple[str, ...] = ()
    steps: int
    keeps: bool = True

    def entrant(self, folder: Path) -> Entrant:
        """Its worker, of the checkout in `folder`."""
        module = [sys.executable, "-m", "benchmarks.worker"]
        return Entrant(
            command=[*module, self.name, self.config, *self.overrides],
            folder=folder,
            environment={**os.environ, "JAX_ENABLE_COMPILATION_CACHE": str(self.keeps)},
            steps=self.steps,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Theirs:
    """A step in PyTorch, of `benchmarks/peers`."""

    name: str
    flags: tuple[str, ...] = ()
    steps: int

    def entrant(self, python: str) -> Entrant:
        """Its worker, by an interpreter that has PyTorch."""
        return Entrant(
            command=[python, "-m", "benchmarks.peers.worker", self.name, *self.flags],
            folder=ROOT,
            environment=os.environ,
            steps=self.steps,
        )


BF16, COMPILED, VGG16 = "--mode=bf16", "--mode=compile", "--classifier=vgg16"
AT_128 = "--size=128"
GROUPS: dict[str, dict[str, Ours | Theirs]] = {
    "classifier": {
        "classifier": Ours(name="classifier", steps=8),
        "PyTorch": Theirs(name="classifier_step", steps=8),
        "PyTorch, bf16": Theirs(name="classifier_step", flags=(BF16,), steps=8),
        "PyTorch, compiled": Theirs(name="classifier_step", flags=(COMPILED,), steps=8),
    },
    "gan": {
        MATMUL: Ours(name="matmul", steps=20),
        "GAN": Ours(name="gan", steps=R1_EVERY),
        "paper's GAN": Ours(name="gan", config="configs/paper.py:64", steps=4),
        "paper's GAN in PyTorch": Theirs(name="paper_gan_step", steps=4),
        "the same, bf16": Theirs(name="paper_gan_step", flags=(BF16,), steps=4),
        "the same, compiled": Theirs(name="paper_gan_step", flags=(COMPILED,), steps=4),
        "the same as published, VGG16": Theirs(name="paper_gan_step", flags=(VGG16,), steps=1),
    },
    "gan_128": {
        "GAN": Ours(name="gan", config="configs/covid.py", overrides=FLOAT32, steps=R1_EVERY),
        "paper's GAN": Ours(name="gan", config="configs/paper.py", overrides=FLOAT32, steps=2),
        "paper's GAN in PyTorch": Theirs(name="paper_gan_step", flags=(AT_128,), steps=2),
    },
    "encoder": {"encoder": Ours(name="encoder", steps=8)},
    "first_step": {
        "GAN, its programs kept": Ours(name="gan", steps=2),
        "GAN, nothing kept": Ours(name="gan", steps=2, keeps=False),
    },
    "inversion": {
        "inversion": Ours(name="inversion", steps=2),
        "paper's in PyTorch, singly": Theirs(name="inversion", flags=("--batch=1",), steps=1),
        "paper's in PyTorch": Theirs(name="inversion", steps=1),
    },
    "latent_shift": {
        "Latent Shift": Ours(name="latent_shift", steps=2),
        "PyTorch": Theirs(name="latent_shift", steps=2),  # film by film
        "PyTorch, 32 films at once": Theirs(name="latent_shift", flags=("--batch=32",), steps=1),
    },
}  # fmt: skip

# Of claims.json: which row's images/s over which.
RATIOS = {
    "gan_step_vs_torch": ("gan", "GAN", "paper's GAN in PyTorch"),
    "gan_step_vs_torch_bf16": ("gan", "GAN", "the same, bf16"),
    "paper_step_vs_torch": ("gan", "paper's GAN", "paper's GAN in PyTorch"),
    "paper_step_128_vs_torch": ("gan_128", "paper's GAN", "paper's GAN in PyTorch"),
    "classifier_step_vs_torch": ("classifier", "classifier", "PyTorch"),
    "inversion_vs_torch": ("inversion", "inversion", "paper's in PyTorch"),
    "latent_shift_vs_torch": ("latent_shift", "Latent Shift", "PyTorch"),
    "latent_shift_vs_torch_at_once": (
        *("latent_shift", "Latent Shift", "PyTorch, 32 films at once"),
    ),
}


# 1. Measuring.


def entrants(
    group: Mapping[str, Ours | Theirs], *, against: Path | None, python: str
) -> dict[str, Entrant]:
    """The workers of a group; with another checkout, ours and its alone."""
    found = {}
    for name, step in group.items():
        if isinstance(step, Ours):
            found[name] = step.entrant(ROOT)
            if against:
                found[name + AGAINST] = step.entrant(against)
        elif not against:
            found[name] = step.entrant(python)
    return found


def describe(timed: Timed | str) -> dict:
    """A row; of one that cannot run here, why not."""
    if isinstance(timed, str):
        return {"reason": timed}
    return {
        "images_per_second": spread(timed.images / timed.seconds),
        "cores": round(timed.cores, 2),
        "peak_gib": round(timed.peak_gib, 2),
        "ready_seconds": round(timed.ready_seconds, 1),
    }


def spread(values: np.ndarray) -> dict[str, float]:
    """Median, least and most, to four digits."""
    kinds = {"median": np.median, "least": np.min, "most": np.max}
    return {name: float(f"{kind(values):.4g}") for name, kind in kinds.items()}


def ratio(fast: Timed, slow: Timed) -> dict[str, float]:
    """How many times as many images a second, round by round."""
    return spread(fast.images / fast.seconds / (slow.images / slow.seconds))


def ratios_of(group: str, timed: Mapping[str, Timed]) -> dict[str, dict]:
    """Of a group: those of `RATIOS`, ours to another checkout's, and the share of matmul."""
    found = {
        name: ratio(timed[over], timed[under])
        for name, (where, over, under) in RATIOS.items()
        if where == group and {over, under} <= timed.keys()
    }
    for name in timed:
        if name + AGAINST in timed:
            found[f"{name} against the other checkout"] = ratio(timed[name], timed[name + AGAINST])
    if group == "gan":
        reached = gan_gflop() / timed["GAN"].seconds
        found["share_of_matmul"] = spread(reached / (matmul_gflop() / timed[MATMUL].seconds))
    return found


def check_against(folder: Path) -> None:
    """Raises `InputError` if a checkout has no workers of its own."""
    if not (folder / "benchmarks" / "worker.py").exists():
        raise InputError(
            f"--against={folder} has no benchmarks/worker.py; compare whole commands by "
            "python -m benchmarks make_run --against=DIR"
        )


def run(options: Options) -> Iterator[dict]:
    """Times group by group, beside what is there of others."""
    names = options.own["only"] or tuple(GROUPS)
    if unknown := [name for name in names if name not in GROUPS]:
        raise InputError(f"--only={unknown[0]}: the groups are {', '.join(GROUPS)}")
    against = user_path(options.own["against"]).absolute() if options.own["against"] else None
    if against:
        check_against(against)
    results = dict(options.known)
    for name in names:
        workers = entrants(GROUPS[name], against=against, python=options.own["torch"])
        found = race(workers, options.own["rounds"])
        timed = {row: each for row, each in found.items() if isinstance(each, Timed)}
        devices = next(each.devices for each in timed.values())
        results[f"{name}{AGAINST if against else ''}, {devices}"] = {
            "rounds": options.own["rounds"],
            "rows": {row: describe(each) for row, each in found.items()},
            "ratios": ratios_of(name, timed),
        }
        yield dict(results)


def gan_gflop() -> float:
    """Of a step of row GAN, as `step_costs` has counted them."""
    recorded = read(ROOT / RESULTS, "step_costs")["results"][step_costs.CONFIGS[0]]
    return recorded["gan"]["gflop"] + recorded["penalty"]["gflop"] / R1_EVERY


# 2. Telling.


def to_markdown(results: Mapping[str, Mapping]) -> str:
    """A table for each group, and one of all ratios."""
    parts = []
    for name, group in results.items():
        head = [name, "images/s", "busy cores", "peak memory, GiB", "seconds to the third step"]
        rows = [[row, *cells(each)] for row, each in group["rows"].items()]
        parts.append("\n".join(table(head, rows)))
    ratios = [
        [f"`{name}`", tell(each)]
        for group in results.values()
        for name, each in group["ratios"].items()
    ]
    parts.append("\n".join(table(["ratio", "median [least, most]"], ratios)))
    return "\n\n".join(parts) + "\n"


def cells(row: Mapping) -> list[str]:
    """A row without its name."""
    if "reason" in row:
        return [row["reason"], "–", "–", "–"]
    figures = (cell(row[name]) for name in ("cores", "peak_gib", "ready_seconds"))
    return [tell(row["images_per_second"]), *figures]


def cell(figure: float | None) -> str:
    """A figure, which may be unknown."""
    return "–" if figure is None else f"{figure:g}"


def tell(values: Mapping[str, float]) -> str:
    """Median and range."""
    return f"{values['median']:g} [{values['least']:g}, {values['most']:g}]"


def configs(options: Options) -> dict[str, ml_collections.ConfigDict]:
    """Those of our steps."""
    del options  # every step has a config of its own
    return {
        f"{group}, {row}": load_config(step.config, step.overrides)
        for group, steps in GROUPS.items()
        for row, step in steps.items()
        if isinstance(step, Ours)
    }


STUDY = Study(
    name="throughput",
    doc=__doc__,
    run=run,
    configs=configs,
    to_markdown=to_markdown,
    flags=(
        Flag(name="rounds", default=5, help="In which the workers of a group take turns."),
        Flag(name="only", default=(), help=f"Groups, of {', '.join(GROUPS)}; empty: all."),
        Flag(name="against", default="", help="Another checkout, timed in the peers' stead."),
        Flag(name="torch", default=sys.executable, help="An interpreter that has PyTorch."),
    ),
)
