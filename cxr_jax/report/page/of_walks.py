"""The films of report.html from walks, and what is said of the run that explained them."""

import dataclasses
import datetime
from collections.abc import Callable, Mapping, Sequence

import numpy as np

import cxr_jax
from cxr_jax.explain.traversal import StoppedWalk
from cxr_jax.report.arrays import to_pixels
from cxr_jax.report.figures import title
from cxr_jax.report.page.content import MASKS, Page, PageFilm, PagePath, PageTable, RunFacts
from cxr_jax.runtime.provenance import commit, config_digest

MOST_PATHS = 4  # beside each other; the page says where the others are
FINDINGS = {  # what people call those of phantoms
    "opacity": "lung opacities",
    "nodule": "lung nodules",
    "effusion": "pleural effusions",
    "pneumothorax": "pneumothoraces",
    "cardiomegaly": "enlarged hearts",
    "reticular": "reticular patterns",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Beside:
    """What is known of films beside their explanation, for report.html; in their order.

    Attributes:
      masks: what truly lies where, [n, h, w, 1], by the names of `content.MASKS`.
      maps: of other methods, [n, h, w, 1], by name.
      tables: figures of all of them.
    """

    masks: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    maps: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    tables: Sequence[PageTable] = ()


NOTHING = Beside()


def run_facts(config: Mapping, contents: str) -> RunFacts:
    """What the page says of a run.

    Args:
      config: of the run, as plain dictionaries.
      contents: what identifies its data; a digest of it is shown, for it may hold a folder's name.
    """
    is_phantom = config["data"]["name"] == "cxr_phantom"
    finding, of_phantoms = config["data"]["positive_class"], "opacity"
    if "finding" in config["data"]:  # runs of before there were others do not say it
        of_phantoms = config["data"]["finding"]
    provenance = {
        "made": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "cxr_jax": cxr_jax.__version__,
        "commit": commit(),
        "config, SHA-256": config_digest(config)[:16],
        "data, SHA-256": config_digest({"contents": contents})[:16],
        "seed": f"{config['seed']}, of the GAN {config['gan']['seed']}",
        "taught by": "synthetic films (phantoms)" if is_phantom else "a folder of films",
    }
    return RunFacts(
        finding=f"{FINDINGS[of_phantoms]} as they are drawn into synthetic films"
        if is_phantom
        else f"“{finding}”",
        is_phantom=is_phantom,
        image_size=config["data"]["image_size"],
        provenance={name: text for name, text in provenance.items() if text},
    )


def order_paths(names: Sequence[str], first: str) -> list[str]:
    """The path that is explained by, and the next ones, as many as lie beside each other."""
    others = [name for name in names if name != first]
    return [first, *others][:MOST_PATHS]


def page_path(
    name: str,
    frames: np.ndarray,
    *,
    margin: np.ndarray,
    judge_margin: np.ndarray,
    stop: int,
    target: float,
) -> PagePath:
    """One walk.

    Args:
      frames: [k, h, w, 1], as uint8 or in [-1, 1].
      margin, judge_margin: f and h on them [k].
    """
    pixels = frames if frames.dtype == np.uint8 else to_pixels(frames)
    return PagePath(
        name=title(name),
        frames=pixels[..., 0],
        margin=margin,
        judge_margin=judge_margin,
        stop=stop,
        target=target,
    )


def pick_masks(masks: Mapping[str, np.ndarray], row: int) -> dict[str, np.ndarray]:
    """Of masks by name [n, h, w, 1], those of one film that people know a name of, if not empty."""
    of_film = {name: masks[name][row, ..., 0] > 0 for name in MASKS if name in masks}
    return {name: mask for name, mask in of_film.items() if mask.any()}


def pick_maps(maps: Mapping[str, np.ndarray], row: int) -> dict[str, np.ndarray]:
    """Of maps by name [n, h, w, 1], the sizes of one film's, by title."""
    return {title(name): np.abs(np.float32(each[row, ..., 0])) for name, each in maps.items()}


def page_films(
    walks: StoppedWalk,
    *,
    names: Sequence[str],
    reasons: Sequence[str],
    towards: Sequence[int],
    path: str,
    target: Callable[[int], float],
    beside: Beside,
    num_films: int,
) -> list[PageFilm]:
    """The first `num_films` films that were walked along one path.

    Args:
      names, reasons, towards: film by film, as `PageFilm` has them.
      target: the margin at which walks of a direction stop.
    """
    return [
        PageFilm(
            name=names[row],
            reason=reasons[row],
            towards=towards[row],
            paths=[
                page_path(
                    path,
                    walks.walk.carried[row],
                    margin=walks.walk.margin[row],
                    judge_margin=walks.walk.judge_margin[row],
                    stop=int(walks.frame[row]),
                    target=target(towards[row]),
                )
            ],
            masks=pick_masks(beside.masks, row),
            maps=pick_maps(beside.maps, row),
        )
        for row in range(min(len(names), num_films))
    ]


def page_of_films(
    films: Sequence[PageFilm], num_explained: int, facts: RunFacts, *, beside: Beside
) -> Page:
    """The page of films that are in no data set: nothing was measured but what is `beside`."""
    return Page(
        facts=facts,
        films=films,
        num_explained=num_explained,
        rejected=[],
        coverage="",
        audit="",
        tables=beside.tables,
        audit_tables=[],
        map_notes={},
        where="walks.npz, beside this file",
    )


def share_out(counts: Sequence[int], most: int) -> list[int]:
    """How many of each group are shown, of `most`: as equal as their sizes allow.

    >>> share_out([31, 32], 24), share_out([3, 40], 24)
    ([12, 12], [3, 21])
    """
    left, shares = most, [0] * len(counts)
    order = sorted(range(len(counts)), key=lambda group: counts[group])
    for place, group in enumerate(order):
        shares[group] = min(counts[group], left // (len(order) - place))
        left -= shares[group]
    return shares
