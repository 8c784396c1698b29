"""What happens to a classifier when a region is taken from it: the audit's claim put to the test.

    python benchmarks/intervention.py --config=configs/covid.py:cpu --workdir=runs/covid

Needs a finished run, whose audit stands beside the results. Of every region the table says

  evidence           the audit's, in logits and as a share of the whole;
  filled             f itself on test films with the region filled in: its AUROC, and how much of
                     the gap between the classes' mean margins is gone;
  retrained without  a classifier taught and tested on such films;
  retrained on       one taught and tested on films with everything else filled in.

Filled in means: every pixel has the training films' mean over that region. The retrained figures
are repeated with the films split by another column of their metadata, where there is one: what a
region is worth where hospitals differ. Writes benchmarks/results/intervention.json and .md.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import ml_collections
import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.markdown import cell  # noqa: E402
from cxr_jax import audit, data, metrics, records, train_classifier, train_evaluators  # noqa: E402
from cxr_jax.data import Arrays  # noqa: E402

BOOTSTRAP = (2000, 0)

Masks = Mapping[str, np.ndarray]  # by split [N, h, w, 1] bool


class Films(NamedTuple):
    """The splits of one column of the metadata, and each region's masks by split."""

    splits: Mapping[str, Arrays]
    regions: Mapping[str, Masks]


def find_regions(
    config: ml_collections.ConfigDict, workdir: Path, splits: Mapping[str, Arrays]
) -> dict[str, Masks]:
    """The audit's regions of real films, by the run's own segmenter."""
    network, params = train_evaluators.load_segmenter(config, workdir)
    found = {
        split: audit.film_regions(train_evaluators.find_lungs(network, params, arrays["image"]))
        for split, arrays in splits.items()
    }
    return {name: {split: found[split][name] for split in found} for name in found["train"]}


def complement(masks: Masks) -> Masks:
    """Everything else."""
    return {split: ~mask for split, mask in masks.items()}


def fill(splits: Mapping[str, Arrays], masks: Masks) -> dict[str, Arrays]:
    """The films with the region's pixels at the training films' mean over it."""
    level = np.uint8(round(splits["train"]["image"][masks["train"]].mean()))
    return {
        split: {**arrays, "image": np.where(masks[split], level, arrays["image"])}
        for split, arrays in splits.items()
    }


def auroc(margin: np.ndarray, label: np.ndarray) -> dict:
    """With the bootstrap's interval over films."""
    picks = metrics.resamples(len(label), *BOOTSTRAP)
    each = [metrics.auroc(margin[pick], label[pick]) for pick in picks if np.ptp(label[pick])]
    return {
        "mean": metrics.auroc(margin, label),
        "ci95": metrics.interval(np.array(each)),
        "images": len(label),
    }


def class_gap(margin: np.ndarray, label: np.ndarray) -> float:
    """Mean margin of the positives less that of the negatives."""
    return float(margin[label == 1].mean() - margin[label == 0].mean())


def fill_same(
    config: ml_collections.ConfigDict, workdir: Path, films: Films
) -> dict[str, dict[str, dict | float]]:
    """f on films with each region filled, and on whole films (region "none")."""
    size = config.data.image_size
    network, params = train_classifier.load(config.classifier, size, workdir / "classifier")
    label = films.splits["test"]["label"]
    ask = lambda splits: train_classifier.margins(network, params, splits["test"]["image"])
    whole = ask(films.splits)
    table = {"none": {"auroc": auroc(whole, label), "gap_lost": 0.0}}
    for name, masks in films.regions.items():
        margin = ask(fill(films.splits, masks))
        lost = 1 - class_gap(margin, label) / class_gap(whole, label)
        table[name] = {"auroc": auroc(margin, label), "gap_lost": lost}
    return table


def retrain(
    config: ml_collections.ConfigDict, directory: Path, splits: Mapping[str, Arrays]
) -> dict:
    """Test AUROC of a classifier of the same section taught on these films; kept when finished."""
    if not records.is_done(directory):
        section, size = config.classifier, config.data.image_size
        train_classifier.train(section, size, config.seed, directory, splits)
        network, params = train_classifier.load(section, size, directory)
        margin = train_classifier.margins(network, params, splits["test"]["image"])
        figures = auroc(margin, splits["test"]["label"])
        records.mark_done(directory, **figures)
    done = records.read_json(directory / "done.json")
    return {name: done[name] for name in ("mean", "ci95", "images")}


