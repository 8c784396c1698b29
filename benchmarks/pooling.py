"""Several finished runs of `main.py` as one: films after each other, figures averaged."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

PerFilm = dict[str, dict[str, np.ndarray]]  # by name of a path or map, then by metric


def load_group(workdirs: Sequence[Path], group: str) -> PerFilm:
    """The per-film scores of a group (a direction, or `maps`), the runs' films after each other."""
    parts: dict[str, dict[str, list[np.ndarray]]] = {}
    for workdir in workdirs:
        with np.load(workdir / "explain" / "scores.npz") as arrays:
            for key in arrays:
                head, name, metric = key.split("/")
                if head == group:
                    parts.setdefault(name, {}).setdefault(metric, []).append(arrays[key])
    return {
        name: {metric: np.concatenate(values) for metric, values in each.items()}
        for name, each in parts.items()
    }


def average(reports: Sequence[Mapping], *keys: str) -> dict:
    """An entry that is known only for whole runs: its mean over them, and each run's own."""
    entries = reports
    for key in keys:
        entries = [entry[key] for entry in entries]
    means = [entry["mean"] for entry in entries]
    if None in means:
        return next(entry for entry in entries if entry["mean"] is None)
    return {"mean": float(np.mean(means)), "ci95": None, "each_seed": means}


def mean_tree(trees: Sequence) -> dict | float | None:
    """The mean of equal trees of numbers; None where one is missing."""
    if isinstance(trees[0], Mapping):
        return {key: mean_tree([tree[key] for tree in trees]) for key in trees[0]}
    return None if None in trees else float(np.mean(trees))
