"""From a `config.classifier` or `config.judge` section to a network and its first parameters."""

import importlib
from collections.abc import Callable
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from cxr_jax import parallel, torch_weights
from cxr_jax.models.classifier import Classifier
from cxr_jax.models.conventions import Adapted
from cxr_jax.models.densenet import DenseNet
from cxr_jax.models.external import External
from cxr_jax.models.resnet import ResNet
from cxr_jax.models.vgg import VGG
from cxr_jax.types import Params
from datasets.errors import InputError

BACKBONES = {
    "vgg16": VGG,
    "densenet121": lambda **fields: DenseNet(total=parallel.total, **fields),
    "resnet50": lambda **fields: ResNet(total=parallel.total, **fields),
}
ARCHITECTURES = ("compact", *BACKBONES)


def make_compact(config: ml_collections.ConfigDict) -> Classifier:
    """The house's own network."""
    return Classifier(widths=tuple(config.widths), dtype=config.dtype)


def make_classifier(config: ml_collections.ConfigDict) -> nn.Module:
    """The network of a section: image in [-1, 1] to (margin, feature maps by name).

    Raises:
      InputError: if `config.module` names no function.
    """
    if config.module:
        return _external(load_function(config.module), config.convention)
    if config.architecture == "compact":
        return make_compact(config)
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


def load_function(name: str) -> Callable:
    """The function that "package.module:function" names.

    Raises:
      InputError: if there is none.
    """
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except Exception as error:  # importing runs the reader's code, which may raise anything
        raise InputError(
            f'{name!r} is no "package.module:function" that can be imported ({_one_line(error)}); '
            "is its folder on PYTHONPATH?"
        ) from error


def _external(function: Callable, convention: ml_collections.ConfigDict) -> External:
    return External(
        function,
        positive_output=convention.positive_output,
        negative_output=convention.negative_output,
        threshold=convention.threshold,
    )


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def init_params(network: nn.Module, image_size: int, seed: int) -> Params:
    """Fresh parameters."""
    if isinstance(network, Adapted):
        return _draw(shapes(network, image_size), seed)
    image = jnp.zeros((1, image_size, image_size, 1))
    return network.init(jax.random.key(seed), image)["params"]


def shapes(network: nn.Module, image_size: int) -> Params:
    """The parameters' shapes and types, without their values."""
    image = jnp.zeros((1, image_size, image_size, 1))
    return jax.eval_shape(lambda: network.init(jax.random.key(0), image)["params"])


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
    config: ml_collections.ConfigDict, network: nn.Module, image_size: int, seed: int
) -> Params:
    """What training begins with: fresh parameters, or those of `config.weights`.

    Raises:
      InputError: if that file cannot be read or does not fit the network.
    """
    params = init_params(network, image_size, seed)
    return _fill(config, network, params) if config.weights else params


def _fill(config: ml_collections.ConfigDict, network: nn.Module, params: Params) -> Params:
    path = Path(config.weights)
    kept = network.head if config.new_head else ()
    return torch_weights.fill(params, torch_weights.read(path), path, kept)


# What can be known to be wrong before anything is trained.


def check(name: str, config: ml_collections.ConfigDict, image_size: int) -> None:
    """Raises `InputError` if the section `config.<name>` cannot be what it says."""
    section = f"config.{name}"
    if config.module:
        _check_convention(f"{section}.convention", config.convention)
        _check_function(section, config, image_size)
        return
    if config.architecture not in ARCHITECTURES:
        raise InputError(
            f"{section}.architecture has no {config.architecture!r}; choose of "
            f"{', '.join(ARCHITECTURES)}"
        )
    if config.weights and config.architecture == "compact":
        raise InputError(
            f"{section}.weights is for a published network; set {section}.architecture, or leave "
            "the weights away: the compact one is trained here"
        )
    if config.num_steps == 0 and (not config.weights or config.new_head):
        raise InputError(
            f"{section}.num_steps is 0, but without {section}.weights for every layer the network "
            "must be trained"
        )
    if config.architecture != "compact":
        _check_convention(f"{section}.convention", config.convention)
    if config.weights:
        network = make_classifier(config)
        _fill(config, network, shapes(network, image_size))


def _check_function(section: str, config: ml_collections.ConfigDict, image_size: int) -> None:
    """That it exists, answers a batch of films, and has a gradient: by its shapes alone."""
    if config.weights:
        raise InputError(f"{section}.module brings its own weights; leave {section}.weights away")
    function, image = load_function(config.module), jnp.zeros((2, image_size, image_size, 1))
    network = _external(function, config.convention)
    try:
        answer = jax.eval_shape(function, image).shape
        jax.eval_shape(jax.grad(lambda image: network.apply({}, image)[0].sum()), image)
    except Exception as error:
        raise InputError(
            f"{section}.module: {config.module} is no differentiable function of images of shape "
            f"{image.shape} ({_one_line(error)})"
        ) from error
    if answer not in ((2,), (2, config.convention.outputs)):
        raise InputError(
            f"{section}.module: {config.module} answers 2 films by an array of shape {answer}; "
            f"wanted is a margin each, or {section}.convention.outputs logits each"
        )


def _check_convention(section: str, convention: ml_collections.ConfigDict) -> None:
    outputs, channels = convention.outputs, convention.channels
    for field in ("positive_output", "negative_output"):
        lowest = -1 if field == "negative_output" else 0
        if not lowest <= convention[field] < outputs:
            raise InputError(
                f"{section}.{field} is {convention[field]}, but the outputs are numbered from 0 to "
                f"{outputs - 1} ({section}.outputs)"
            )
    for field in ("black", "white"):
        if len(convention[field]) not in (1, channels):
            raise InputError(
                f"{section}.{field} has {len(convention[field])} numbers for {channels} channels "
                f"({section}.channels); give one, or one for each"
            )
    if not 0 < convention.threshold < 1:
        raise InputError(f"{section}.threshold is {convention.threshold}, no probability in (0, 1)")
