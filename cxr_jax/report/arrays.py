"""What explaining leaves on disk as arrays: scores, walks and maps, film by film."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cxr_jax.explain.explained import Group


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

    | GROUP | NAME | a row is |
    |---|---|---|
    | pos_to_neg, neg_to_pos | path | a covered film of that direction |
    | maps | map | a covered positive that has lesions |
    | faithfulness | maps.MAP, paths.PATH | a covered positive; `products` has [3, 3] of each |
    | deletion | map | a covered positive |
    | blind_maps, blind_pos_to_neg, blind_neg_to_pos | map or path | a covered film |
    | audit, audit_true_masks | region | a covered positive |
    """
    arrays = {
        f"{group}/{name}/{metric}": values
        for group, each in scores.items()
        for name, metrics in each.items()
        for metric, values in metrics.items()
    }
    np.savez_compressed(path, **arrays)


def walk_arrays(
    groups: Mapping[str, Group], *, rows: np.ndarray, covered: np.ndarray, reach: float
) -> dict[str, np.ndarray]:
    """The walks as the arrays of walks.npz.

    `rows`: rows of the test split; `covered`: whether each passed the gate. For each direction D:
    D/row [n] of the test split; D/name [n], see `names_of`; D/image [n, h, w, 1] in [-1, 1];
    D/z_structure [n, s]; masks such as D/lesion_mask as far as the data set knows them. For each
    path P: D/P/z_class [n, k, c]; D/P/margin and D/P/judge_margin [n, k], f and h on the carried
    frames; D/P/frame [n], where it stops; D/P/carried [n, k, h, w, 1], the frames as uint8.
    `reach`: the distance within which `flip_auc` counts flips.
    """
    arrays = {"rows": rows, "covered": covered, "reach": np.float32(reach)}
    for direction, group in groups.items():
        arrays[f"{direction}/row"] = group.truth["row"]
        arrays[f"{direction}/name"] = np.array(names_of(group.truth))
        arrays[f"{direction}/image"] = group.films.image
        arrays[f"{direction}/z_structure"] = group.films.z_structure
        masks = {name: mask for name, mask in group.truth.items() if name.endswith("_mask")}
        arrays |= {f"{direction}/{name}": mask for name, mask in masks.items()}
        for name, stopped in group.walks.items():
            arrays[f"{direction}/{name}/z_class"] = stopped.walk.points
            arrays[f"{direction}/{name}/margin"] = stopped.walk.margin
            arrays[f"{direction}/{name}/judge_margin"] = stopped.walk.judge_margin
            arrays[f"{direction}/{name}/frame"] = stopped.frame
            arrays[f"{direction}/{name}/carried"] = to_pixels(stopped.walk.carried)
    return arrays


def save_walks(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes what `walk_arrays` has made."""
    np.savez_compressed(path, **arrays)


def to_pixels(image: np.ndarray) -> np.ndarray:
    """[-1, 1] to uint8, rounded."""
    return np.uint8((image + 1) * 127.5 + 0.5)


def save_maps(path: Path, maps: Mapping[str, np.ndarray], rows: np.ndarray) -> None:
    """Writes the maps' sizes by name [n, h, w, 1] as float16, and `row` [n] of the test split."""
    half = {name: np.abs(saliency).astype(np.float16) for name, saliency in maps.items()}
    np.savez_compressed(path, row=rows, **half)
