"""The maps by name, each a small record in one registry: where the evidence for a positive lies.

Every map is [N, h, w, 1], signed where the method is; tables take its size. A new map is one
`register(Map(...))`: the checks of a config, the tables and the figures go by this registry.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from cxr_jax.explain import attribution, inversion
from cxr_jax.explain.films import Films, first_latents
from cxr_jax.explain.healthy_subspace import fit_subspace
from cxr_jax.explain.traversal import StoppedWalk
from cxr_jax.networks.restore import TrainedModels
from cxr_jax.runtime import parallel
from cxr_jax.types import Image, Margin

REFERENCES = 128  # healthy films, from which expected gradients are taken
FILMS_AT_ONCE = 64  # of which the references are held

# Traced: (models, a batch of arrays) to maps.
Traced = Callable[[TrainedModels, Any], Image]


# 1. What a map is made of, and what it is.


@dataclasses.dataclass(frozen=True, kw_only=True)
class MapInputs:
    """Positive films with what is known of them.

    Attributes:
      truth: what the data set knows, by name.
      walks: of every path.
      stopped: the walk of the path that map `latent` is read from.
      train_lesions: masks of the training films [M, h, w, 1] uint8; None where nobody knows them.
      healthy: training films that f calls negative [H, h, w, 1] in [-1, 1].
      seed: of what is drawn at random, the same for every film.
      traced: the map's own compiled function, of NumPy arrays.
    """

    films: Films
    truth: Mapping[str, np.ndarray]
    walks: Mapping[str, StoppedWalk]
    stopped: StoppedWalk
    train_lesions: np.ndarray | None
    healthy: Image
    seed: int
    traced: Callable[[Any], np.ndarray] | None = None


Kind = Literal["ours", "published", "rival", "control"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Map:
    """One way to say where the evidence lies.

    Attributes:
      name: in configs and results.
      title: as people write it; "" for the name.
      of: the maps of some films, signed where the method is.
      traced: from `config.explain` and a seed to a function that is compiled once; `of` calls it.
      truths: fields of the data set without which there is none.
      needs_lesions: whether the training films' lesions must be known.
      num_films: without so many there is none.
      paths: that must be walked.
      kind: "ours"; "published", a method of the literature, shown beside ours in `changes.png`;
        "rival", another way that asks no walk; "control", which does not explain f.
      note: what people are told of it beside its name.
      completes_walk: whether its sum ought to be what f moves by along the walk.
      needs_features: whether it reads a classifier's feature maps.
    """

    name: str
    title: str = ""
    of: Callable[[MapInputs], np.ndarray]
    traced: Callable[[ml_collections.ConfigDict, int], Traced] | None = None
    truths: tuple[str, ...] = ()
    needs_lesions: bool = False
    num_films: int = 1
    paths: tuple[str, ...] = ()
    kind: Kind = "ours"
    note: str = ""
    completes_walk: bool = False
    needs_features: bool = False

    def lacks(self, inputs: MapInputs) -> bool:
        """Whether there is none of these films."""
        return (
            (self.needs_lesions and inputs.train_lesions is None)
            or not set(self.truths) <= inputs.truth.keys()
            or len(inputs.films.image) < self.num_films
        )


MAPS: dict[str, Map] = {}


def register(map_: Map) -> Map:
    """Enters a map under its name."""
    MAPS[map_.name] = map_
    return map_


def of_kind(kind: Kind) -> tuple[str, ...]:
    """The names of all maps of a kind, in the registry's order."""
    return tuple(name for name, map_ in MAPS.items() if map_.kind == kind)


# 2. Maps of a walk.


def _by_windows(method: Callable) -> Callable[[ml_collections.ConfigDict, int], Traced]:
    """A way of exchanging windows, of the films and what they are exchanged for."""

    def traced(section: ml_collections.ConfigDict, seed: int) -> Traced:
        del seed
        return lambda models, batch: method(
            models.classify, *batch, num_windows=section.occlusion_windows
        )

    return traced


def _along_walk(section: ml_collections.ConfigDict, seed: int) -> Traced:
    del section, seed

    def integrate(models: TrainedModels, batch: tuple[jax.Array, jax.Array]) -> Image:
        carried, end = batch
        frames = jnp.moveaxis(carried, 1, 0)
        return attribution.latent_integrated_gradients(models.classify, frames, end)

    return integrate


def _occluded_change(inputs: MapInputs) -> np.ndarray:
    image = inputs.films.image
    return inputs.traced((image, image + inputs.stopped.change))


def _left_over(inputs: MapInputs) -> np.ndarray:
    """What the walk's last drawn frame is not of the film."""
    return inputs.films.image - inputs.stopped.at_stop(inputs.stopped.walk.drawn)


register(
    Map(
        name="latent",
        of=lambda inputs: inputs.stopped.change,
        note="the change of the walk shown above",
    )
)
register(
    Map(
        name="latent_occlusion",
        of=_occluded_change,
        traced=_by_windows(attribution.occluded_change),
    )
)
register(Map(name="residual", of=_left_over))
register(
    Map(
        name="latent_integrated_gradients",
        of=lambda inputs: inputs.traced((inputs.stopped.walk.carried, inputs.stopped.frame)),
        traced=_along_walk,
        completes_walk=True,
    )
)


