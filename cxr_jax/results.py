"""What explaining leaves on disk beside its numbers: the walks as arrays, and the figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cxr_jax import plots, scores
from cxr_jax.audit import REGION_NAMES
from cxr_jax.explained import Group
from cxr_jax.films import Thresholds
from cxr_jax.maps import BASELINES
from cxr_jax.paths import DIRECTIONS
from cxr_jax.tables import Audited

STRIP_FRAMES = 8
AUDIT_FILMS = 4


def names_of(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """What films are called: their files, or in a data set without files their patients."""
    names = arrays["filename"] if "filename" in arrays else arrays["patient_id"]
    return [name.decode() for name in names]


def list_rejected(
    arrays: Mapping[str, np.ndarray], rows: np.ndarray, reasons: Sequence[str]
) -> list[dict]:
    """The films that are not explainable, by file name or patient, each with its reason."""
    names = names_of(arrays)
    return [
        {"id": names[row], "reason": reason}
        for row, reason in zip(rows, reasons, strict=True)
        if reason
    ]


def save_scores(path: Path, scores: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]]) -> None:
    """Writes every per-film score as an array GROUP/NAME/METRIC: what the tables are means of.

    Groups are the two directions, with paths by name, and `maps`, with maps by name. Rows are the
    covered films of the direction, or of the map's positives those that have lesions.
    """
    arrays = {
        f"{group}/{name}/{metric}": values
        for group, each in scores.items()
        for name, metrics in each.items()
        for metric, values in metrics.items()
    }
    np.savez_compressed(path, **arrays)


def save_walks(path: Path, groups: Mapping, rows: np.ndarray, covered: np.ndarray) -> None:
    """Writes the walks as arrays.

    `rows`: rows of the test split; `covered`: whether each passed the gate. For each direction D:
    D/row [n] of the test split; D/name [n], see `names_of`; D/image [n, h, w, 1] in [-1, 1];
    D/z_structure [n, s]; masks such as D/lesion_mask as far as the data set knows them. For each
    path P: D/P/z_class [n, k, c]; D/P/margin and D/P/judged [n, k], f and h on the carried frames;
    D/P/carried [n, k, h, w, 1], the frames as uint8. `linear` from a negative is the walk to the
    first of the training positives.
    """
    arrays = {"rows": rows, "covered": covered}
    for direction, group in groups.items():
        arrays[f"{direction}/row"] = group.truth["row"]
        arrays[f"{direction}/name"] = np.array(names_of(group.truth))
        arrays[f"{direction}/image"] = group.films.image
        arrays[f"{direction}/z_structure"] = group.films.structure
        masks = {name: mask for name, mask in group.truth.items() if name.endswith("_mask")}
        arrays |= {f"{direction}/{name}": mask for name, mask in masks.items()}
        for name, (walk, *_) in group.walks.items():
            arrays[f"{direction}/{name}/z_class"] = walk.points
            arrays[f"{direction}/{name}/margin"] = walk.margin
            arrays[f"{direction}/{name}/judged"] = walk.judged
            arrays[f"{direction}/{name}/carried"] = np.uint8((walk.carried + 1) * 127.5 + 0.5)
    np.savez_compressed(path, **arrays)


def save_maps(path: Path, maps: Mapping[str, np.ndarray], rows: np.ndarray) -> None:
    """Writes the maps by name [n, h, w, 1] as float16, and `row` [n] of the test split."""
    half = {name: saliency.astype(np.float16) for name, saliency in maps.items()}
    np.savez_compressed(path, row=rows, **half)


def save_figures(
    directory: Path,
    groups: Mapping,
    thresholds: Thresholds,
    path: str,
    maps: Mapping[str, np.ndarray],
    count: int,
) -> None:
    """Traversal strips and response curves of every path, and the changes of path `path`."""
    for direction, group in groups.items():
        walks = {name: walks[0] for name, walks in group.walks.items()}
        shown = names_of(group.truth)[:count]
        for name, walk in walks.items():
            ended = scores.end_walk(walk, thresholds, DIRECTIONS[direction])
            figure = plots.traversal(walk, ended.frame, shown, STRIP_FRAMES)
            plots.save(figure, directory / f"traversal_{direction}_{name}.png")
        figure = plots.responses(walks, thresholds, DIRECTIONS[direction])
        plots.save(figure, directory / f"responses_{direction}.png")
    group = groups["pos_to_neg"]
    walk = group.walks[path][0]
    ended = scores.end_walk(walk, thresholds, DIRECTIONS["pos_to_neg"])
    shown = names_of(group.truth)[:count]
    lesions = group.truth.get("lesion_mask")
    others = {name: saliency for name, saliency in maps.items() if name in BASELINES}
    figure = plots.changes(group.films, walk, ended, lesions, others, shown)
    plots.save(figure, directory / "changes.png")


def save_interpolation(path: Path, group: Group, frames: np.ndarray, margin: np.ndarray) -> None:
    """The paper's figure of images drawn of a group's first films [n, k, h, w, 1]; f on them."""
    names = names_of(group.truth)[: len(frames)]
    plots.save(plots.interpolation(frames, margin, names), path)


def save_audit(path: Path, group: Group, audited: Audited, count: int) -> None:
    """The figure of the audit, unless there is no verdict."""
    if audited.regions is not None:
        names = names_of(group.truth)[: min(count, AUDIT_FILMS)]
        images = group.films.image, audited.other
        entries = audited.regions, audited.each, audited.table
        figure = plots.audit(*images, *entries, REGION_NAMES, names)
        plots.save(figure, path)
