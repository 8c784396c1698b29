"""The figures that explaining leaves on disk."""

from collections.abc import Mapping
from pathlib import Path

import ml_collections
import numpy as np

from cxr_jax import plots
from cxr_jax.evaluate.audit import REGION_NAMES
from cxr_jax.explain.explained import Calibration, Group
from cxr_jax.explain.maps import MAPS
from cxr_jax.explain.paths import PATHS
from cxr_jax.report.arrays import names_of
from cxr_jax.report.tables import AuditResult

STRIP_FRAMES = 8
AUDIT_FILMS = 4


def title(name: str) -> str:
    """A path's or a map's name as people write it."""
    named = PATHS.get(name) or MAPS.get(name)
    return named.title or name.replace("_", " ")


def make_style(section: ml_collections.ConfigDict) -> plots.Style:
    """How `config.explain.figures` wants figures to look."""
    return plots.Style(
        font=section.font,
        size=float(section.font_size),
        change=section.change_map,
        heat=section.heat_map,
        formats=tuple(section.formats),
    )


def save_figures(
    directory: Path,
    groups: Mapping[str, Group],
    calibration: Calibration,
    *,
    maps: Mapping[str, np.ndarray],
    num_rows: int,
    style: plots.Style,
) -> None:
    """Traversal strips and response curves of every path, and the changes that the maps tell of."""
    for direction, group in groups.items():
        shown = names_of(group.truth)[:num_rows]
        for name, stopped in group.walks.items():
            figure = plots.traversal(stopped, shown, STRIP_FRAMES, style=style)
            plots.save(figure, directory / f"traversal_{direction}_{name}.png", style)
        walks = {title(name): stopped.walk for name, stopped in group.walks.items()}
        target = calibration.thresholds.target(group.towards)
        figure = plots.responses(walks, target, style=style)
        plots.save(figure, directory / f"responses_{direction}.png", style)
    group = groups["pos_to_neg"]
    published = {
        title(name): np.abs(saliency)
        for name, saliency in maps.items()
        if MAPS[name].kind == "published"
    }
    figure = plots.changes(
        group.films,
        group.walks[calibration.path],
        names_of(group.truth)[:num_rows],
        lesion_mask=group.truth.get("lesion_mask"),
        others=published,
        style=style,
    )
    plots.save(figure, directory / "changes.png", style)


def save_interpolation(
    path: Path,
    group: Group,
    frames: np.ndarray,
    *,
    margin: np.ndarray,
    num_films: int,
    style: plots.Style,
) -> None:
    """The paper's figure of images drawn of a group's first films [n, k, h, w, 1]; f on them.

    Args:
      frames: those of `num_films` films, then of patients that the prior draws.
    """
    names = names_of(group.truth)[:num_films]
    names += [f"drawn {number + 1}" for number in range(len(frames) - len(names))]
    plots.save(plots.interpolation(frames, margin, names, style=style), path, style)


def save_audit(
    path: Path, group: Group, audited: AuditResult, *, num_rows: int, style: plots.Style
) -> None:
    """The figure of the audit, unless there is no verdict."""
    if audited.regions is not None:
        figure = plots.audit(
            group.films.image,
            audited.other,
            names_of(group.truth)[: min(num_rows, AUDIT_FILMS)],
            regions=audited.regions,
            each=audited.each,
            table=audited.table,
            region_names=REGION_NAMES,
            style=style,
        )
        plots.save(figure, path, style)
