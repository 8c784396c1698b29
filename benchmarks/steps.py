"""Every step of a config, mapped over given devices, with the shapes that it is called with.

Training's, and those of explaining: the inversion of a batch of films and their walk along a path.

Shapes only: nothing is initialised, so a step can be compiled for a machine that is not there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from cxr_jax.training import ema
from cxr_jax.networks import build
from cxr_jax.data import film_parameters
from cxr_jax.explain import films
from cxr_jax.training import gan_state
from cxr_jax.explain import inversion
from cxr_jax.runtime import parallel
from cxr_jax.explain import paths
from cxr_jax.runtime import precision
from cxr_jax.training import classifier
from cxr_jax.training import encoder
from cxr_jax.training import evaluators
from cxr_jax.training import gan
from cxr_jax.training.attack import Attack
from cxr_jax.data.augment import Augmentation
from cxr_jax.networks.grading import Scale

Shapes = Any  # a pytree of jax.ShapeDtypeStruct


class Step(NamedTuple):
    """A mapped step, and what it is called with: (*before, rows, *after).

    Attributes:
      images: on each device.
      before, after: as on every device; in training the state, frozen networks and the setting.
      rows: of one image, without the batch axes.
    """

    mapped: Callable
    images: int
    before: tuple
    rows: Shapes
    after: tuple = ()

    def lower(self, num_devices: int) -> jax.stages.Lowered:
        """The step's program for so many devices."""
        axes = num_devices, self.images
        batch = jax.tree.map(
            lambda row: jax.ShapeDtypeStruct(axes + row.shape, row.dtype), self.rows
        )
        return self.mapped.lower(*self.before, batch, *self.after)


def _film(config: ml_collections.ConfigDict, **truths: jax.ShapeDtypeStruct) -> Shapes:
    """A film as training reads it, with what is known of it beside its label."""
    size = config.data.image_size
    return {
        "image": jax.ShapeDtypeStruct((size, size, 1), jnp.uint8),
        "label": jax.ShapeDtypeStruct((), jnp.int32),
        "index": jax.ShapeDtypeStruct((), jnp.int32),
        **truths,
    }


def classifier_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """The training step of the explained classifier."""
    return _classifier_step(config, config.classifier, devices)


def judge_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """The training step of the classifier that judges."""
    return _classifier_step(config, config.judge, devices)


def _classifier_step(
    config: ml_collections.ConfigDict,
    section: ml_collections.ConfigDict,
    devices: parallel.Devices,
) -> Step:
    size = config.data.image_size
    network = classifier.make_classifier(section)
    optimizer = make_optimizer(section)
    mapped = classifier.map_train_step(section, network, optimizer, config.seed, devices)
    state = _averaged_state(network, size, optimizer)
    return Step(mapped, section.batch_size, (state,), _film(config))


def gan_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """The training step of generator, encoder and discriminator."""
    networks, optimizers, state, frozen = _gan_parts(config)
    mapped = gan.map_train_step(config, networks, optimizers, devices)
    setting = _shapes(gan.make_setting(config, config.gan.objective))
    return Step(mapped, config.gan.batch_size, (state,), _film(config), (*frozen, setting))


def penalty_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """The step of the R1 penalty, taken every `r1_every` steps."""
    networks, optimizers, state, frozen = _gan_parts(config)
    mapped = gan.map_penalty_step(config, networks, optimizers, devices)
    return Step(mapped, config.gan.batch_size, (state,), _film(config), frozen)


def encoder_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """The training step of the encoder alone."""
    networks, _, trained, frozen = _gan_parts(config)
    optimizer = encoder.make_optimizer(config.encoder)
    mapped = encoder.map_train_step(config, networks, optimizer, devices)
    gan = {**trained.generator, "discriminator": trained.discriminator}
    state = jax.eval_shape(
        lambda encoder: encoder.EncoderState(jnp.int32(0), encoder, optimizer.init(encoder)),
        gan["encoder"],
    )
    after = gan, *frozen, _shapes(encoder.make_setting(config))
    return Step(mapped, config.encoder.batch_size, (state,), _film(config), after)


def segmenter_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """Of the lung segmenter."""
    section, size = config.evaluators.segmenter, config.data.image_size
    network = make_segmenter(section)
    loss = segmenter_loss(network, Augmentation(**section.augmentation))
    film = _film(config, lung_mask=jax.ShapeDtypeStruct((size, size, 1), jnp.uint8))
    return _evaluator_step(config, devices, section, network, loss, film)


