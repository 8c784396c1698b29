"""report.html of a run, from its arrays."""

import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from cxr_jax.explain.paths import DIRECTIONS
from cxr_jax.report.figures import title
from cxr_jax.report.page.content import Page, PageFilm
from cxr_jax.report.page.of_walks import (
    order_paths,
    page_path,
    pick_maps,
    pick_masks,
    run_facts,
    share_out,
)
from cxr_jax.report.page.run_tables import (
    audit_tables,
    classifier_table,
    map_note,
    map_table,
    walk_table,
)

Arrays = Mapping[str, np.ndarray]

HIDDEN_MAPS = ("latent",)  # which is shown as the overlay


def page_of_run(metrics: Mapping, walks: Arrays, maps: Arrays, *, contents: str) -> Page:
    """The page of a run's `explain`.

    Args:
      metrics: metrics.json.
      walks: as `report.arrays.walk_arrays` names them.
      maps: of the films of pos_to_neg, by name [n, h, w, 1].
      contents: what identifies the data.
    """
    counts = [len(walks[f"{direction}/row"]) for direction in DIRECTIONS]
    section = metrics["config"]["explain"]
    shown = share_out(counts, section["num_page_films"])
    films = []
    for direction, count in zip(DIRECTIONS, shown, strict=True):
        of_direction = maps if direction == "pos_to_neg" else {}
        made = _films(direction, metrics, walks, maps=of_direction)
        films += itertools.islice(made, count)
    return Page(
        facts=run_facts(metrics["config"], contents),
        films=films,
        num_explained=sum(counts),
        rejected=[(film["id"], film["reason"]) for film in metrics["rejected"]],
        coverage=_coverage(metrics),
        audit=metrics["audit"]["verdict"],
        tables=[walk_table(metrics), map_table(metrics), classifier_table(metrics)],
        audit_tables=audit_tables(metrics),
        map_notes={title(name): map_note(name) for name in maps if map_note(name)},
        where="walks.npz and maps.npz, beside this file",
    )


def _coverage(metrics: Mapping) -> str:
    films, rejected = metrics["images"], len(metrics["rejected"])
    each = ", ".join(
        f"{share:.0%} of those that f calls {'positive' if name == 'pos_to_neg' else 'negative'}"
        for name, share in metrics["coverage_by_direction"].items()
    )
    return f"{films - rejected} of {films} films passed the gate ({each})."


def _films(direction: str, metrics: Mapping, walks: Arrays, *, maps: Arrays) -> Iterator[PageFilm]:
    """The films of one direction, as they were explained."""
    towards = DIRECTIONS[direction]
    own = _of_direction(walks, direction)
    reasons = {film["id"]: film["reason"] for film in metrics["rejected"]}
    target = metrics["thresholds"]["positive" if towards > 0 else "negative"]
    walked = [name for name in metrics["config"]["explain"]["paths"] if f"{name}/margin" in own]
    first = metrics["latent_path"]
    shown = {name: each for name, each in maps.items() if name not in HIDDEN_MAPS}
    names = order_paths(walked, first if first in walked else walked[0])
    for row, name in enumerate(own["name"].tolist()):
        yield PageFilm(
            name=name,
            reason=reasons[name] if name in reasons else "",
            towards=towards,
            paths=[
                page_path(
                    path,
                    own[f"{path}/carried"][row],
                    margin=own[f"{path}/margin"][row],
                    judge_margin=own[f"{path}/judge_margin"][row],
                    stop=int(own[f"{path}/frame"][row]),
                    target=target,
                )
                for path in names
            ],
            masks=pick_masks(own, row),
            maps=pick_maps(shown, row),
        )


def _of_direction(walks: Arrays, direction: str) -> dict[str, np.ndarray]:
    """Each array read once: one of a file is read anew whenever it is asked for."""
    start = f"{direction}/"
    return {name.removeprefix(start): walks[name] for name in walks if name.startswith(start)}
