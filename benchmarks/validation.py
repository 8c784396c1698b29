"""What GANs of other weights are worth on validation films: by this a config is chosen.

    python benchmarks/validation.py --workdirs=runs/one,runs/another

Explains validation films as `main.py` explains test films, along `linear` alone, with finished GANs
and encoders (`--task=explain` is not needed) and with each run's own config. Besides the figures of
merit: how much more of the change lies on look-alikes than they have of the film's area. Writes
benchmarks/results/validation.json and .md, beside what it wrote of other runs.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import ml_collections
import numpy as np
from absl import app, flags, logging

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import runs  # noqa: E402
from benchmarks.markdown import markdown_table  # noqa: E402
from cxr_jax.data import arrays
from cxr_jax.pipeline import explain
from cxr_jax import metrics
from cxr_jax.runtime import precision
from cxr_jax.runtime import workdir
from cxr_jax.evaluate import scores
from cxr_jax.report import tables
from cxr_jax.explain.explained import Calibration
from cxr_jax.explain.explained import Group
from cxr_jax.explain.paths import DIRECTIONS
from cxr_jax.explain.explainer import make_tools

BOOTSTRAP = (2000, 0)
APART = ("seed", "gan.seed", "data.cache_dir", "evaluators.names")  # no choice between methods
COLUMNS = (
    *("flip_rate", "flip_rate_to_positive", "twin_error"),
    *("on_target", "pixel_auroc_lung", "lookalike", "less_area"),
)


def read_config(workdir: Path) -> ml_collections.ConfigDict:
    """The config that a run was made with."""
    return ml_collections.ConfigDict(workdir.read_json(workdir / "config.json"))


def along_linear(config: ml_collections.ConfigDict, images: int) -> ml_collections.ConfigDict:
    """The same, but for what is explained: as many films and path `linear` alone."""
    config = config.copy_and_resolve_references()
    chosen = dict(images=images, skip=0, films=(), paths=("linear",), maps=("latent",))
    config.explain.update(chosen)
    return config


def differences(config: Mapping, other: Mapping) -> str:
    """The fields in which a config differs from the other, with their values."""
    mine, theirs = workdir.flatten(config), workdir.flatten(other)
    return ", ".join(
        f"{field} {value}"
        for field, value in mine.items()
        if value != theirs.get(field) and field not in APART
    )


def summarise(positives: Group, negatives: Group, known: Calibration) -> dict[str, dict]:
    """The figures of walks along `linear`, of films that pass the gate."""
    towards, back = (DIRECTIONS[name] for name in ("pos_to_neg", "neg_to_pos"))
    walked = tables.path_scores(positives, known.thresholds, known.reach, towards)["linear"]
    returned = tables.path_scores(negatives, known.thresholds, known.reach, back)["linear"]
    ended = end_walk(positives.walks["linear"][0], known.thresholds, towards)
    by_map = scores.score_map(np.abs(ended.change), positives.truth)
    area = scores.harmless(positives.truth).mean(axis=(1, 2, 3))
    each = {
        **{name: scores.by_film(walked[name]) for name in ("flip_rate", "twin_error")},
        **{name: by_map[name] for name in ("on_target", "pixel_auroc_lung", "lookalike")},
        "less_area": by_map["lookalike"] - area,
        "flip_rate_to_positive": scores.by_film(returned["flip_rate"]),
    }
    return {name: metrics.summarise(values, *BOOTSTRAP) for name, values in each.items()}


@precision.exactly
def measure(config: ml_collections.ConfigDict, workdir: Path) -> dict[str, dict]:
    """The figures of one run's GAN."""
    splits, _ = arrays.load_splits(config.data, config.seed)
    tools = make_tools(config, workdir, splits)
    known = calibrate(tools, splits, config.explain, config.seed)
    explained = explain.explain_test(tools, splits["validation"], known, config.explain)
    return summarise(*(explained.groups[name] for name in ("pos_to_neg", "neg_to_pos")), known)


def to_markdown(table: Mapping[str, Mapping]) -> str:
    """The table for people."""
    first = next(iter(table.values()))["config"]
    rows = {}
    for name, entry in table.items():
        changed = differences(entry["config"], first)
        rows[f"{name}: {changed}" if changed else name] = entry["figures"]
    return (
        "## Validation films, path `linear`\n\n"
        "`less_area`: `lookalike` less the look-alikes' share of the film, film by film. Beside a "
        "run's name is what its config has otherwise than the first one's, seeds aside.\n\n"
    ) + f"{markdown_table(rows, COLUMNS, 'run')}\n"


def main(argv: list[str]) -> None:
    """Measures and writes, beside what is there of other runs."""
    del argv
    logging.set_verbosity(logging.WARNING)  # Orbax narrates every load
    out = Path(flags.FLAGS.out)
    table = runs.read_results(out, "validation")
    for workdir in (Path(name) for name in flags.FLAGS.workdirs):
        if not workdir.is_done(workdir / "encoder"):
            sys.exit(f"validation.py: {workdir / 'encoder'} is not complete; run main.py first")
        config = along_linear(read_config(workdir), flags.FLAGS.images)
        if config.data.name != "cxr_phantom":
            sys.exit(f"validation.py: {workdir} is of real films, whose truth nobody knows")
        figures = measure(config, workdir)
        table[str(workdir)] = {"config": config.to_dict(), "figures": figures}
        runs.write_results(out, "validation", table, to_markdown(table))


if __name__ == "__main__":
    flags.DEFINE_list("workdirs", ["runs/phantom"], "Runs whose GAN and encoder are finished.")
    flags.DEFINE_integer("images", 200, "Validation films walked, half of them called positive.")
    flags.DEFINE_string("out", "benchmarks/results", "Folder of the results.")
    app.run(main)
