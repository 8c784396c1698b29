"""Does a classifier follow radiologists' scores over films? That one does not, no map need say.

Reads the classifiers f and h of runs on real films, a folder each, of which no more need be
finished than task `classifier`. A classifier that calls films by where they come from has margins
that do not go with how ill the patients are.

  f, h        over films, Spearman's correlation of their margins with the senior reader's totals
  brightness  the same of the mean grey in the outlined lungs, for which nobody need learn anything
  detail 1/64   the same of how much detail there is in them, finer than 1/64 of the film's side
            (see `detail`), and finer than other shares of it
  f | brightness, h | brightness   the partial correlations, given that; of the same films
  f - brightness, h - brightness   how much higher theirs is, paired; of the same films
  reader      as the first, of the junior's totals: what a person reaches
"""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import ml_collections
import numpy as np

from cxr_jax.api import read_films
from cxr_jax.errors import InputError
from cxr_jax.evaluate.radiologists import correlate, correlation_gain
from cxr_jax.networks.restore import margins
from cxr_jax.runtime import precision
from cxr_jax.runtime.workdir import read_json
from experiments.markdown import entry_table
from experiments.reading import (
    BOOTSTRAP,
    CLASSIFIERS,
    configs_below,
    load_classifiers,
    runs_below,
)
from experiments.scales import SCALES, amount
from experiments.study import Options, Study
from experiments.truth import (
    FLAG,
    WITHOUT,
    Marked,
    load_learned,
    read_truth,
    truth_folder,
)

GIVEN, LESS = " | brightness", " - brightness"
DETAIL = tuple(f"detail {scale}" for scale in SCALES)


def look_of(truth: Marked, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """What anybody sees of the outlined lungs [N], without having learned what it means.

    Of films of any size; NaN where no lungs are outlined. Brightness is their mean grey.
    """
    # Shares of a pixel, where the outlines have more of them.
    inside = np.asarray(jax.image.resize(truth.lungs.astype(np.float32), pixels.shape, "linear"))
    grey, area = ((each * inside).sum(axis=(1, 2, 3)) for each in (pixels, 1.0))
    brightness = np.divide(grey, area, out=np.full(len(pixels), np.nan), where=truth.has_lungs)
    return {"brightness": brightness} | {
        name: amount(pixels.astype(np.float32), inside > 0.5, share)
        for name, share in zip(DETAIL, SCALES.values(), strict=True)
    }


def follow(
    margin: Mapping[str, np.ndarray], truth: Marked, look: Mapping[str, np.ndarray]
) -> dict[str, dict]:
    """How margins [N], by whose they are, and the junior's totals go with the senior's.

    {} where nobody has scored a film; of other films those that both have scored count.

    Args:
      look: see `look_of`.
    """
    if not truth.is_scored.any():
        return {}
    totals = np.where(truth.is_scored[:, None], truth.scores.sum(axis=2), np.nan)
    senior, junior = totals.T
    films = {"others": senior, "patients": truth.patients, "bootstrap": BOOTSTRAP}
    go_with = functools.partial(correlate, **films)
    brightness = look["brightness"]
    gain = functools.partial(correlation_gain, rival=brightness, **films)
    return {
        **{who: go_with(values) for who, values in margin.items()},
        **{name: go_with(values) for name, values in look.items()},
        **{f"{who}{GIVEN}": go_with(v, given=brightness) for who, v in margin.items()},
        **{f"{who}{LESS}": gain(values) for who, values in margin.items()},
        "reader": go_with(junior),
    }


def measure(workdir: Path, truth: Marked, folder: Path) -> dict:
    """The classifiers of one run, whatever of it is finished beyond them.

    Args:
      folder: of the truth.

    Raises:
      InputError: if the run has learned from films of the same patients.
    """
    config = precision.in_float32(ml_collections.ConfigDict(read_json(workdir / "config.json")))
    data = config.data
    if data.name == "cxr_phantom":
        raise InputError(f"{workdir} is of phantoms, whom no radiologist has scored")
    load_learned(config, workdir, folder)
    pixels, _ = read_films(truth.paths, data.image_size, square=data.square, bits=data.bits)
    margin = {
        who: margins(model, pixels) for who, model in load_classifiers(config, workdir).items()
    }
    auroc = read_json(workdir / "classifier" / "done.json")
    return {
        "visible": config.classifier.visible or "all",
        "image_size": data.image_size,
        "auroc": {who: auroc[section]["auroc"] for who, (section, _) in CLASSIFIERS.items()},
        "called_positive": {who: int((values > 0).sum()) for who, values in margin.items()},
        "films": len(truth.films),
        **follow(margin, truth, look_of(truth, pixels)),
    }


@precision.exactly
def run(options: Options) -> Iterator[dict]:
    """Asks every run's classifiers, beside those that an earlier call asked."""
    folder = truth_folder(options)
    sets = read_truth(folder, options.own["without"])
    if "covid" not in sets or not sets["covid"].is_scored.any():
        raise InputError(f"{folder} has no readers' scores (covid/zones.csv)")
    found = dict(options.known)
    for name, (workdir,) in runs_below(options, task="classifier").items():
        found[name] = measure(workdir, sets["covid"], folder)
        yield dict(found)


def to_markdown(results: Mapping[str, Mapping]) -> str:
    """One row a run."""
    compared = (f"{who}{how}" for how in (GIVEN, LESS) for who in CLASSIFIERS)
    columns = (*CLASSIFIERS, "brightness", *DETAIL, *compared, "reader")
    table = entry_table(results, columns, "run")
    lines = ["## Readers' totals and classifiers' margins", "", table, ""]
    for name, result in results.items():
        auroc, positive = result["auroc"], result["called_positive"]
        lines.append(
            f"- `{name}`: {result['image_size']} pixels a side, f and h are shown "
            f"{result['visible']}; AUROC on their own test films {auroc['f']:.3f} and "
            f"{auroc['h']:.3f}; of {result['films']} marked films they call {positive['f']} and "
            f"{positive['h']} positive."
        )
    return "\n".join(lines) + "\n"


STUDY = Study(
    name="severity",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    workdir="runs/real_films",
    flags=(FLAG, WITHOUT),
    configs=functools.partial(configs_below, task="classifier"),
)