def regressor_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """Of the regressor of phantom parameters."""
    section = config.evaluators.regressor
    network = make_regressor(section)
    loss = regressor_loss(network, Augmentation(**section.augmentation))
    parameters = jax.ShapeDtypeStruct((len(film_parameters.NAMES),), jnp.float32)
    film = _film(config, parameters=parameters)
    return _evaluator_step(config, devices, section, network, loss, film)


def robust_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """Of the adversarially trained classifier."""
    section = config.evaluators.robust
    network = build.make_compact(section)
    loss = robust_loss(
        network,
        Augmentation(**section.augmentation),
        Attack(**section.attack),
        section.warmup_steps,
        section.label_smoothing,
    )
    return _evaluator_step(config, devices, section, network, loss, _film(config))


def inversion_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """Of a batch of films, with all of its optimiser's steps."""
    *_, trained, inversion = _explain_parts(config)
    mapped = parallel.pmap_rows(precision.exactly(inversion), 1, devices)
    return Step(mapped, config.explain.batch_size, (trained,), _film(config)["image"])


def walk_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """Of a batch of films along path `aligned`, every frame of it."""
    networks, judge, trained, inversion = _explain_parts(config)
    image = _film(config)["image"]
    pixels = jax.ShapeDtypeStruct((1, *image.shape), image.dtype)
    inverted = jax.eval_shape(inversion, trained, pixels)
    film = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape[1:], array.dtype), inverted)
    walk = paths.make_path("aligned", networks, judge, None, config.explain)
    mapped = parallel.pmap_rows(precision.exactly(walk), 2, devices)
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    return Step(mapped, config.explain.batch_size, (trained, scalar), (film, scalar, film.severity))


STEPS = {
    "classifier": classifier_step,
    "judge": judge_step,
    "gan": gan_step,
    "penalty": penalty_step,
    "encoder": encoder_step,
    "segmenter": segmenter_step,
    "regressor": regressor_step,
    "robust": robust_step,
    "inversion": inversion_step,
    "walk": walk_step,
}


def names(config: ml_collections.ConfigDict) -> list[str]:
    """The steps that a config takes."""
    taken = {
        "penalty": config.gan.r1_weight > 0,
        "encoder": config.gan.networks == "ours",
        "walk": "aligned" in config.explain.paths,
        **{name: name in config.evaluators.names for name in ("segmenter", "regressor", "robust")},
    }
    return [name for name in STEPS if taken.get(name, True)]


def _averaged_state(network: nn.Module, image_size: int, optimizer) -> Shapes:
    return jax.eval_shape(
        lambda: ema.init_state(
            classifier.init_params(network, image_size, seed=0), optimizer
        )
    )


def _gan_parts(config: ml_collections.ConfigDict) -> tuple:
    """(networks, optimisers, state, frozen) of the GAN's steps."""
    networks = make_networks(config)
    optimizers = gan_state.make_optimizers(config.gan)
    state = jax.eval_shape(
        lambda: gan_state.init_state(*init_gan_params(networks, seed=0), optimizers)
    )
    classifier = jax.eval_shape(
        lambda: classifier.init_params(networks.classifier, config.data.image_size, seed=0)
    )
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    return networks, optimizers, state, (classifier, Scale(scalar, scalar, scalar))


def _shapes(setting: gan_state.Setting) -> Shapes:
    return jax.tree.map(jax.typeof, setting)


def _evaluator_step(
    config: ml_collections.ConfigDict,
    devices: parallel.Devices,
    section: ml_collections.ConfigDict,
    network: nn.Module,
    loss: Loss,
    film: Shapes,
) -> Step:
    optimizer = make_optimizer(section)
    mapped = map_train_step(section, loss, optimizer, config.seed, devices)
    state = _averaged_state(network, config.data.image_size, optimizer)
    return Step(mapped, section.batch_size, (state,), film)


def _explain_parts(config: ml_collections.ConfigDict) -> tuple:
    """(networks, judge, trained, inversion) of explaining, in float32 whatever they learned in."""
    config = precision.in_float32(config)
    networks, _, state, (classifier, scale) = _gan_parts(config)
    judge = classifier.make_classifier(config.judge)
    size = config.data.image_size
    trained = Trained(
        classifier=classifier,
        judge=jax.eval_shape(lambda: classifier.init_params(judge, size, seed=0)),
        generator=state.average["generator"],
        encoder=state.average["encoder"] if networks.encoder else None,
        scale=scale,
    )
    settings = inversion.make_settings(config.explain.inversion)
    return networks, judge, trained, films.make_invert(networks, judge, settings)
