"""Does a map show what this classifier uses? Against its answers without each thing on the film.

A lesion mask tells whether an explanation is plausible; whether it is faithful to f, this: the
Shapley value of every lesion, look-alike and marker of a phantom is known, by rendering the patient
with every subset of them, and the mass of a map on each is held against it, within films.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from cxr_jax import metrics, progress
from cxr_jax.data.arrays import to_unit_range
from cxr_jax.datasets.cxr_phantom.canvas import one_thread
from cxr_jax.datasets.cxr_phantom.components import Components, draw_components, find_regions
from cxr_jax.datasets.cxr_phantom.phantom import PhantomSpec
from cxr_jax.evaluate.shapley import shapley_values
from cxr_jax.metrics import Bootstrap

LEAST_SHARE = 0.01  # of a film's whole: what is less is taken for so much, so that it has a log
UNVALUED = 0.05  # share of the evidence, below which a component is none that f values
FEWEST = 2  # components of a film that can be compared with each other; 3 for a rank correlation
METRICS = ("rank", "top", "unvalued")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Valued:
    """A film's components as f values them: those that are seen, k of them.

    Attributes:
      names: see `Components.names`.
      regions: their pixels, bool [k, h, w, 1].
      visibility: what those change by together without them [k], on the [-1, 1] scale.
      value: f's Shapley values [k], in logits.
      hidden: how many more are on the film, but nowhere seen.
    """

    names: tuple[str, ...]
    regions: np.ndarray
    visibility: np.ndarray
    value: np.ndarray
    hidden: int


def value_film(
    patient_id: str, spec: PhantomSpec, classify: Callable[[np.ndarray], np.ndarray]
) -> Valued:
    """Renders a patient with every subset of the components (sampled, if many) and asks f.

    Args:
      spec: of the data set.
      classify: images in [-1, 1] to f.
    """
    components = draw_components(patient_id, spec)
    regions, visibility = find_regions(components)
    values = shapley_values(
        lambda members: _ask(components, members, classify), len(components.names), seed=0
    )
    seen = visibility > 0
    return Valued(
        names=tuple(name for name, here in zip(components.names, seen, strict=True) if here),
        regions=regions[seen],
        visibility=visibility[seen],
        value=values[seen],
        hidden=int((~seen).sum()),
    )


def value_films(
    patients: Sequence[bytes], spec: PhantomSpec, classify: Callable[[np.ndarray], np.ndarray]
) -> list[Valued]:
    """`value_film` of each patient, as data sets name them; tells how far it is."""
    return [
        value_film(patients[row].decode(), spec, classify)
        for row in progress.told("Shapley values", len(patients))
    ]


def _ask(
    components: Components, members: np.ndarray, classify: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """f on the patient with the members of each coalition [m, k]; each is rendered once."""
    coalitions, which = np.unique(members, axis=0, return_inverse=True)
    with one_thread():
        films = np.stack([components.render(one) for one in coalitions])
    return classify(to_unit_range(films))[which.ravel()]


def masses(saliency: np.ndarray, film: Valued) -> np.ndarray:
    """What of a map [h, w, 1], never negative, lies on each component [k]."""
    return np.array([saliency[region].sum(dtype=float) for region in film.regions])


def score(saliency: np.ndarray, film: Valued) -> dict[str, float]:
    """Of one film and map; NaN where it has too few components.

    Returns:
      rank: Spearman's correlation of masses and values. top: whether the heaviest component is the
      most valued. unvalued: share of the whole map on components that f values at less than
      UNVALUED of what it values at all.
    """
    mass, value = masses(saliency, film), film.value
    total, valued = saliency.sum(dtype=float), np.maximum(value, 0).sum()
    if len(mass) < FEWEST or total <= 0:
        return dict.fromkeys(METRICS, np.nan)
    rank = metrics.spearman(mass, value)
    return {
        "rank": np.nan if rank is None else rank,
        "top": float(mass.any() and mass.argmax() == value.argmax()),
        "unvalued": mass[value < UNVALUED * valued].sum() / total,
    }


def log_shares(amount: np.ndarray) -> np.ndarray:
    """Logarithms of what is positive of each amount as a share of the whole, less their mean."""
    amount = np.maximum(amount, 0.0)
    total = amount.sum()
    logs = np.log(np.maximum(amount / total, LEAST_SHARE)) if total > 0 else np.zeros_like(amount)
    return logs - logs.mean()


def products(saliency: np.ndarray, film: Valued) -> np.ndarray:
    """A film's part in the partial correlation: [3, 3] products of its log shares.

    Rows are the map's masses, f's values and the visibility; zero for a film with too few
    components.
    """
    if len(film.value) < FEWEST:
        return np.zeros((3, 3))
    columns = (masses(saliency, film), film.value, film.visibility)
    logs = np.stack([log_shares(column) for column in columns])
    return logs @ logs.T


def partial_correlation(
    moments: Float[np.ndarray, "*batch 3 3"],
) -> Float[np.ndarray | np.floating, "*batch"]:
    """The correlation of masses and values given the visibility, from summed `products`.

    Of the residuals of both after regression on the third; NaN where there are none.
    """
    (aa, ab, ac), (_, bb, bc), cc = (
        tuple(moments[..., 0, i] for i in range(3)),
        tuple(moments[..., 1, i] for i in range(3)),
        moments[..., 2, 2],
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        within = ab - ac * bc / cc
        return within / np.sqrt((aa - ac**2 / cc) * (bb - bc**2 / cc))


def summarise(
    each: Mapping[str, Mapping[str, np.ndarray]], bootstrap: Bootstrap, ours: str = ""
) -> dict[str, dict[str, dict]]:
    """By name of a map: its `partial` correlation, over films; and the means of `score`.

    Args:
      each: by name, `products` [N, 3, 3] and the metrics of `score` [N].
      ours: where given, every other map has `minus`, the partial correlation of this one less its
        own, paired over films.
    """
    table, resampled = {}, {}
    for name, columns in each.items():
        moments = columns["products"]
        picks = bootstrap.rows(len(moments))
        partial = float(partial_correlation(moments.sum(axis=0)))
        resampled[name] = partial_correlation(moments[picks].sum(axis=1))
        told = int(moments.any(axis=(1, 2)).sum())  # the others have too few components
        table[name] = {"partial": _entry(partial, resampled[name], told)}
        for metric in METRICS:
            table[name][metric] = (
                metrics.summarise_proportion(columns[metric])
                if metric == "top"
                else metrics.summarise(columns[metric], bootstrap)
            )
    for name in table.keys() - {ours} if ours else ():
        difference = resampled[ours] - resampled[name]
        means = [table[one]["partial"]["mean"] for one in (ours, name)]
        known = None not in means
        table[name]["minus"] = _entry(
            means[0] - means[1] if known else np.nan,
            difference,
            int(each[name]["products"].any(axis=(1, 2)).sum()),
        )
    return table


def _entry(value: float, resampled: np.ndarray, films: int) -> dict:
    if not np.isfinite(value):
        return {"mean": None, "reason": "too few films have two components or more"}
    return {"mean": value, "ci95": metrics.interval(resampled), "images": films}


def score_maps(
    maps: Mapping[str, np.ndarray], films: Sequence[Valued]
) -> dict[str, dict[str, np.ndarray]]:
    """By name of a map [N, h, w, 1], its `products` and the metrics of `score`, film by film."""
    table = {}
    for name, saliency in maps.items():
        pairs = list(zip(np.abs(saliency), films, strict=True))
        each = [score(*pair) for pair in pairs]
        table[name] = {metric: np.array([one[metric] for one in each]) for metric in METRICS}
        table[name]["products"] = np.stack([products(*pair) for pair in pairs])
    return table