# 3. Published attribution methods.


def _of_image(inputs: MapInputs) -> np.ndarray:
    return inputs.traced(inputs.films.image)


def _gradient(section: ml_collections.ConfigDict, seed: int) -> Traced:
    del section, seed
    return lambda models, image: attribution.input_gradient(models.classify, image)


def _from_baseline(section: ml_collections.ConfigDict, seed: int) -> Traced:
    del seed
    steps = section.integrated_gradients_steps

    def integrate(models: TrainedModels, batch: tuple[Image, Image]) -> Image:
        image, baseline = batch
        return attribution.integrated_gradients(models.classify, image, baseline, num_steps=steps)

    return integrate


def _integrated_gradients(section: ml_collections.ConfigDict, seed: int) -> Traced:
    integrate = _from_baseline(section, seed)
    return lambda models, image: integrate(models, (image, -jnp.ones_like(image)))


def _smoothgrad(section: ml_collections.ConfigDict, seed: int) -> Traced:
    def average(models: TrainedModels, image: Image) -> Image:
        # The same noise for every film: which rows share a batch must not matter.
        shape = (section.smoothgrad_samples, 1, *image.shape[1:])
        noise = section.smoothgrad_noise * jax.random.normal(jax.random.key(seed), shape)
        noise = jnp.broadcast_to(noise, (len(noise), *image.shape))
        return attribution.smooth_grad(models.classify, image, noise)

    return average


def _grad_cam(section: ml_collections.ConfigDict, seed: int) -> Traced:
    del section, seed
    return lambda models, image: attribution.grad_cam(
        models.classifier, image, models.classifier.network.last_stage
    )


register(Map(name="gradient", of=_of_image, traced=_gradient, kind="published"))
register(
    Map(
        name="integrated_gradients",
        title="Integrated Gradients",
        of=_of_image,
        traced=_integrated_gradients,
        kind="published",
    )
)
register(
    Map(name="smoothgrad", title="SmoothGrad", of=_of_image, traced=_smoothgrad, kind="published")
)
register(
    Map(
        name="grad_cam",
        title="Grad-CAM",
        of=_of_image,
        traced=_grad_cam,
        kind="published",
        needs_features=True,
    )
)


# 4. Rivals that know healthy films.


def _between(inputs: MapInputs, change: np.ndarray) -> np.ndarray:
    """Integrated gradients of the films from what they would be with a change."""
    image = inputs.films.image
    return inputs.traced((image, image + change))


def _mean_healthy(inputs: MapInputs) -> np.ndarray:
    return inputs.healthy.mean(axis=0) - inputs.films.image


def _expected(section: ml_collections.ConfigDict, seed: int) -> Traced:
    del section, seed

    def expect(models: TrainedModels, batch: tuple) -> Image:
        image, references, shares = batch
        return attribution.expected_gradients(models.classify, image, references, shares=shares)

    return expect


def _from_references(inputs: MapInputs) -> np.ndarray:
    """Expected gradients from REFERENCES healthy films, others for each film of a call."""
    rng = np.random.Generator(np.random.Philox(inputs.seed))
    image = inputs.films.image
    shape = len(image), REFERENCES
    rows, shares = rng.integers(len(inputs.healthy), size=shape), rng.random(shape, np.float32)
    # All references of 500 films of 128 px at once would be 4 GB.
    parts = [slice(at, at + FILMS_AT_ONCE) for at in range(0, len(image), FILMS_AT_ONCE)]
    made = [inputs.traced((image[at], inputs.healthy[rows[at]], shares[at])) for at in parts]
    return np.concatenate(made)


def _cover_with_mean(inputs: MapInputs) -> np.ndarray:
    image = inputs.films.image
    return inputs.traced((image, np.broadcast_to(inputs.healthy.mean(axis=0), image.shape)))


def _subspace_change(inputs: MapInputs) -> np.ndarray:
    return fit_subspace(inputs.healthy).change(inputs.films.image)


def _layer_cam(section: ml_collections.ConfigDict, seed: int) -> Traced:
    del seed
    return lambda models, image: attribution.layer_cam(
        models.classifier, image, section.layer_cam_stage
    )


