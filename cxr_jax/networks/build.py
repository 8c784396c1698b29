"""From a `config.classifier` or `config.judge` section to a network and its first parameters."""

import dataclasses
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from cxr_jax.data.film_parameters import NAMES
from cxr_jax.models.classifier import Classifier
from cxr_jax.models.encoder import Encoder
from cxr_jax.models.external import External
from cxr_jax.models.gan import Discriminator, Generator, LatentCritic
from cxr_jax.models.lung_view import LUNGS, LungView
from cxr_jax.models.paper import PaperDiscriminator, PaperGenerator
from cxr_jax.models.plain import PlainClassifier
from cxr_jax.models.published.adapter import Adapted
from cxr_jax.models.published.densenet import DenseNet
from cxr_jax.models.published.resnet import ResNet
from cxr_jax.models.published.vgg import VGG
from cxr_jax.models.regressor import Regressor
from cxr_jax.models.segmenter import Segmenter
from cxr_jax.networks import torch_weights
from cxr_jax.networks.functions import load_function
from cxr_jax.runtime import parallel
from cxr_jax.runtime.startup import run_once
from cxr_jax.runtime.user_path import user_path
from cxr_jax.types import Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class GanNetworks:
    """The modules that a GAN is trained of; the paper has neither encoder nor critic."""

    generator: Generator | PaperGenerator
    encoder: Encoder | None
    discriminator: Discriminator | PaperDiscriminator
    critic: LatentCritic | None


BACKBONES = {
    "vgg16": VGG,
    "densenet121": lambda **fields: DenseNet(total=parallel.total, **fields),
    "resnet50": lambda **fields: ResNet(total=parallel.total, **fields),
}
OWN = {"compact": Classifier, "plain": PlainClassifier}  # taught here, from scratch
ARCHITECTURES = (*OWN, *BACKBONES)
NETWORKS = OBJECTIVES = ("ours", "paper")


def make_classifier(config: ml_collections.ConfigDict) -> nn.Module:
    """The network of a section: image in [-1, 1] to (margin, feature maps by name).

    Raises:
      InputError: if `config.module` names no function.
    """
    if config.module:
        return make_external(load_function(config.module), config.convention)
    if config.architecture in OWN:
        return _make_own(config)
    convention = config.convention
    return Adapted(
        BACKBONES[config.architecture](outputs=convention.outputs, dtype=config.dtype),
        input_size=convention.input_size,
        channels=convention.channels,
        black=tuple(convention.black),
        white=tuple(convention.white),
        positive_output=convention.positive_output,
        negative_output=convention.negative_output,
        threshold=convention.threshold,
    )


def _make_own(config: ml_collections.ConfigDict) -> nn.Module:
    """A network that is trained here, behind what it is shown of a film."""
    own = partial(OWN[config.architecture], widths=tuple(config.widths), dtype=config.dtype)
    if config.visible != LUNGS:
        return own(visible=config.visible)
    segmenter = Segmenter(widths=tuple(config.segmenter_widths), dtype=config.dtype)
    return LungView(classifier=own(), segmenter=segmenter)


def make_external(function: Callable, convention: ml_collections.ConfigDict) -> External:
    """A function of the user's own as a network."""
    return External(
        function,
        positive_output=convention.positive_output,
        negative_output=convention.negative_output,
        threshold=convention.threshold,
    )


def init_params(network: nn.Module, image_size: int, seed: int) -> Params:
    """Fresh parameters; a function of the user's own has none of ours."""
    if isinstance(network, External):
        return {}
    if isinstance(network, Adapted):
        return _draw(param_shapes(network, image_size), seed)
    image = jnp.zeros((1, image_size, image_size, 1))
    return network.init(jax.random.key(seed), image)["params"]


def fresh_params(network: nn.Module, image_size: int, seed: int) -> Params:
    """`init_params`, drawn by one program where they are not drawn on the host."""
    draw = lambda: init_params(network, image_size, seed)
    return draw() if isinstance(network, (External, Adapted)) else run_once(draw)


def param_shapes(network: nn.Module, image_size: int) -> Params:
    """The parameters' shapes and types, without their values."""
    image = jax.ShapeDtypeStruct((1, image_size, image_size, 1), jnp.float32)
    return jax.eval_shape(lambda image: network.init(jax.random.key(0), image)["params"], image)


