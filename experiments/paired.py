"""Ways to walk the same films, each by its figures and ours less each rival's, film by film."""

from collections.abc import Mapping, Sequence

import numpy as np

from cxr_jax import metrics
from cxr_jax.evaluate import faithfulness, scores
from experiments.reading import BOOTSTRAP

PerFilm = Mapping[str, np.ndarray]  # by metric [N]


def compare(
    each: Mapping[str, PerFilm],
    faithful: Mapping[str, PerFilm],
    *,
    ours: str,
    rivals: Sequence[str],
) -> dict[str, dict]:
    """By walk every figure, then `OURS, less RIVAL`; `partial` is the change's faithfulness.

    Args:
      each: by walk and metric, the same films in the same order.
      faithful: of each walk's change, as of `faithfulness.score_maps`.
      ours: of `each`, which the rivals are held against.
    """
    partial = faithfulness.summarise(faithful, BOOTSTRAP, ours=ours)
    table = {
        name: {
            metric: scores.summarise_metric(metric.removesuffix("_to_positive"), values, BOOTSTRAP)
            for metric, values in columns.items()
        }
        | {"partial": partial[name]["partial"]}
        for name, columns in each.items()
    }
    for name in rivals:
        table[f"{ours}, less {name}"] = {
            metric: metrics.summarise(each[ours][metric] - values, BOOTSTRAP)
            for metric, values in each[name].items()
        } | {"partial": partial[name]["minus"]}
    return table
