"""Does a classifier go by the detail of lungs, or by their shading?

An audit by regions does not ask what of the lungs f goes by. Reads runs on real films, a folder
each, of which no more need be finished than the tasks `classifier` and `evaluators`, whose
segmenter finds the lungs of the test films. Their shading is the mean of the lungs' pixels around
each of them, by a Gaussian whose standard deviation is a share of the film's side; detail is the
rest. An f that is shown lungs finds them anew on films that are altered. By scale:

  size       root mean squares of detail and of shading about its own mean, over films in [-1, 1]
  amount     AUROC of a classifier that asks only how much detail there is
  altered    the detail halved, or half as much again, and the shading left; and the converse, with
             the shading about its own mean. f's and h's margins, as the share of the gap between
             the classes' mean margins on the films as they are: 0 if it makes no difference, 1 if
             it makes a negative as positive as positives are, -1 the converse
  gained     of the walk of map `latent` to its stop, of runs that are explained: how much more of
             it the lungs have then than the film's had (0.1 is a tenth more)
  kept       of that walk, what of the fall or rise of the margin is left where the film is changed
             in the lungs alone; and there by the change's detail alone, or by its shading alone,
             which need not add up

Intervals are over films, of which a patient may have several.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import ml_collections
import numpy as np

from cxr_jax import metrics
from cxr_jax.data.arrays import to_unit_range
from cxr_jax.errors import InputError
from cxr_jax.explain.paths import DIRECTIONS
from cxr_jax.models.model import Model
from cxr_jax.networks.restore import load_segmenter, missing_reason
from cxr_jax.runtime import parallel, precision
from cxr_jax.runtime.workdir import is_done, read_json
from cxr_jax.training.segmenter import find_lungs
from experiments.markdown import cell, table
from experiments.reading import (
    BOOTSTRAP,
    CLASSIFIERS,
    configs_below,
    films_and_ends,
    load_classifiers,
    load_own_splits,
    read_report,
    runs_below,
)
from experiments.resampled import over_films, over_rows
from experiments.scales import SCALES, lung_mean, root_mean_square, shading
from experiments.study import Options, Study

GAINS = {"halved": 0.5, "half as much again": 1.5}
PARTS = ("detail", "shading")
ALONE = "lungs"  # all of a change that lies in them
CLASSES = {"negatives": 0, "positives": 1}

WALK_HEAD = ("walk", "in the lungs", "gained", *(f"{who}, kept by it alone" for who in CLASSIFIERS))

Classify = Callable[[np.ndarray], np.ndarray]  # images [N, h, w, 1] in [-1, 1] to margins [N]


def make_classify(model: Model) -> Classify:
    """A trained classifier of images that need not be stored ones."""
    return functools.partial(
        parallel.in_batches(lambda frozen, image: frozen(image)[0], 128), model
    )


def alterations(image: np.ndarray, lungs: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """Scale, what is done, and the images [N, h, w, 1] in [-1, 1] with lungs so altered."""
    mean = lung_mean(image, lungs)
    for scale, share in SCALES.items():
        shade = shading(image, lungs, share)
        detail = image - shade
        for done, gain in GAINS.items():
            both = shade + gain * detail, mean + gain * (shade - mean) + detail
            for part, altered in zip(PARTS, both, strict=True):
                yield scale, f"{part} {done}", np.where(lungs, altered, image).clip(-1, 1)


def moved(margin: np.ndarray, before: np.ndarray, label: np.ndarray) -> dict[str, dict]:
    """By class, how far margins [N] have moved, as a share of the gap that was between classes."""

    def share(pick: np.ndarray, which: int) -> float:
        own = pick[label[pick] == which]
        return float((margin - before)[own].mean()) / metrics.class_gap(before[pick], label[pick])

    return {
        name: over_films(lambda pick, which=which: share(pick, which), label)
        for name, which in CLASSES.items()
    }


def alter(
    classifiers: Mapping[str, Classify], image: np.ndarray, lungs: np.ndarray, label: np.ndarray
) -> dict[str, dict]:
    """By scale, what is done, classifier and class: `moved`."""
    before = {who: classify(image) for who, classify in classifiers.items()}
    found: dict[str, dict] = {scale: {} for scale in SCALES}
    for scale, done, altered in alterations(image, lungs):
        found[scale][done] = {
            who: moved(classify(altered), before[who], label)
            for who, classify in classifiers.items()
        }
    return found


def sizes(image: np.ndarray, lungs: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """By scale, how large detail and shading of each image's lungs are [N], see above."""
    found = {}
    mean = lung_mean(image, lungs)
    for scale, share in SCALES.items():
        shade = shading(image, lungs, share)
        values = (root_mean_square(part, lungs) for part in (image - shade, shade - mean))
        found[scale] = dict(zip(PARTS, values, strict=True))
    return found


