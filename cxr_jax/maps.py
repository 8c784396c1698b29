"""The maps by name: where each method says that the evidence for a positive lies.

Every map is [N, h, w, 1] and never negative: signed attributions enter by their size.
"""

from collections.abc import Callable, Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from cxr_jax import attribution, invert
from cxr_jax.films import Films, Trained, first_latents
from cxr_jax.gan_objective import Networks
from cxr_jax.scores import Ended
from cxr_jax.types import Image, Margin, Params
from cxr_jax.walk import Walk

BASELINES = ("gradient", "integrated_gradients", "smoothgrad", "grad_cam")
CONTROLS = ("prior", "lungs", "shuffled", "anogan", "pixel", "oracle")
WALKS = ("latent", "latent_occlusion", "residual", "latent_integrated_gradients")
NAMES = (*WALKS, *BASELINES, *CONTROLS)


def baselines(
    network: nn.Module, section: ml_collections.ConfigDict, seed: int
) -> dict[str, Callable[[Params, Image], Image]]:
    """The published attribution methods that `config.explain` asks for: (params, image) to maps."""

    def make(name: str) -> Callable:
        def saliency(params: Params, image: Image) -> Image:
            def classify(image: Image) -> Margin:
                return network.apply({"params": params}, image)[0]

            if name == "gradient":
                return attribution.input_gradient(classify, image)
            if name == "integrated_gradients":
                black = -jnp.ones_like(image)
                return jnp.abs(
                    attribution.integrated_gradients(
                        classify, image, black, section.integrated_gradients_steps
                    )
                )
            if name == "smoothgrad":
                # The same noise for every film: which rows share a batch must not matter.
                shape = (section.smoothgrad_samples, 1, *image.shape[1:])
                noise = section.smoothgrad_noise * jax.random.normal(jax.random.key(seed), shape)
                noise = jnp.broadcast_to(noise, (len(noise), *image.shape))
                return jnp.abs(attribution.smooth_grad(classify, image, noise))
            return attribution.grad_cam(network, params, image, network.last_stage)

        return saliency

    missing = reasons(network, section.maps)
    return {name: make(name) for name in BASELINES if name in section.maps and name not in missing}


def reasons(network: nn.Module, names: Sequence[str]) -> dict[str, str]:
    """By name of the map, why it cannot be made of this classifier."""
    if "grad_cam" in names and not network.last_stage:
        return {"grad_cam": "the classifier is a function that shows no feature maps"}
    return {}


def along_walk(network: nn.Module) -> Callable[[Params, tuple[Walk, np.ndarray]], Image]:
    """A function (params, (walk, end frame [b])) -> signed integrated gradients along the walks."""

    def integrate(params: Params, batch: tuple[Walk, np.ndarray]) -> Image:
        walked, end = batch
        return attribution.latent_integrated_gradients(
            lambda image: network.apply({"params": params}, image)[0],
            jnp.moveaxis(walked.carried, 1, 0),
            end,
        )

    return integrate


def occlude(network: nn.Module, num_windows: int) -> Callable[[Params, tuple[Image, Image]], Image]:
    """A function (params, (films, counterfactuals)) -> `attribution.occlusion` of the change."""

    def undo(params: Params, batch: tuple[Image, Image]) -> Image:
        return attribution.occlusion(
            lambda image: network.apply({"params": params}, image)[0], *batch, num_windows
        )

    return undo


def anogan(
    networks: Networks, section: ml_collections.ConfigDict
) -> Callable[[Trained, Films], Image]:
    """A function (trained, films) -> |x - G(z_structure, 0)|, fitted by pixels alone.

    What a generator of films without finding cannot draw (Schlegl et al., 2017): it shows what is
    unusual, and no classifier is asked.
    """
    settings = invert.make_settings(section.inversion)
    by_pixels = settings.weights._replace(feature=0.0, margin=0.0, cross_entropy=0.0)
    settings = settings._replace(weights=by_pixels)

    def anomaly(trained: Trained, films: Films) -> Image:
        def render(*latents: jax.Array) -> Image:
            return networks.generator.apply({"params": trained.generator}, *latents)

        def unasked(image: Image) -> tuple[Margin, dict]:
            return jnp.zeros(len(image)), {}

        nothing = jnp.zeros_like(films.margin)
        target = invert.Target(films.image, nothing, {}, radius=nothing)
        first = first_latents(networks, trained, target, render, settings)
        latents, _ = invert.refine(first, target, render, unasked, trained.scale.span, settings)
        drawn = render(latents.structure, latents.severity(nothing))
        return jnp.abs(films.image - drawn)

    return anomaly


def walk_maps(films: Films, walked: Walk, ended: Ended) -> dict[str, np.ndarray]:
    """What a walk changed, what it left of the film, and another film's change."""
    change = np.abs(ended.change)
    drawn_end = walked.drawn[np.arange(len(change)), ended.frame]
    made = {"latent": change, "residual": np.abs(films.image - drawn_end)}
    # A film alone has no other: its map would be its own control.
    return made | ({"shuffled": np.roll(change, 1, axis=0)} if len(change) > 1 else {})


def truth_maps(
    films: Films, truth: Mapping[str, np.ndarray], train_lesions: np.ndarray
) -> dict[str, np.ndarray]:
    """The controls that know the truth: mean training lesions, the film's lungs, and its twin."""
    return {
        "prior": np.broadcast_to((train_lesions / 255.0).mean(axis=0), films.image.shape),
        "lungs": (truth["lung_mask"] > 0).astype(np.float32),
        "oracle": np.abs(films.image - truth["twin"]),
    }
