"""Task `evaluators`: trains the networks that judge explanations, apart from the GAN.

The config names those to be trained; one that the data set cannot teach is skipped with a reason.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import ml_collections

from cxr_jax.data.arrays import Arrays
from cxr_jax.networks.restore import missing_reason
from cxr_jax.runtime.workdir import is_done, mark_done, read_json
from cxr_jax.training.regressor import REGRESSOR
from cxr_jax.training.robust import ROBUST
from cxr_jax.training.segmenter import SEGMENTER
from cxr_jax.training.supervised import Untaught

logger = logging.getLogger(__name__)

EVALUATORS = {evaluator.name: evaluator for evaluator in (SEGMENTER, REGRESSOR, ROBUST)}


def needed_truths(names: Sequence[str]) -> tuple[str, ...]:
    """The truths of train, as for `arrays.load_splits`, that teach these networks."""
    return tuple(truth for name in names for truth in EVALUATORS[name].truths)


def run(config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]) -> None:
    """Trains the networks that the config names, and records their test figures."""
    directory, names = workdir / "evaluators", list(config.evaluators.names)
    if not names:
        return
    if is_done(directory, names=names):
        logger.info("evaluators: complete, skipped")
        return
    figures = {}
    for name in names:
        try:
            figures[name] = EVALUATORS[name].run(config, workdir, splits)
        except Untaught as reason:
            # One that was copied from another run is there all the same.
            is_there = not missing_reason(workdir, name)
            kept = read_json(directory / "done.json")[name] if is_there else None
            figures[name] = kept or {"skipped": str(reason)}
        logger.info("%s: %s", name, figures[name])
    directory.mkdir(parents=True, exist_ok=True)  # nothing may have been trained
    mark_done(directory, names=names, **figures)
