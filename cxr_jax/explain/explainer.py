"""Everything that explaining calls: trained models, bound and compiled once each."""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import ml_collections
import numpy as np

from cxr_jax import necessity
from cxr_jax.explain import films, inversion, maps, paths
from cxr_jax.explain.films import Films
from cxr_jax.explain.paths import Walker
from cxr_jax.models.lung_view import LungView
from cxr_jax.models.model import Model
from cxr_jax.networks import prior
from cxr_jax.networks.restore import TrainedModels, make_margins
from cxr_jax.runtime import parallel
from cxr_jax.types import Count, Each, Image, Index, Margin, Pixels, ZClass, ZStructure


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explainer:
    """Functions of any number of films or images, in NumPy arrays; images in [-1, 1].

    Attributes:
      margins: pixels to the margins (f, h).
      classify, judge: images to f, and to h.
      invert: pixels to Films.
      draw: (z_structure, z_class) to images.
      draw_latents: (patients, findings, margins) to both latents of films that nobody has taken,
        see `prior.draw_answered`; None where there is no prior.
      walk: (films, guide, thresholds, towards=) to the stopped walks of every path.
      felt_share: (images, changes) to the share of each change that f feels [N].
      unit_gradient: films to the unit gradients of f(G(z)) [N, n].
      traced_maps: of `maps.compile_maps`.
      seen: images to masks of what f is shown; None where that is not found film by film.
      find_lungs, features: images to lung masks, and to the regressor's features; None where the
        evaluator was not trained.
      reasons: by name of the evaluator, why it was not; "" where it was.
      missing_maps: by name of a map that was asked for, why it cannot be made.
    """

    margins: Callable[[Pixels], tuple[np.ndarray, np.ndarray]]
    classify: Callable[[Image], np.ndarray]
    judge: Callable[[Image], np.ndarray]
    invert: Callable[[Pixels], Films]
    draw: Callable[[np.ndarray, np.ndarray], np.ndarray]
    draw_latents: Callable[..., tuple[np.ndarray, np.ndarray]] | None
    walk: Walker | Callable
    felt_share: Callable[[Image, Image], np.ndarray]
    unit_gradient: Callable[[Films], np.ndarray]
    traced_maps: Mapping[str, Callable[[Any], np.ndarray]]
    seen: Callable[[Image], np.ndarray] | None
    find_lungs: Callable[[Image], np.ndarray] | None
    features: Callable[[Image], np.ndarray] | None
    reasons: Mapping[str, str]
    missing_maps: Mapping[str, str] = dataclasses.field(default_factory=dict)


def bind(function: Callable, frozen: Any, batch_size: int, *, what: str = "") -> Callable:
    """`function(frozen, batch)` of any number of rows, as a function of the batch."""
    mapped = parallel.in_batches(function, batch_size, what)
    return lambda batch: mapped(frozen, batch)


def bind_evaluators(
    segmenter: Model | None, regressor: Model | None, batch_size: int
) -> dict[str, Callable | None]:
    """`find_lungs` and `features` of an explainer."""
    find = lambda model, image: model(image) > 0
    see = lambda model, image: model(image)[1]
    return {
        "find_lungs": bind(find, segmenter, batch_size) if segmenter else None,
        "features": bind(see, regressor, batch_size) if regressor else None,
    }


def bind_view(classifier: Model, batch_size: int) -> Callable | None:
    """`seen` of an explainer."""
    if not isinstance(classifier.network, LungView):
        return None
    return bind(lambda model, image: model(image, method="seen"), classifier, batch_size)


def bind_prior(models: TrainedModels, seed: int, batch_size: int) -> Callable | None:
    """`draw_latents` of an explainer."""
    if models.prior is None:
        return None
    mapped = bind(_draw_latents, (models, np.int32(seed)), batch_size)
    return lambda *films: mapped(films)


def _draw_latents(
    frozen: tuple[TrainedModels, Count], films: tuple[Index, Index, Margin]
) -> tuple[ZStructure, ZClass]:
    models, seed = frozen
    drawn_by = models.prior, models.scale, seed
    return prior.draw_answered(drawn_by, (models.generator, models.classifier), films)


def _felt_share(models: TrainedModels, batch: tuple[Image, Image]) -> Each:
    return necessity.felt_share(models.classify, *batch)


def make_explainer(
    models: TrainedModels,
    section: ml_collections.ConfigDict,
    seed: int,
    *,
    segmenter: Model | None = None,
    regressor: Model | None = None,
    reasons: Mapping[str, str] = MappingProxyType({}),
) -> Explainer:
    """Binds models to the functions of an explainer; each is compiled when it is first called.

    Args:
      section: `config.explain`.
      reasons: why an evaluator is not there.
    """
    size = section.batch_size
    ask_f, ask_h = make_margins(models.classifier.network), make_margins(models.judge.network)
    invert = films.make_invert(inversion.make_settings(section.inversion))
    draw = bind(lambda generator, latents: generator(*latents), models.generator, size)
    answer = lambda model, image: model(image)[0]
    feel = bind(_felt_share, models, size)
    return Explainer(
        margins=lambda pixels: (
            ask_f(models.classifier.params, pixels),
            ask_h(models.judge.params, pixels),
        ),
        classify=bind(answer, models.classifier, size),
        judge=bind(answer, models.judge, size),
        invert=bind(invert, models, size, what="inversion"),
        draw=lambda *latents: draw(latents),
        draw_latents=bind_prior(models, seed, size),
        walk=paths.make_walker(models, section, seed),
        felt_share=lambda *batch: feel(batch),
        unit_gradient=bind(paths.unit_gradient, models, size),
        traced_maps=maps.compile_maps(models, section, seed),
        reasons={"segmenter": "", "regressor": ""} | dict(reasons),
        missing_maps=maps.reasons(models, section.maps),
        seen=bind_view(models.classifier, size),
        **bind_evaluators(segmenter, regressor, size),
    )
