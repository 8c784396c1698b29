"""What happens to a classifier when a region is taken from it? The audit's claim put to the test.

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
of films that show nothing else. With --also_split_by=COLUMN all but the audit is asked again where
another column of the metadata splits the films: what a region is worth where sources differ. f
has learned from films that such a column tests on; there, its place is taken by the classifier
retrained on whole films. One training each; what is trained is not trained again.
"""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import ml_collections
import numpy as np

from cxr_jax import metrics
from cxr_jax.data.arrays import Arrays, load_splits
from cxr_jax.errors import InputError
from cxr_jax.evaluate.audit import film_regions
from cxr_jax.networks.restore import load_segmenter
from cxr_jax.runtime import precision
from cxr_jax.runtime.workdir import is_done, mark_done, read_json
from cxr_jax.training import classifier
from cxr_jax.training.segmenter import find_lungs
from experiments import markdown
from experiments.markdown import cell
from experiments.reading import check_finished, load_classifier, overlap, read_report
from experiments.resampled import over_films
from experiments.study import Flag, Options, Study

EXCHANGES = 10

Masks = Mapping[str, np.ndarray]  # by split [N, h, w, 1] bool
Classify = Callable[[np.ndarray], np.ndarray]  # pixels [N, h, w, 1] to margins [N]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Films:
    """The splits of one column of the metadata, and each region's masks by split."""

    splits: Mapping[str, Arrays]
    regions: Mapping[str, Masks]


