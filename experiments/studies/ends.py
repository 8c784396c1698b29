"""Does every negative film get a finding of its own?

Of finished runs, the walks from negative to positive.

  variety    mean correlation of two films' changes, over all pairs of a run: 1 where all are given
             one pattern, wherever their lungs are
  flip_rate  share of films on which f and h change their decision, with exact intervals
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from cxr_jax import metrics
from cxr_jax.data.arrays import to_unit_range
from experiments.markdown import entry_table
from experiments.reading import (
    check_done,
    check_films_differ,
    films_and_ends,
    load_group,
    walked_paths,
)
from experiments.study import Options, Study

DIRECTION = "neg_to_pos"


def changes(workdir: Path) -> dict[str, np.ndarray]:
    """By path what a run's walks changed where they stopped [N, h, w, 1]."""
    found = {}
    with np.load(workdir / "explain" / "walks.npz") as arrays:
        for path in walked_paths(arrays, DIRECTION):
            film, end = map(to_unit_range, films_and_ends(arrays, DIRECTION, path))
            found[path] = end - film
    return found


def mean_correlation(change: np.ndarray) -> float:
    """Over all pairs of different films [N, h, w, 1]; unchanged films are left out."""
    rows = change.reshape(len(change), -1) - change.mean(axis=(1, 2, 3))[:, None]
    length = np.linalg.norm(rows, axis=1)
    rows = rows[length > 0] / length[length > 0, None]
    return metrics.mean_of_pairs(rows @ rows.T)


def variety(found: Sequence[float]) -> dict:
    """The mean over runs of `mean_correlation`, and each run's."""
    if not np.isfinite(found).all():
        return {"mean": None, "reason": "of a run fewer than two films change"}
    return {"mean": float(np.mean(found)), "each_seed": list(found)}


def measure(workdirs: Sequence[Path]) -> dict:
    """By path, over runs."""
    check_films_differ(workdirs)
    each = [changes(workdir) for workdir in workdirs]
    flips = load_group(workdirs, DIRECTION)
    table = {}
    for path in each[0]:
        found = [mean_correlation(one[path]) for one in each]
        table[path] = {
            "variety": variety(found),
            "flip_rate": metrics.summarise_proportion(flips[path]["flip_rate"] > 0),
        }
    return table


def to_markdown(result: Mapping) -> str:
    """A table, path by path."""
    table = entry_table(result, ("variety", "flip_rate"), "from negative to positive")
    return f"## Ends\n\n{table}\n"


def run(options: Options) -> Iterator[dict]:
    """Reads the runs."""
    for workdir in options.seed_dirs:
        check_done(workdir, "explain")
    yield measure(options.seed_dirs)


STUDY = Study(
    name="ends",
    doc=__doc__,
    run=run,
    to_markdown=to_markdown,
    config="configs/phantom.py",
    workdir="runs/phantom",
    seeds=0,
)
