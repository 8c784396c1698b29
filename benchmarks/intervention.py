"""What happens to a classifier when a region is taken from it: the audit's claim put to the test.

    python benchmarks/intervention.py --config=configs/covid.py:cpu --workdir=runs/covid

Needs a finished run of real films, whose audit stands beside the results. Of every region it says

  evidence           the audit's, of the positives that it covers, in logits and as a share;
  filled             f itself on the test films with the region filled in: its AUROC, and how much
                     of the gap between the classes' mean margins is gone;
  exchanged          the same with the region of another test film, drawn at random;
  retrained without  a classifier taught and tested on such films;
  retrained on       one taught and tested on films with everything else filled in.

Filled in means: every pixel has the training films' mean over that region. To f, which never saw
such films, the grey is a change in itself; what is exchanged has seams but no grey. A film's lungs,
filled, still show their outline, which may give the class away; the row `outline` is a classifier
of films that show nothing else. With --also_split_by=COLUMN classifiers are also retrained where
another column of the metadata splits the films: what a region is worth where hospitals differ. One
training each. Writes benchmarks/results/intervention.json and .md; what is trained is not trained
again.
"""

import hashlib
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import ml_collections
import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import runs  # noqa: E402
from benchmarks.markdown import cell  # noqa: E402
from cxr_jax import audit, data, metrics, records, train_classifier, train_evaluators  # noqa: E402
from cxr_jax.data import Arrays  # noqa: E402

BOOTSTRAP = (2000, 0)
EXCHANGES = 10

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


def exchange(image: np.ndarray, mask: np.ndarray) -> Iterator[np.ndarray]:
    """The films [N, h, w, 1], each with its region's pixels from another; several times over."""
    rng = np.random.Generator(np.random.Philox(0))
    for _ in range(EXCHANGES):
        shift = rng.integers(1, len(image))  # of a random order: nobody is his own partner
        order = rng.permutation(len(image))
        partner = np.empty_like(order)
        partner[order] = np.roll(order, shift)
        yield np.where(mask, image[partner], image)


def over_films(figure: Callable[[np.ndarray], float], label: np.ndarray) -> dict:
    """A figure of rows of films, with the bootstrap's interval over films of both classes."""
    picks = metrics.resamples(len(label), *BOOTSTRAP)
    each = np.array([figure(pick) for pick in picks if np.ptp(label[pick])])
    return {
        "mean": figure(np.arange(len(label))),
        "ci95": metrics.interval(each),
        "images": len(label),
    }


def auroc(margin: np.ndarray, label: np.ndarray) -> dict:
    """With its interval."""
    return over_films(lambda pick: metrics.auroc(margin[pick], label[pick]), label)


def gap_lost(margin: np.ndarray, whole: np.ndarray, label: np.ndarray) -> dict:
    """The share of the gap on `whole` films that is gone, its interval over the same films."""

    def share(pick: np.ndarray) -> float:
        left, before = (metrics.class_gap(each[pick], label[pick]) for each in (margin, whole))
        return 1 - left / before

    return over_films(share, label)


def fill_same(
    config: ml_collections.ConfigDict, workdir: Path, films: Films
) -> dict[str, dict[str, dict]]:
    """f on films with each region filled, and on whole films (region "none")."""
    size = config.data.image_size
    network, params = train_classifier.load(config.classifier, size, workdir / "classifier")
    label = films.splits["test"]["label"]
    ask = lambda image: train_classifier.margins(network, params, image)
    image = films.splits["test"]["image"]
    whole = ask(image)
    table = {"none": {"auroc": auroc(whole, label)}}
    for name, masks in films.regions.items():
        margin = ask(fill(films.splits, masks)["test"]["image"])
        exchanged = np.mean([ask(each) for each in exchange(image, masks["test"])], axis=0)
        table[name] = {
            "auroc": auroc(margin, label),
            "gap_lost": gap_lost(margin, whole, label),
            "exchanged_gap_lost": gap_lost(exchanged, whole, label),
        }
    return table


def retrain(
    config: ml_collections.ConfigDict, directory: Path, splits: Mapping[str, Arrays]
) -> dict:
    """Test AUROC of a classifier of the same section taught on these films; kept when finished.

    Args:
      directory: gets a folder for this very training.
    """
    section, size = config.classifier, config.data.image_size
    asked = json.dumps([section.to_dict(), config.seed, size], sort_keys=True)
    digest = hashlib.sha256(asked.encode())
    digest.update(splits["train"]["image"].tobytes())
    directory = directory / digest.hexdigest()[:12]
    if not records.is_done(directory):
        train_classifier.train(section, size, config.seed, directory, splits)
        network, params = train_classifier.load(section, size, directory)
        margin = train_classifier.margins(network, params, splits["test"]["image"])
        records.mark_done(directory, **auroc(margin, splits["test"]["label"]))
    return records.read_json(directory / "done.json")


