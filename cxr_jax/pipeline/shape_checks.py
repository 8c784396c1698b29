"""Whether the networks of a config can be made at all: their shapes are traced, and nothing else.

Widths and latents of one config have to fit each other, the films and the number of levels that a
network has. Who knows how is the network; so it is asked, rather than its rules told a second time.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from cxr_jax.errors import InputError
from cxr_jax.networks.build import (
    make_classifier,
    make_gan_networks,
    make_regressor,
    make_robust,
    make_segmenter,
)
from cxr_jax.networks.functions import one_line

Fields = Mapping[str, object]  # by name, those of the config that a network is made of
Shapes = Any  # a pytree of jax.ShapeDtypeStruct

KEY = jax.eval_shape(lambda: jax.random.key(0))  # its shape
EVALUATORS = {"segmenter": make_segmenter, "regressor": make_regressor, "robust": make_robust}


def check_gan(config: ml_collections.ConfigDict) -> None:
    """Raises `InputError` if the GAN's networks cannot be made, or do not fit each other."""
    networks = make_gan_networks(config)
    image, fields = _image(config.data.image_size), _gan_fields(config)
    latents = tuple(_array(1, size) for size in networks.generator.latent_sizes)
    drawn = _trace(networks.generator, latents, fields["generator"])
    if drawn.shape != image.shape:
        raise InputError(
            f"{_tell(fields['generator'])}: this generator draws images of shape "
            f"{drawn.shape[1:3]}, and films have {image.shape[1:3]}"
        )
    if networks.encoder:
        found = _trace(networks.encoder, (image,), fields["encoder"])
        _check_latents(found, latents, fields["encoder"])
    _trace(networks.discriminator, (image, _array(1, dtype=jnp.int32)), fields["discriminator"])
    if networks.critic:
        _trace(networks.critic, latents[:1], fields["critic"])


def _check_latents(found: Shapes, latents: Shapes, fields: Fields) -> None:
    """That an encoder finds just what the generator draws from."""
    for name, (mean, _), wanted in zip(("z_structure", "z_class"), found, latents, strict=True):
        if mean.shape != wanted.shape:
            raise InputError(
                f"{_tell(fields)}: this encoder finds {mean.shape[1]} components of {name}, and "
                f"the generator draws from {wanted.shape[1]}"
            )


def _gan_fields(config: ml_collections.ConfigDict) -> Mapping[str, Fields]:
    """By network the fields that it is made of."""
    gan, size = config.gan, {"data.image_size": config.data.image_size}
    if gan.networks == "paper":
        return {
            name: {f"gan.paper.{name}_widths": gan.paper[f"{name}_widths"]} | size
            for name in ("generator", "discriminator")
        }
    latents = {f"gan.{name}": gan[name] for name in ("z_structure_channels", "z_class_channels")}
    return {
        name: {f"gan.{name}_widths": gan[f"{name}_widths"]} | latents | size
        for name in ("generator", "encoder", "discriminator", "critic")
    }


def check_evaluators(config: ml_collections.ConfigDict) -> None:
    """Raises `InputError` if a network that is to judge explanations cannot be made."""
    size = config.data.image_size
    for name in config.evaluators.names:
        section = config.evaluators[name]
        fields = {f"evaluators.{name}.widths": section.widths, "data.image_size": size}
        _trace(EVALUATORS[name](section), (_image(size),), fields)


def check_feature_maps(name: str, config: ml_collections.ConfigDict, size: int) -> list[str]:
    """The feature maps of the classifier `config.<name>`, by their names.

    Raises:
      InputError: if it cannot be made for films of this size, or would look at nothing of them: a
        published network halves a small film until no pixel is left.
    """
    fields = {
        f"{name}.architecture": config.architecture,
        f"{name}.widths": config.widths,
        f"{name}.convention.input_size": config.convention.input_size,
        "data.image_size": size,
    }
    _, features = _trace(make_classifier(config), (_image(size),), fields)
    if not features or any(0 in each.shape for each in features.values()):
        raise InputError(f"{_tell(fields)}: this classifier has no feature map, or an empty one")
    return list(features)


def _trace(network: nn.Module, inputs: Shapes, fields: Fields) -> Shapes:
    """The shapes of a network's answer."""
    try:
        answer, variables = jax.eval_shape(network.init_with_output, KEY, *inputs)
    except Exception as error:  # of whatever layer it is that does not fit
        raise InputError(f"{_tell(fields)}: no network fits them ({one_line(error)})") from error
    if any(leaf.size == 0 for leaf in jax.tree.leaves(variables)):
        raise InputError(f"{_tell(fields)}: a layer of this network would be given nothing")
    return answer


def _tell(fields: Fields) -> str:
    return ", ".join(f"config.{name} = {value!r}" for name, value in fields.items())


def _image(size: int) -> jax.ShapeDtypeStruct:
    return _array(1, size, size, 1)


def _array(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)