def retrain_all(config: ml_collections.ConfigDict, directory: Path, films: Films) -> dict:
    """Every region left out, and every region alone; and whole films (region "none")."""
    table = {"none": {"without": retrain(config, directory / "none", films.splits)}}
    for name, masks in films.regions.items():
        table[name] = {
            "without": retrain(config, directory / f"no_{name}", fill(films.splits, masks)),
            "only": retrain(
                config, directory / f"only_{name}", fill(films.splits, complement(masks))
            ),
        }
    return table


def read_audit(workdir: Path) -> dict:
    """The audit of a finished run."""
    return json.loads((workdir / "explain" / "metrics.json").read_text())["audit"]


def ranking(values: Mapping[str, float]) -> list[str]:
    """Names, the largest value first."""
    return sorted(values, key=values.get, reverse=True)


def rank(audited: Mapping, same: Mapping, retrained: Mapping[str, Mapping]) -> dict[str, list[str]]:
    """What each way of asking calls the most important region, the second, ..."""
    regions = list(audited["evidence"])
    found = {"audit": ranking({name: audited["evidence"][name]["mean"] for name in regions})}
    found["filled, gap lost"] = ranking({name: same[name]["gap_lost"] for name in regions})
    for column, table in retrained.items():
        lost = {name: -table[name]["without"]["mean"] for name in regions}
        found[f"retrained without, {column}"] = ranking(lost)
        alone = {name: table[name]["only"]["mean"] for name in regions}
        found[f"retrained on, {column}"] = ranking(alone)
    return found


def to_markdown(result: Mapping) -> str:
    """The tables for people."""
    evidence, retrained = result["audit"]["evidence"], result["retrained"]
    whole = sum(entry["mean"] for entry in evidence.values())
    head = ["region", "evidence, logits", "share", "filled: AUROC", "gap lost"]
    for column in retrained:
        head += [f"without it, `{column}`", f"on it alone, `{column}`"]
    lines = ["## The audit and interventions on the classifier", ""]
    lines += [result["audit"]["verdict"], "", "| " + " | ".join(head) + " |"]
    lines += ["|---" * len(head) + "|"]
    for name, entry in result["filled"].items():
        cells = [name, cell(evidence.get(name))]
        cells += [f"{evidence[name]['mean'] / whole:.0%}" if name in evidence else "–"]
        cells += [cell(entry["auroc"]), f"{entry['gap_lost']:.0%}"]
        for table in retrained.values():
            cells += [cell(table[name]["without"]), cell(table[name].get("only"))]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| asked by | most important first |", "|---|---|"]
    lines += [f"| {name} | {', '.join(order)} |" for name, order in result["ranking"].items()]
    return "\n".join(lines) + "\n"


def load_films(config: ml_collections.ConfigDict, workdir: Path, column: str) -> Films:
    """The films split by a column of their metadata."""
    section = ml_collections.ConfigDict(config.data)
    section.split_column = column
    splits, _ = data.load_splits(section, config.seed)
    return Films(splits, find_regions(config, workdir, splits))


def main(argv: list[str]) -> None:
    """Measures and writes."""
    del argv
    logging.set_verbosity(logging.WARNING)  # Orbax narrates every load
    config, workdir = flags.FLAGS.config, Path(flags.FLAGS.workdir)
    out = Path(flags.FLAGS.out)
    films = {
        column: load_films(config, workdir, column)
        for column in (config.data.split_column, *flags.FLAGS.also_split_by)
    }
    audited = read_audit(workdir)
    same = fill_same(config, workdir, films[config.data.split_column])
    retrained = {
        column: retrain_all(config, workdir / "intervention" / column, each)
        for column, each in films.items()
    }
    result = {
        "audit": audited,
        "filled": same,
        "retrained": retrained,
        "ranking": rank(audited, same, retrained),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "intervention.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    (out / "intervention.md").write_text(to_markdown(result))
    print(to_markdown(result))


if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", "configs/covid.py:cpu", "The experiment.")
    flags.DEFINE_string("workdir", "runs/covid", "A finished run.")
    flags.DEFINE_list("also_split_by", "split_by_source", "Further columns to split the films by.")
    flags.DEFINE_string("out", "benchmarks/results", "Folder of the results.")
    app.run(main)