def retrain_all(
    config: ml_collections.ConfigDict, directory: Path, films: Films
) -> dict[str, dict[str, dict]]:
    """Every region left out and every region alone; whole films ("none"); the lungs' outline."""
    again = lambda name, splits: retrain(config, directory / name, splits)
    table = {"none": {"without": again("none", films.splits)}}
    for name, masks in films.regions.items():
        alone = fill(films.splits, complement(masks))
        table[name] = {
            "without": again(f"no_{name}", fill(films.splits, masks)),
            "only": again(f"only_{name}", alone),
        }
    lungs = films.regions["lungs"]
    outline = fill(fill(films.splits, complement(lungs)), lungs)
    table["outline"] = {"only": again("outline", outline)}
    return table


def read_audit(workdir: Path) -> dict:
    """The audit of a finished run of real films."""
    audited = runs.read_report(workdir)["audit"]
    if "border" not in audited["evidence"]:
        sys.exit(f"intervention.py: {workdir} has no audit of real films ({audited['verdict']})")
    return audited


def ranking(entries: Mapping[str, Mapping], least_first: bool = False) -> str:
    """Names by their means; "≈" between neighbours whose intervals share a value."""
    names = sorted(entries, key=lambda name: entries[name]["mean"], reverse=not least_first)
    text = names[0]
    for one, other in itertools.pairwise(names):
        text += (" ≈ " if runs.overlap(entries[one], entries[other]) else " > ") + other
    return text


def rank(audited: Mapping, same: Mapping, retrained: Mapping[str, Mapping]) -> dict[str, str]:
    """What each way of asking calls the most important region, the second, ..."""
    regions = list(audited["evidence"])
    found = {
        "audit": ranking(audited["evidence"]),
        "filled, gap lost": ranking({name: same[name]["gap_lost"] for name in regions}),
        "exchanged, gap lost": ranking(
            {name: same[name]["exchanged_gap_lost"] for name in regions}
        ),
    }
    for column, table in retrained.items():
        without = {name: table[name]["without"] for name in regions}
        alone = {name: table[name]["only"] for name in regions}
        found[f"retrained without, {column}"] = ranking(without, least_first=True)
        found[f"retrained on, {column}"] = ranking(alone)
    return found


def to_markdown(result: Mapping) -> str:
    """The tables for people."""
    evidence, filled, retrained = (result[name] for name in ("audit", "filled", "retrained"))
    evidence = evidence["evidence"]
    whole = sum(entry["mean"] for entry in evidence.values())
    head = ["region", "evidence, logits", "share", "filled: AUROC", "filled: gap lost"]
    head += ["exchanged: gap lost"]
    for column in retrained:
        head += [f"without it, `{column}`", f"on it alone, `{column}`"]
    lines = ["## The audit and interventions on the classifier", ""]
    lines += [result["audit"]["verdict"], "", "| " + " | ".join(head) + " |"]
    lines += ["|---" * len(head) + "|"]
    for name in ["none", *evidence, "outline"]:
        cells = [name, cell(evidence.get(name))]
        cells += [f"{evidence[name]['mean'] / whole:.0%}" if name in evidence else "–"]
        columns = ("auroc", "gap_lost", "exchanged_gap_lost")
        cells += [cell(filled.get(name, {}).get(column)) for column in columns]
        for table in retrained.values():
            cells += [cell(table[name].get(column)) for column in ("without", "only")]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| asked by | most important first |", "|---|---|"]
    lines += [f"| {name} | {order} |" for name, order in result["ranking"].items()]
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
    audited = read_audit(workdir)
    films = {
        column: load_films(config, workdir, column)
        for column in (config.data.split_column, *flags.FLAGS.also_split_by)
    }
    same = fill_same(config, workdir, films[config.data.split_column])
    retrained = {
        column: retrain_all(config, workdir / "intervention" / column, each)
        for column, each in films.items()
    }
    result = {
        "classifier": config.classifier.to_dict(),
        "audit": audited,
        "filled": same,
        "retrained": retrained,
        "ranking": rank(audited, same, retrained),
    }
    runs.write_results(Path(flags.FLAGS.out), "intervention", result, to_markdown(result))


if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", "configs/covid.py:cpu", "The experiment.")
    flags.DEFINE_string("workdir", "runs/covid", "A finished run.")
    flags.DEFINE_list("also_split_by", "", "Further columns of the metadata that split the films.")
    flags.DEFINE_string("out", "benchmarks/results", "Folder of the results.")
    app.run(main)
