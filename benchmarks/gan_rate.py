"""How many images a second does training a GAN reach, here and in another checkout?

Each checkout prepares films and classifiers once, then begins the GAN anew in every round, one
checkout after the other, in turns as to who is first. A rate is what the training itself wrote to
`gan/metrics.jsonl`: unlike `throughput --against` this asks nothing of the other checkout but its
command. The first line, which holds what is compiled, and the last, which holds the sample sheet,
are left out.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from benchmarks.make_run import Side, check_new
from benchmarks.throughput import spread, tell
from cxr_jax.errors import InputError
from cxr_jax.runtime.user_path import user_path
from experiments import runs
from experiments.markdown import table
from experiments.results import ROOT
from experiments.study import Flag, Options, Study

BEFORE = "classifier"  # the task that the GAN stands on
# Little of what is not timed. Lines of the GAN hold as many steps as its lazy penalty comes once
# in; two of four are counted.
SHORT = (
    *("--config.data.num_train=512", "--config.data.num_validation=64"),
    *("--config.data.num_test=64", "--config.classifier.num_steps=50"),
    *("--config.judge.num_steps=50", "--config.gan.num_steps=64", "--config.gan.log_every=16"),
)


def rate(workdir: Path) -> float:
    """Images a second of a GAN's training, of the lines between the first and the last."""
    written = (workdir / "gan" / "metrics.jsonl").read_text().splitlines()
    return float(np.mean([json.loads(line)["images_per_second"] for line in written[1:-1]]))


def run(options: Options) -> Iterator[dict]:
    """Round by round."""
    if not options.own["against"]:
        raise InputError("--against=DIR names the other checkout")
    folders = {"ours": ROOT, "other": user_path(options.own["against"]).absolute()}
    workdir = options.workdir.absolute()
    check_new(workdir)
    overrides = (*SHORT, *options.overrides)
    for name, folder in folders.items():
        Side(checkout=folder, workdir=workdir / name).take(BEFORE, options.config_file, overrides)
    found = {name: [] for name in folders}
    for number in range(options.own["rounds"]):
        for name in list(folders)[:: -1 if number % 2 else 1]:
            side = Side(checkout=folders[name], workdir=workdir / f"{name}{number}")
            runs.copy_finished([BEFORE], workdir / name, side.workdir)
            side.take("gan", options.config_file, overrides)
            found[name].append(rate(side.workdir))
        yield summary(found)


def summary(found: Mapping[str, list[float]]) -> dict[str, dict]:
    """Rates of both, and ours over the other's round by round."""
    rates = {name: np.asarray(each) for name, each in found.items()}
    rows = {name: spread(each) for name, each in rates.items()}
    return {"rounds": len(rates["ours"])} | rows | {"ratio": spread(rates["ours"] / rates["other"])}


def to_markdown(results: Mapping[str, Mapping]) -> str:
    """One row a checkout, and their ratio."""
    rows = [[name, tell(results[name])] for name in ("ours", "other", "ratio")]
    return "\n".join(table(["checkout", "images/s, median [least, most]"], rows)) + "\n"


STUDY = Study(
    name="gan_rate",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    config="configs/phantom.py",
    workdir="runs/gan_rate",
    flags=(
        Flag(name="rounds", default=3, help="In which the checkouts take turns."),
        Flag(name="against", default="", help="The other checkout."),
    ),
)