def find_regions(
    config: ml_collections.ConfigDict, workdir: Path, splits: Mapping[str, Arrays]
) -> dict[str, Masks]:
    """The audit's regions of real films, by the run's own segmenter."""
    segmenter = load_segmenter(precision.in_float32(config), workdir)
    found = {
        split: film_regions(find_lungs(segmenter, arrays["image"]))
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


def auroc(margin: np.ndarray, label: np.ndarray) -> dict:
    """The AUROC of some films, with its interval."""
    return over_films(lambda pick: metrics.auroc(margin[pick], label[pick]), label)


def gap_lost(margin: np.ndarray, whole: np.ndarray, label: np.ndarray) -> dict:
    """The share of the gap on `whole` films that is gone, its interval over the same films."""

    def share(pick: np.ndarray) -> float:
        left, before = (metrics.class_gap(each[pick], label[pick]) for each in (margin, whole))
        return 1 - left / before

    return over_films(share, label)


def fill_same(classify: Classify, films: Films) -> dict[str, dict[str, dict]]:
    """One classifier on films with each region filled, and on whole films (region "none")."""
    test = films.splits["test"]
    image, label = test["image"], test["label"]
    whole = classify(image)
    table = {"none": {"auroc": auroc(whole, label)}}
    for name, masks in films.regions.items():
        margin = classify(fill(films.splits, masks)["test"]["image"])
        exchanged = np.mean([classify(each) for each in exchange(image, masks["test"])], axis=0)
        table[name] = {
            "auroc": auroc(margin, label),
            "gap_lost": gap_lost(margin, whole, label),
            "exchanged_gap_lost": gap_lost(exchanged, whole, label),
        }
    return table


def retrain(
    config: ml_collections.ConfigDict, directory: Path, splits: Mapping[str, Arrays]
) -> Path:
    """Teaches a classifier of the same section these films, unless that is done.

    Args:
      directory: gets a folder for this very training.

    Returns:
      That folder; its done.json holds the AUROC on the test films.
    """
    section, size = config.classifier, config.data.image_size
    asked = json.dumps([section.to_dict(), config.seed, size], sort_keys=True)
    digest = hashlib.sha256(asked.encode())
    digest.update(splits["train"]["image"].tobytes())
    directory = directory / digest.hexdigest()[:12]
    if not is_done(directory):
        classifier.train(section, size, config.seed, directory=directory, splits=splits)
        margin = load_classifier(config, directory)(splits["test"]["image"])
        mark_done(directory, **auroc(margin, splits["test"]["label"]))
    return directory


def retrain_all(
    config: ml_collections.ConfigDict, directory: Path, films: Films
) -> dict[str, dict[str, dict]]:
    """Every region left out and every region alone; whole films ("none"); the lungs' outline."""

    def again(name: str, splits: Mapping[str, Arrays]) -> dict:
        return read_json(retrain(config, directory / name, splits) / "done.json")

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
    """The audit of a finished run of real films.

    Raises:
      InputError: if it has none.
    """
    audited = read_report(workdir)["audit"]
    if "border" not in audited["evidence"]:
        raise InputError(f"{workdir} has no audit of real films ({audited['verdict']})")
    return audited


def ranking(entries: Mapping[str, Mapping], least_first: bool = False) -> str:
    """Names by their means; "≈" between neighbours whose intervals share a value."""
    names = sorted(entries, key=lambda name: entries[name]["mean"], reverse=not least_first)
    text = names[0]
    for one, other in itertools.pairwise(names):
        text += (" ≈ " if overlap(entries[one], entries[other]) else " > ") + other
    return text


def rank(
    audited: Mapping, filled: Mapping[str, Mapping], retrained: Mapping[str, Mapping]
) -> dict[str, str]:
    """What each way of asking calls the most important region, the second, ..."""
    regions = list(audited["evidence"])
    found = {"audit": ranking(audited["evidence"])}
    for column, table in filled.items():
        for asked, key in {"filled": "gap_lost", "exchanged": "exchanged_gap_lost"}.items():
            lost = {name: table[name][key] for name in regions}
            found[f"{asked}, gap lost, {column}"] = ranking(lost)
    for column, table in retrained.items():
        without = {name: table[name]["without"] for name in regions}
        alone = {name: table[name]["only"] for name in regions}
        found[f"retrained without, {column}"] = ranking(without, least_first=True)
        found[f"retrained on, {column}"] = ranking(alone)
    return found


HEADINGS = {
    "auroc": "filled: AUROC",
    "gap_lost": "filled: gap lost",
    "exchanged_gap_lost": "exchanged: gap lost",
    "without": "retrained without it",
    "only": "retrained on it alone",
}


def to_markdown(result: Mapping) -> str:
    """The tables for people: the audit's, and one for each column that splits the films."""
    evidence = result["audit"]["evidence"]
    whole = sum(entry["mean"] for entry in evidence.values())
    shares = ([n, cell(e), f"{e['mean'] / whole:.0%}"] for n, e in evidence.items())
    lines = ["## The audit and interventions on the classifier", "", result["audit"]["verdict"]]
    lines += ["", *markdown.table(["region", "evidence, logits", "share"], shares)]
    for column, filled in result["filled"].items():
        rows = []
        for name in ["none", *evidence, "outline"]:
            entries = filled.get(name, {}) | result["retrained"][column][name]
            rows.append([name, *(cell(entries.get(key)) for key in HEADINGS)])
        lines += ["", f"### Split by `{column}`", ""]
        lines += markdown.table(["region", *HEADINGS.values()], rows)
    lines += ["", *markdown.table(["asked by", "most important first"], result["ranking"].items())]
    return "\n".join(lines) + "\n"


def load_films(config: ml_collections.ConfigDict, workdir: Path, column: str) -> Films:
    """The films split by a column of their metadata."""
    section = ml_collections.ConfigDict(config.data)
    section.split_column = column
    splits, _ = load_splits(section, config.seed)
    return Films(splits=splits, regions=find_regions(config, workdir, splits))


def run(options: Options) -> Iterator[dict]:
    """Trains what is missing and measures."""
    config, workdir = options.config, options.workdir
    # Of the classifier the flags speak to those that are taught here.
    check_finished(config, workdir, "explain", sections=("seed", "data", "evaluators"))
    audited = read_audit(workdir)
    films = {
        column: load_films(config, workdir, column)
        for column in (config.data.split_column, *options.own["also_split_by"])
    }
    filled, retrained = {}, {}
    for column, each in films.items():
        directory = workdir / "intervention" / column
        retrained[column] = retrain_all(config, directory, each)
        if column == config.data.split_column:
            taught = workdir / "classifier"
        else:
            taught = retrain(config, directory / "none", each.splits)
        filled[column] = fill_same(load_classifier(config, taught), each)
    yield {
        "classifier": config.classifier.to_dict(),
        "audit": audited,
        "filled": filled,
        "retrained": retrained,
        "ranking": rank(audited, filled, retrained),
    }


STUDY = Study(
    name="intervention",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    config="configs/covid.py:cpu",
    workdir="runs/covid",
    flags=(
        Flag(
            name="also_split_by",
            default=(),
            help="Further columns of the metadata that split the films.",
        ),
    ),
)