def _draw(like: Params, seed: int) -> Params:
    """Kernels from N(0, 2 / fan-in) (He et al., 2015), everything else where it does nothing.

    On the host: a program that draws a hundred layers takes a minute to compile.
    """
    rng = np.random.Generator(np.random.Philox(seed))

    def one(name: str, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if leaf.ndim > 1:
            spread = np.sqrt(2 / np.prod(leaf.shape[:-1]))
            return (spread * rng.standard_normal(leaf.shape, np.float32)).astype(leaf.dtype)
        return np.full(leaf.shape, float(name in ("weight", "running_var")), leaf.dtype)

    return {
        layer: {name: one(name, leaf) for name, leaf in leaves.items()}
        for layer, leaves in like.items()
    }


def first_params(
    config: ml_collections.ConfigDict, network: nn.Module, *, image_size: int, seed: int
) -> Params:
    """What training begins with: fresh parameters, or those of `config.weights`.

    Raises:
      InputError: if that file cannot be read or does not fit the network.
    """
    params = fresh_params(network, image_size, seed)
    return fill_weights(config, network, params) if config.weights else params


def fill_weights(config: ml_collections.ConfigDict, network: nn.Module, params: Params) -> Params:
    """The parameters with the values of `config.weights`, but for those of a new head."""
    path = user_path(config.weights)
    kept = network.head if config.new_head else ()
    return torch_weights.fill(params, torch_weights.read(path), path, kept=kept)


def make_segmenter(config: ml_collections.ConfigDict) -> Segmenter:
    """The network of `config.evaluators.segmenter`."""
    return Segmenter(widths=tuple(config.widths), dtype=config.dtype)


def make_robust(config: ml_collections.ConfigDict) -> Classifier:
    """The network of `config.evaluators.robust`."""
    return Classifier(widths=tuple(config.widths), dtype=config.dtype)


def make_regressor(config: ml_collections.ConfigDict) -> Regressor:
    """The network of `config.evaluators.regressor`."""
    return Regressor(len(NAMES), tuple(config.widths), config.num_features, dtype=config.dtype)


def make_gan_networks(config: ml_collections.ConfigDict) -> GanNetworks:
    """The GAN of a config."""
    if config.gan.networks == "paper":
        return make_paper_networks(config)
    gan, size = config.gan, config.data.image_size
    channels = dict(
        z_structure_channels=tuple(gan.z_structure_channels),
        z_class_channels=tuple(gan.z_class_channels),
        spatial_z_class=gan.spatial_z_class,
    )
    return GanNetworks(
        generator=Generator(
            image_size=size, widths=tuple(gan.generator_widths), dtype=gan.dtype, **channels
        ),
        encoder=Encoder(widths=tuple(gan.encoder_widths), dtype=gan.dtype, **channels),
        discriminator=Discriminator(
            widths=tuple(gan.discriminator_widths), num_grades=gan.num_grades, dtype=gan.dtype
        ),
        critic=LatentCritic(
            image_size=size,
            z_structure_channels=tuple(gan.z_structure_channels),
            widths=tuple(gan.critic_widths),
        ),
    )


def make_paper_networks(config: ml_collections.ConfigDict) -> GanNetworks:
    """Those of the paper, which has no encoder, for an image of the config's size."""
    paper, dtype = config.gan.paper, config.gan.dtype
    return GanNetworks(
        generator=PaperGenerator(
            image_size=config.data.image_size,
            latent_sizes=(paper.num_z_structure, paper.num_z_class),
            widths=tuple(paper.generator_widths),
            total=parallel.total,
            dtype=dtype,
        ),
        encoder=None,
        discriminator=PaperDiscriminator(
            widths=tuple(paper.discriminator_widths),
            rate=paper.dropout,
            total=parallel.total,
            dtype=dtype,
        ),
        critic=None,
    )


def init_gan_params(networks: GanNetworks, seed: int) -> tuple[Params, Params]:
    """Fresh parameters of ({"generator", "encoder"}, {"image", "latent"}), those that there are."""
    keys = jax.random.split(jax.random.key(seed), 4)
    latents = [jnp.zeros((1, size)) for size in networks.generator.latent_sizes]
    size = networks.generator.image_size
    image, grade = jnp.zeros((1, size, size, 1)), jnp.zeros((1,), jnp.int32)
    generator = {"generator": networks.generator.init(keys[0], *latents)["params"]}
    discriminator = {"image": networks.discriminator.init(keys[2], image, grade)["params"]}
    if networks.encoder:
        generator["encoder"] = networks.encoder.init(keys[1], image)["params"]
    if networks.critic:
        discriminator["latent"] = networks.critic.init(keys[3], latents[0])["params"]
    return generator, discriminator