register(
    Map(
        name="integrated_gradients_mean",
        title="Integrated Gradients from the mean negative",
        of=lambda inputs: _between(inputs, _mean_healthy(inputs)),
        traced=_from_baseline,
        kind="published",
    )
)
register(
    Map(
        name="expected_gradients",
        title="Expected Gradients",
        of=_from_references,
        traced=_expected,
        kind="published",
    )
)
register(
    Map(
        name="layer_cam",
        title="LayerCAM",
        of=_of_image,
        traced=_layer_cam,
        kind="published",
        needs_features=True,
    )
)
register(
    Map(
        name="occlusion",
        of=_cover_with_mean,
        traced=_by_windows(attribution.occlusion),
        kind="published",
    )
)
register(
    Map(
        name="latent_shift",
        title="Latent Shift",
        of=lambda inputs: inputs.walks["ray"].change,
        paths=("ray",),
        kind="published",
    )
)
register(Map(name="healthy_subspace", title="healthy subspace", of=_subspace_change, kind="rival"))
register(
    Map(
        name="healthy_subspace_gradients",
        title="integrated gradients from the healthy subspace",
        of=lambda inputs: _between(inputs, _subspace_change(inputs)),
        traced=_from_baseline,
        kind="rival",
    )
)


# 5. Controls, some of which know the truth.


def _anogan(section: ml_collections.ConfigDict, seed: int) -> Traced:
    """|x - G(z_structure, 0)|, fitted by pixels alone.

    What a generator of films without finding cannot draw (Schlegl et al., 2017): it shows what is
    unusual, and no classifier is asked.
    """
    del seed
    settings = inversion.make_settings(section.inversion)
    weights = dataclasses.replace(settings.weights, feature=0.0, margin=0.0, cross_entropy=0.0)
    settings = dataclasses.replace(settings, weights=weights)

    def anomaly(models: TrainedModels, films: Films) -> Image:
        def unasked(image: Image) -> tuple[Margin, dict]:
            return jnp.zeros(len(image)), {}

        zero = jnp.zeros_like(films.margin)
        target = inversion.Target(image=films.image, margin=zero, features={}, radius=zero)
        latents, _ = inversion.refine(
            first_latents(models, target, settings),
            target,
            models.generator,
            classify=unasked,
            span=models.scale.span,
            settings=settings,
        )
        return films.image - models.generator(latents.z_structure, latents.z_class(zero))

    return anomaly


register(
    Map(
        name="prior",
        kind="control",
        note="control: where lesions usually are, the same map for all films",
        of=lambda inputs: np.broadcast_to(
            (inputs.train_lesions / 255.0).mean(axis=0), inputs.films.image.shape
        ),
        needs_lesions=True,
    )
)
register(
    Map(
        name="lungs",
        kind="control",
        note="control: the lungs",
        of=lambda inputs: (inputs.truth["lung_mask"] > 0).astype(np.float32),
        truths=("lung_mask",),
        needs_lesions=True,
    )
)
register(
    Map(
        name="shuffled",
        kind="control",
        note="control: the change of another film",
        of=lambda inputs: np.roll(inputs.stopped.change, 1, axis=0),
        num_films=2,  # a film alone has no other: its map would be its own control
    )
)
register(
    Map(
        name="anogan",
        kind="control",
        note="control: what no negative film has, whatever f says",
        of=lambda inputs: inputs.traced(inputs.films),
        traced=_anogan,
    )
)
register(
    Map(
        name="pixel",
        kind="control",
        note="control: an adversarial change",
        of=lambda inputs: inputs.walks["pixel"].change,
        paths=("pixel",),
    )
)
register(
    Map(
        name="oracle",
        kind="control",
        note="the best a map can do: the film less its true twin",
        of=lambda inputs: inputs.films.image - inputs.truth["twin"],
        truths=("twin",),
        needs_lesions=True,
    )
)


# 6. Making them.


NO_FEATURES = "the classifier is a function that shows no feature maps"
NOT_POSSIBLE = "needs a truth that the data set lacks, or another film that passed the gate"


def reasons(models: TrainedModels, names: Sequence[str]) -> dict[str, str]:
    """By name of the map, why it cannot be made of this classifier."""
    has_features = bool(models.classifier.network.last_stage)
    return {name: NO_FEATURES for name in names if MAPS[name].needs_features and not has_features}


def compile_maps(
    models: TrainedModels, section: ml_collections.ConfigDict, seed: int
) -> dict[str, Callable[[Any], np.ndarray]]:
    """The traced functions of the maps that `config.explain` asks for, of any number of rows."""

    def bind(name: str) -> Callable[[Any], np.ndarray]:
        traced = MAPS[name].traced(section, seed)
        mapped = parallel.in_batches(traced, section.batch_size, f"map {name}")
        return lambda batch: mapped(models, batch)

    absent = reasons(models, section.maps)
    return {name: bind(name) for name in section.maps if MAPS[name].traced and name not in absent}


def make_maps(
    inputs: MapInputs,
    names: Sequence[str],
    traced: Mapping[str, Callable[[Any], np.ndarray]],
) -> dict[str, np.ndarray]:
    """The maps of some films by name, signed where the method is, in the registry's order.

    Args:
      names: of those wanted; such as cannot be made of these films are left out.
      traced: of `compile_maps`.
    """
    made = {}
    for name, map_ in MAPS.items():
        is_compiled = map_.traced is None or name in traced
        if name in names and is_compiled and not map_.lacks(inputs):
            own = dataclasses.replace(inputs, traced=traced.get(name))
            made[name] = map_.of(own)
    return made