def effect_left(part: np.ndarray, whole: np.ndarray) -> dict:
    """What of the margins' mean change [N] by the whole is left by a part [N] of it."""
    if not whole.mean():
        return {"mean": None, "reason": "the whole has no effect"}

    def share(pick: np.ndarray) -> float:
        effect = float(whole[pick].mean())
        return float(part[pick].mean()) / effect if effect else float("nan")

    return over_rows(share, len(whole))


def read_walks(workdir: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By direction, `films_and_ends` of the walk of map `latent`.

    {} of a run that is not explained; without a direction that has no films.
    """
    if not is_done(workdir / "explain"):
        return {}
    path = read_report(workdir)["latent_path"]
    with np.load(workdir / "explain" / "walks.npz") as walks:
        found = {direction: films_and_ends(walks, direction, path) for direction in DIRECTIONS}
    return {direction: ends for direction, ends in found.items() if len(ends[0])}


def gained(film: np.ndarray, end: np.ndarray, lungs: np.ndarray) -> dict[str, dict]:
    """By scale and part, how much more of it the lungs of `end` [N, h, w, 1] have, relatively."""
    before, after = (sizes(image, lungs) for image in (film, end))
    return {
        scale: {
            part: metrics.summarise(after[scale][part] / before[scale][part] - 1, BOOTSTRAP)
            for part in PARTS
        }
        for scale in SCALES
    }


def parts_of_change(
    classifiers: Mapping[str, Classify], film: np.ndarray, end: np.ndarray, lungs: np.ndarray
) -> dict[str, dict]:
    """By scale, part and classifier, `effect_left` of how films [N, h, w, 1] have become `end`.

    And by ALONE, of all of the change that lies in the lungs.
    """
    before = {who: classify(film) for who, classify in classifiers.items()}
    whole = {who: classify(end) - before[who] for who, classify in classifiers.items()}

    def left_by(part: np.ndarray) -> dict[str, dict]:
        altered = np.where(lungs, film + part, film).clip(-1, 1)
        return {
            who: effect_left(classify(altered) - before[who], whole[who])
            for who, classify in classifiers.items()
        }

    change = end - film
    shades = {scale: shading(change, lungs, share) for scale, share in SCALES.items()}
    return {ALONE: left_by(change)} | {
        scale: dict(zip(PARTS, (left_by(change - shade), left_by(shade)), strict=True))
        for scale, shade in shades.items()
    }


def ask_walk(
    classifiers: Mapping[str, Classify], film: np.ndarray, end: np.ndarray, lungs: np.ndarray
) -> dict[str, dict]:
    """`gained` and `parts_of_change` of stored films [N, h, w, 1] and what they have become.

    Of those in which lungs are found.
    """
    some = lungs.any(axis=(1, 2, 3))
    film, end, lungs = to_unit_range(film[some]), to_unit_range(end[some]), lungs[some]
    return {
        "gained": gained(film, end, lungs),
        "kept": parts_of_change(classifiers, film, end, lungs),
    }


@precision.exactly
def measure(workdir: Path) -> dict:
    """One run.

    Raises:
      InputError: if it is of phantoms, has no segmenter, or one that finds no lungs in films of
        either class; or if its data have changed.
    """
    config = ml_collections.ConfigDict(read_json(workdir / "config.json"))
    if config.data.name == "cxr_phantom":
        raise InputError(f"{workdir} is of phantoms; this asks how real films were made")
    if reason := missing_reason(workdir, "segmenter"):
        raise InputError(
            f"{workdir}: {reason}; the lungs are found by one (main.py --task=evaluators)"
        )
    config = precision.in_float32(config)
    segmenter = load_segmenter(config, workdir)
    test = load_own_splits(config, workdir)["test"]
    lungs = find_lungs(segmenter, test["image"])
    has_lungs = lungs.any(axis=(1, 2, 3))
    image, lungs = to_unit_range(test["image"][has_lungs]), lungs[has_lungs]
    label, size = test["label"][has_lungs], sizes(image, lungs)
    if not {*CLASSES.values()} <= {*label.tolist()}:
        raise InputError(f"{workdir}: the segmenter finds no lungs in the films of a class")
    models, walks = load_classifiers(config, workdir), read_walks(workdir)
    classifiers = {who: make_classify(model) for who, model in models.items()}
    return {
        "image_size": config.data.image_size,
        "visible": config.classifier.visible or "all",
        "films": {name: int((label == which).sum()) for name, which in CLASSES.items()},
        "without_lungs": int((~has_lungs).sum()),
        "size": {
            scale: {part: float(size[scale][part].mean()) for part in PARTS} for scale in SCALES
        },
        "amount": {
            scale: over_films(amount_auroc(size[scale]["detail"], label), label) for scale in SCALES
        },
        "altered": alter(classifiers, image, lungs, label),
        "walks": {
            direction: ask_walk(classifiers, *ends, found)
            for direction, ends in walks.items()
            if (found := find_lungs(segmenter, ends[0])).any()
        },
    }


def amount_auroc(values: np.ndarray, label: np.ndarray) -> Callable[[np.ndarray], float]:
    """The AUROC of values [N], of rows."""
    return lambda pick: metrics.auroc(values[pick], label[pick])


def run(options: Options) -> Iterator[dict]:
    """Asks every run's classifiers, beside those that an earlier call asked."""
    found = dict(options.known)
    for name, (workdir,) in runs_below(options, task="classifier").items():
        found[name] = measure(workdir)
        yield dict(found)


def walk_rows(direction: str, walk: Mapping) -> list[list[str]]:
    """Cells of one direction."""
    kept = lambda by: [cell(by[who]) for who in CLASSIFIERS]
    rows = [[direction, "all", "–", *kept(walk["kept"][ALONE])]]
    for scale, parts in walk["gained"].items():
        for part, entry in parts.items():
            name, left = f"{part}, {scale}", kept(walk["kept"][scale][part])
            rows.append([direction, name, cell(entry), *left])
    return rows


def describe(name: str, result: Mapping) -> list[str]:
    """Lines of one run."""
    films = result["films"]
    amounts = [
        f"finer than {scale} {cell(entry)} (size {result['size'][scale]['detail']:.3f}, of shading "
        f"{result['size'][scale]['shading']:.3f})"
        for scale, entry in result["amount"].items()
    ]
    altered = [
        [f"{done}, {scale}", *(cell(by[who][name]) for who in CLASSIFIERS for name in CLASSES)]
        for scale, each in result["altered"].items()
        for done, by in each.items()
    ]
    walked = [
        row for direction, walk in result["walks"].items() for row in walk_rows(direction, walk)
    ]
    return [
        f"## `{name}`",
        "",
        f"{result['image_size']} pixels a side, f is shown {result['visible']}; "
        f"{films['positives']} positives and {films['negatives']} negatives; "
        f"{result['without_lungs']} films are left out, in which the segmenter finds no lungs. "
        f"AUROC of the amount of detail alone: {', '.join(amounts)}.",
        "",
        *table(
            ["in the lungs", *(f"{who}, {each}" for who in CLASSIFIERS for each in CLASSES)],
            altered,
        ),
        "",
        *(table(WALK_HEAD, walked) if walked else []),
        "",
    ]


def to_markdown(results: Mapping[str, Mapping]) -> str:
    """Two tables a run."""
    return "\n".join(line for name, result in results.items() for line in describe(name, result))


STUDY = Study(
    name="detail",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    workdir="runs/real_films",
    configs=functools.partial(configs_below, task="classifier"),
)
