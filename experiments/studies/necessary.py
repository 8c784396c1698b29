"""Of path `necessary`, what is the mask's doing, and what the gain's?

It keeps of `linear`'s change what the classifier feels, and goes further by a gain than `linear`
ends. Here the same test films of one finished run are walked with and without either: without both
it is `linear`. Figures are of films that pass the gate, differences are paired.

  partial    faithfulness of the walk's change, see `faithfulness`
  felt       share of the change that f feels; the mask's own measure
  length     of the change, root mean square on the [-1, 1] scale
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import ml_collections
import numpy as np

from cxr_jax.data.arrays import load_splits, phantom_spec
from cxr_jax.errors import InputError
from cxr_jax.evaluate import faithfulness, walks
from cxr_jax.explain.explained import Calibration, Group
from cxr_jax.explain.explainer import Explainer
from cxr_jax.pipeline.calibrate import load_calibration
from cxr_jax.pipeline.explain import explain_test, load_explainer
from cxr_jax.report import tables
from cxr_jax.runtime import precision
from experiments.markdown import entry_table
from experiments.paired import compare
from experiments.reading import config_of_run
from experiments.studies import validation
from experiments.study import Flag, Options, Study

PATH = "necessary"
ALL_FELT = 1e-6  # as `least_felt`: what moves f at all is kept whole
WHOLE, NEITHER = "mask and gain", "neither (linear)"
COLUMNS = (
    *("flip_rate_f", "flip_rate", "flip_rate_to_positive", "twin_error"),
    *("partial", "felt", "length"),
)

Columns = dict[str, np.ndarray]  # by metric, one row a film


def variants(section: ml_collections.ConfigDict) -> dict[str, dict[str, float]]:
    """The path's fields, `config.explain.necessary`, with and without mask and gain."""
    own, without = section.to_dict(), dict(least_felt=ALL_FELT, gain=1.0)
    return {
        NEITHER: without,
        "gain": own | {"least_felt": ALL_FELT},
        "mask": own | {"gain": 1.0},
        WHOLE: own,
    }


def score(
    explainer: Explainer, positives: Group, negatives: Group, calibration: Calibration
) -> Columns:
    """Film by film, the figures of walks along the path."""
    thresholds, reach = calibration.thresholds, calibration.reach
    walked, returned = (
        walks.path_scores(group, thresholds, reach)[PATH] for group in (positives, negatives)
    )
    return {
        **{name: walked[name] for name in ("flip_rate_f", "flip_rate", "twin_error", "length")},
        "flip_rate_to_positive": returned["flip_rate"],
        "felt": walks.felt_shares(explainer, positives, PATH),
    }


@precision.exactly
def measure(config: ml_collections.ConfigDict, workdir: Path, images: int) -> dict[str, dict]:
    """The test films of a finished run, walked by every variant."""
    splits, _ = load_splits(config.data, config.seed)
    calibration, spec = load_calibration(workdir / "explain"), phantom_spec(config.data, "test")
    each, faithful, valued = {}, {}, []
    for name, fields in variants(config.explain.necessary).items():
        own = validation.along(config, images, (PATH,))
        own.explain.necessary.update(fields)
        explainer = load_explainer(own, workdir, prior=False)
        explained = explain_test(explainer, splits["test"], calibration, section=own.explain)
        if 0 in explained.coverage.values():
            raise InputError(f"{workdir}: {tables.NONE_COVERED}")
        positives, negatives = (explained.groups[one] for one in ("pos_to_neg", "neg_to_pos"))
        valued = valued or faithfulness.value_films(
            positives.truth["patient_id"], spec, explainer.classify
        )
        each[name] = score(explainer, positives, negatives, calibration)
        change = {name: positives.walks[PATH].change}
        faithful |= faithfulness.score_maps(change, valued)
    return compare(each, faithful, ours=WHOLE, rivals=[name for name in each if name != WHOLE])


def run(options: Options) -> Iterator[dict]:
    """Walks and measures."""
    yield measure(config_of_run(options), options.workdir, options.own["images"])


def to_markdown(results: Mapping[str, Mapping]) -> str:
    """One row a variant, then the differences."""
    return f"## Mask and gain of path `necessary`\n\n{entry_table(results, COLUMNS, 'walk')}\n"


STUDY = Study(
    name="necessary",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    workdir="runs/phantom",
    configs=config_of_run,
    flags=(Flag(name="images", default=200, help="Test films, half of them called positive."),),
)
