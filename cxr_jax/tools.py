"""Everything that explaining calls: the trained networks, loaded, bound and compiled once each."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import flax.linen as nn
import ml_collections
import numpy as np

from cxr_jax import (
    films,
    invert,
    maps,
    parallel,
    paths,
    precision,
    train_classifier,
    train_encoder,
    train_evaluators,
    train_gan,
)
from cxr_jax.data import Arrays
from cxr_jax.films import Films, Thresholds, Trained
from cxr_jax.gan_objective import Networks
from cxr_jax.paths import Guide
from cxr_jax.types import Image, Params, Pixels
from cxr_jax.walk import Walk
from datasets.errors import InputError


class Tools(NamedTuple):
    """Functions of any number of films or images, images in [-1, 1].

    Attributes:
      margins: pixels to the margins (f, h).
      classify: images to f.
      invert: pixels to Films.
      draw: (z_structure, z_class) to images.
      walk: (guide, films, towards, thresholds) to the walks of every path.
      unit_gradient: films to the unit gradients of f(G(z)) [N, n].
      baselines: the attribution methods by name, images to maps.
      along_walk: (walk, end frames) to signed integrated gradients along the walk.
      occlude: (films, counterfactuals) to the change, weighted by what f owes to it.
      anogan: films to |x - G(z_structure, 0)|.
      lungs, features: images to lung masks, and to the regressor's features; None where the
        evaluator was not trained.
      reasons: by name of the evaluator, why it was not; "" where it was.
      no_map: by name of a map that was asked for, why it cannot be made.
    """

    margins: Callable[[Pixels], tuple[np.ndarray, np.ndarray]]
    classify: Callable[[Image], np.ndarray]
    invert: Callable[[Pixels], Films]
    draw: Callable[[np.ndarray, np.ndarray], np.ndarray]
    walk: Callable[[Guide, Films, int, Thresholds], dict[str, list[Walk]]]
    unit_gradient: Callable[[Films], np.ndarray]
    baselines: Mapping[str, Callable[[Image], np.ndarray]]
    along_walk: Callable[[Walk, np.ndarray], np.ndarray]
    occlude: Callable[[Image, Image], np.ndarray]
    anogan: Callable[[Films], np.ndarray]
    lungs: Callable[[Image], np.ndarray] | None
    features: Callable[[Image], np.ndarray] | None
    reasons: Mapping[str, str]
    no_map: Mapping[str, str] = MappingProxyType({})


class Classifiers(NamedTuple):
    """The networks that are asked, beside those of the GAN; `robust` only where it was trained."""

    judge: nn.Module
    robust: nn.Module | None


def load_trained(
    config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]
) -> tuple[Networks, Classifiers, Trained]:
    """Every trained network and its parameters; the networks compute in float32.

    Raises:
      InputError: if path `geodesic` is wanted and the robust classifier was not trained.
    """
    config = precision.in_float32(config)
    networks = train_gan.make_networks(config)
    size = config.data.image_size
    judge, judge_params = train_classifier.load(
        config.judge, size, workdir / "classifier" / "judge"
    )
    classifier, scale, _ = train_gan.load_frozen(config, workdir, splits)
    robust, robust_params = None, None
    if "geodesic" in config.explain.paths:
        reason = train_evaluators.missing_reason(workdir, "robust")
        if reason:
            raise InputError(f"path 'geodesic' needs the robust classifier, but {reason}")
        robust, robust_params = train_evaluators.load_robust(config, workdir)
    trained = Trained(
        classifier=classifier,
        judge=judge_params,
        generator=train_gan.load(networks, workdir)["generator"],
        encoder=train_encoder.load(networks, workdir),
        scale=scale,
        robust=robust_params,
    )
    return networks, Classifiers(judge, robust), trained


def bind_to(function: Callable, params: Params, batch_size: int) -> Callable:
    """`function(params, batch)` for any number of rows."""
    mapped = parallel.in_batches(function, 1, batch_size)
    return lambda batch: mapped(params, batch)


def apply(network: nn.Module, read: Callable) -> Callable:
    """What `read` takes of the network's answer, as a function (params, images)."""
    return lambda params, image: read(network.apply({"params": params}, image))


def load_evaluator(
    config: ml_collections.ConfigDict, workdir: Path, name: str, load: Callable, read: Callable
) -> Callable | None:
    """An evaluator of a finished run as a function of images; None if it was not trained."""
    if train_evaluators.missing_reason(workdir, name):
        return None
    network, params = load(precision.in_float32(config), workdir)
    return bind_to(apply(network, read), params, config.explain.batch_size)


def load_lungs(config: ml_collections.ConfigDict, workdir: Path) -> Callable | None:
    """Images to lung masks."""
    load = train_evaluators.load_segmenter
    return load_evaluator(config, workdir, "segmenter", load, lambda logit: logit > 0)


def load_features(config: ml_collections.ConfigDict, workdir: Path) -> Callable | None:
    """Images to the regressor's features."""
    load = train_evaluators.load_regressor
    return load_evaluator(config, workdir, "regressor", load, lambda both: both[1])


def make_tools(
    config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]
) -> Tools:
    """Loads every trained network and binds it."""
    section = config.explain
    networks, (judge, robust), trained = load_trained(config, workdir, splits)

    bind = functools.partial(bind_to, batch_size=section.batch_size)
    settings = invert.make_settings(section.inversion)
    invert_films = bind(films.make_invert(networks, judge, settings), trained)
    named = paths.make_paths(networks, judge, robust, section)
    draw = bind(
        lambda params, latents: networks.generator.apply({"params": params}, *latents),
        trained.generator,
    )
    ask_f = train_classifier.make_margins(networks.classifier)
    ask_h = train_classifier.make_margins(judge)
    along_walk = bind(maps.along_walk(networks.classifier), trained.classifier)
    occlude = bind(maps.occlude(networks.classifier, section.occlusion_windows), trained.classifier)
    baselines = maps.baselines(networks.classifier, section, config.seed)
    return Tools(
        margins=lambda pixels: (ask_f(trained.classifier, pixels), ask_h(trained.judge, pixels)),
        classify=bind(apply(networks.classifier, lambda both: both[0]), trained.classifier),
        invert=invert_films,
        draw=lambda *latents: draw(latents),
        walk=lambda guide, some, towards, thresholds: paths.walk_films(
            named, trained, guide, some, towards, thresholds, config.seed
        ),
        unit_gradient=bind(paths.unit_gradient(networks, judge), trained),
        baselines={name: bind(method, trained.classifier) for name, method in baselines.items()},
        along_walk=lambda walked, end: along_walk((walked, end)),
        occlude=lambda *pair: occlude(pair),
        anogan=bind(maps.anogan(networks, section), trained),
        lungs=load_lungs(config, workdir),
        features=load_features(config, workdir),
        reasons={
            name: train_evaluators.missing_reason(workdir, name)
            for name in ("segmenter", "regressor")
        },
        no_map=maps.reasons(networks.classifier, section.maps),
    )
