"""Every training step of a config, mapped over given devices, with the shapes it is called with.

Shapes only: nothing is initialised, so a step can be compiled for a machine that is not there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from cxr_jax import (
    averaged,
    classifiers,
    film_parameters,
    gan_state,
    parallel,
    train_classifier,
    train_encoder,
    train_evaluators,
    train_gan,
)
from cxr_jax.attack import Attack
from cxr_jax.augment import Augmentation
from cxr_jax.grading import Scale

Shapes = Any  # a pytree of jax.ShapeDtypeStruct


class Step(NamedTuple):
    """A mapped step, and what it is called with.

    Attributes:
      images: on each device.
      state, frozen: as on every device.
      truths: what the step reads of a film beside its pixels and label, without the batch axes.
    """

    mapped: Callable
    images: int
    state: Shapes
    frozen: tuple = ()
    truths: Shapes = {}  # noqa: RUF012

    def lower(self, num_devices: int, image_size: int) -> jax.stages.Lowered:
        """The step's program for so many devices."""
        film = {
            "image": jax.ShapeDtypeStruct((image_size, image_size, 1), jnp.uint8),
            "label": jax.ShapeDtypeStruct((), jnp.int32),
            "index": jax.ShapeDtypeStruct((), jnp.int32),
            **self.truths,
        }
        rows = num_devices, self.images
        batch = {n: jax.ShapeDtypeStruct(rows + f.shape, f.dtype) for n, f in film.items()}
        return self.mapped.lower(self.state, batch, *self.frozen)


def classifier_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """Of the explained classifier."""
    section, size = config.classifier, config.data.image_size
    network = train_classifier.make_classifier(section)
    optimizer = train_classifier.make_optimizer(section)
    mapped = train_classifier.map_train_step(section, network, optimizer, config.seed, devices)
    return Step(mapped, section.batch_size, _averaged_state(network, size, optimizer))


def gan_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """Of generator, encoder and discriminator."""
    networks, optimizers, state, frozen = _gan_parts(config)
    mapped = train_gan.map_train_step(config, networks, optimizers, devices)
    return Step(mapped, config.gan.batch_size, state, frozen)


def penalty_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """Of R1, taken every `r1_every` steps."""
    networks, optimizers, state, frozen = _gan_parts(config)
    mapped = train_gan.map_penalty_step(config, networks, optimizers, devices)
    return Step(mapped, config.gan.batch_size, state, frozen)


def encoder_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """Of the encoder alone."""
    networks, _, trained, frozen = _gan_parts(config)
    optimizer = train_encoder.make_optimizer(config.encoder)
    mapped = train_encoder.map_train_step(config, networks, optimizer, devices)
    gan = {**trained.generator, "discriminator": trained.discriminator}
    state = jax.eval_shape(
        lambda encoder: train_encoder.EncoderState(jnp.int32(0), encoder, optimizer.init(encoder)),
        gan["encoder"],
    )
    return Step(mapped, config.encoder.batch_size, state, (gan, *frozen))


def segmenter_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """Of the lung segmenter."""
    section, size = config.evaluators.segmenter, config.data.image_size
    network = train_evaluators.make_segmenter(section)
    loss = train_evaluators.segmenter_loss(network, Augmentation(**section.augmentation))
    truths = {"lung_mask": jax.ShapeDtypeStruct((size, size, 1), jnp.uint8)}
    return _evaluator_step(config, devices, section, network, loss, truths)


def regressor_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """Of the regressor of phantom parameters."""
    section = config.evaluators.regressor
    network = train_evaluators.make_regressor(section)
    loss = train_evaluators.regressor_loss(network, Augmentation(**section.augmentation))
    truths = {"parameters": jax.ShapeDtypeStruct((len(film_parameters.NAMES),), jnp.float32)}
    return _evaluator_step(config, devices, section, network, loss, truths)


def robust_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """Of the adversarially trained classifier."""
    section = config.evaluators.robust
    network = classifiers.make_compact(section)
    loss = train_evaluators.robust_loss(
        network,
        Augmentation(**section.augmentation),
        Attack(**section.attack),
        section.warmup_steps,
        section.label_smoothing,
    )
    return _evaluator_step(config, devices, section, network, loss, {})


STEPS = {
    "classifier": classifier_step,
    "gan": gan_step,
    "penalty": penalty_step,
    "encoder": encoder_step,
    "segmenter": segmenter_step,
    "regressor": regressor_step,
    "robust": robust_step,
}


def names(config: ml_collections.ConfigDict) -> list[str]:
    """The steps that a config's training takes."""
    taken = {
        "penalty": config.gan.r1_weight > 0,
        "encoder": config.gan.networks == "ours",
        **{name: name in config.evaluators.names for name in ("segmenter", "regressor", "robust")},
    }
    return [name for name in STEPS if taken.get(name, True)]


def _averaged_state(network: nn.Module, image_size: int, optimizer) -> Shapes:
    return jax.eval_shape(
        lambda: averaged.init_state(
            train_classifier.init_params(network, image_size, seed=0), optimizer
        )
    )


def _gan_parts(config: ml_collections.ConfigDict) -> tuple:
    """(networks, optimisers, state, frozen) of the GAN's steps."""
    networks = train_gan.make_networks(config)
    optimizers = gan_state.make_optimizers(config.gan)
    state = jax.eval_shape(
        lambda: gan_state.init_state(*train_gan.init_params(networks, seed=0), optimizers)
    )
    classifier = jax.eval_shape(
        lambda: train_classifier.init_params(networks.classifier, config.data.image_size, seed=0)
    )
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    return networks, optimizers, state, (classifier, Scale(scalar, scalar, scalar))


def _evaluator_step(
    config: ml_collections.ConfigDict,
    devices: parallel.Devices,
    section: ml_collections.ConfigDict,
    network: nn.Module,
    loss: train_evaluators.Loss,
    truths: Shapes,
) -> Step:
    optimizer = train_classifier.make_optimizer(section)
    mapped = train_evaluators.map_train_step(section, loss, optimizer, config.seed, devices)
    state = _averaged_state(network, config.data.image_size, optimizer)
    return Step(mapped, section.batch_size, state, truths=truths)
