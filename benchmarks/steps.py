"""The steps of a config, mapped over given devices, with the shapes that they are called with.

Training's, but for the prior's, and those of explaining: the inversion of a batch of films and
their walk along `aligned`.

Shapes only: nothing is initialised, so a step can be compiled for a machine that is not there.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from cxr_jax.data import film_parameters
from cxr_jax.data.augment import Augmentation
from cxr_jax.explain import films, inversion
from cxr_jax.explain.paths import PATHS, make_walk
from cxr_jax.models.model import Model
from cxr_jax.networks.build import (
    init_gan_params,
    init_params,
    make_classifier,
    make_gan_networks,
    make_regressor,
    make_robust,
    make_segmenter,
)
from cxr_jax.networks.grading import Scale
from cxr_jax.networks.restore import TrainedModels
from cxr_jax.runtime import parallel, precision
from cxr_jax.training import classifier, ema, encoder, gan, gan_state, supervised
from cxr_jax.training.attack import Attack
from cxr_jax.training.gan_state import FrozenInputs
from cxr_jax.training.regressor import regressor_loss
from cxr_jax.training.robust import robust_loss
from cxr_jax.training.segmenter import segmenter_loss
from cxr_jax.training.supervised import Loss, make_optimizer

Shapes = Any  # a pytree of jax.ShapeDtypeStruct


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """A mapped step, and what it is called with: (*before, rows, *after).

    Attributes:
      images: on each device.
      before: as on every device; in training the state, in explaining the frozen networks.
      rows: of one image, without the batch axes.
      after: as on every device; in training what is frozen.
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
    network, optimizer = make_classifier(section), make_optimizer(section)
    mapped = classifier.map_train_step(
        section, network, optimizer, seed=config.seed, devices=devices
    )
    state = _ema_state(network, config.data.image_size, optimizer)
    return Step(
        mapped=mapped,
        images=section.batch_size,
        before=(state,),
        rows=_film(config),
        after=({},),
    )


def gan_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """The training step of generator, encoder and discriminator."""
    return _gan_step(config, gan.map_train_step, devices)


def penalty_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """The step of the R1 penalty, taken every `r1_every` steps."""
    return _gan_step(config, gan.map_penalty_step, devices)


def _gan_step(
    config: ml_collections.ConfigDict, map_step: Callable, devices: parallel.Devices
) -> Step:
    networks, optimizers = make_gan_networks(config), gan_state.make_optimizers(config.gan)
    return Step(
        mapped=map_step(config, networks, optimizers, devices=devices),
        images=config.gan.batch_size,
        before=(_gan_state(config),),
        rows=_film(config),
        after=(_frozen_inputs(config, gan.make_hparams(config, config.gan.objective)),),
    )


def encoder_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """The training step of the encoder alone."""
    networks, optimizer = make_gan_networks(config), encoder.make_optimizer(config.encoder)
    trained = _gan_state(config)
    frozen = encoder.FrozenGan(
        generator=trained.ema["generator"],
        discriminator=trained.discriminator,
        inputs=_frozen_inputs(config, encoder.make_encoder_hparams(config)),
    )
    params = trained.ema["encoder"]
    return Step(
        mapped=encoder.map_train_step(config, networks, optimizer, devices=devices),
        images=config.encoder.batch_size,
        before=(jax.eval_shape(lambda params: encoder.init_state(params, optimizer), params),),
        rows=_film(config),
        after=(frozen,),
    )


def segmenter_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """Of the lung segmenter."""
    section, size = config.evaluators.segmenter, config.data.image_size
    network = make_segmenter(section)
    loss = segmenter_loss(network, Augmentation(**section.augmentation))
    film = _film(config, lung_mask=jax.ShapeDtypeStruct((size, size, 1), jnp.uint8))
    return _evaluator_step(config, devices, section, network=network, loss=loss, film=film)


def regressor_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """Of the regressor of phantom parameters."""
    section = config.evaluators.regressor
    network = make_regressor(section)
    loss = regressor_loss(network, Augmentation(**section.augmentation))
    parameters = jax.ShapeDtypeStruct((len(film_parameters.NAMES),), jnp.float32)
    film = _film(config, parameters=parameters)
    return _evaluator_step(config, devices, section, network=network, loss=loss, film=film)


def robust_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """Of the adversarially trained classifier."""
    section = config.evaluators.robust
    network = make_robust(section)
    loss = robust_loss(
        network,
        Augmentation(**section.augmentation),
        Attack(**section.attack),
        warmup_steps=section.warmup_steps,
        smoothing=section.label_smoothing,
    )
    film = _film(config)
    return _evaluator_step(config, devices, section, network=network, loss=loss, film=film)


def _evaluator_step(
    config: ml_collections.ConfigDict,
    devices: parallel.Devices,
    section: ml_collections.ConfigDict,
    *,
    network: nn.Module,
    loss: Loss,
    film: Shapes,
) -> Step:
    optimizer = make_optimizer(section)
    mapped = supervised.map_train_step(section, loss, optimizer, seed=config.seed, devices=devices)
    state = _ema_state(network, config.data.image_size, optimizer)
    return Step(mapped=mapped, images=section.batch_size, before=(state,), rows=film, after=(None,))


def inversion_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """Of a batch of films, with all of its optimiser's steps."""
    return Step(
        mapped=parallel.pmap_rows(precision.exactly(_invert(config)), devices),
        images=config.explain.batch_size,
        before=(_trained_models(config),),
        rows=_film(config)["image"],
    )


def walk_step(config: ml_collections.ConfigDict, devices: parallel.Devices) -> Step:
    """Of a batch of films along path `aligned`, every frame of it."""
    models, image = _trained_models(config), _film(config)["image"]
    pixels = jax.ShapeDtypeStruct((1, *image.shape), image.dtype)
    inverted = jax.eval_shape(_invert(config), models, pixels)
    film = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape[1:], array.dtype), inverted)
    walk = make_walk(PATHS["aligned"], config.explain)
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    return Step(
        mapped=parallel.pmap_rows(precision.exactly(walk), devices),
        images=config.explain.batch_size,
        before=((models, scalar),),
        rows=(film, scalar, film.z_class),
    )


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


def _ema_state(
    network: nn.Module, image_size: int, optimizer: optax.GradientTransformation
) -> Shapes:
    return jax.eval_shape(
        lambda: ema.init_state(init_params(network, image_size, seed=0), optimizer)
    )


def _model(network: nn.Module, image_size: int) -> Shapes:
    return Model(network, jax.eval_shape(lambda: init_params(network, image_size, seed=0)))


def _scale() -> Shapes:
    zero = jnp.zeros(())
    return jax.eval_shape(lambda: Scale(negative=zero, strong=zero, graded=zero))


def _gan_state(config: ml_collections.ConfigDict) -> Shapes:
    networks, optimizers = make_gan_networks(config), gan_state.make_optimizers(config.gan)
    return jax.eval_shape(
        lambda: gan_state.init_state(*init_gan_params(networks, seed=0), optimizers)
    )


def _frozen_inputs(
    config: ml_collections.ConfigDict, hparams: gan_state.StepHParams
) -> FrozenInputs:
    return FrozenInputs(
        classifier=_model(make_classifier(config.classifier), config.data.image_size),
        scale=_scale(),
        hparams=jax.tree.map(jax.typeof, hparams),
    )


def _invert(config: ml_collections.ConfigDict) -> Callable:
    return films.make_invert(inversion.make_settings(config.explain.inversion))


def _trained_models(config: ml_collections.ConfigDict) -> TrainedModels:
    """Those of explaining, in float32 whatever they learned in."""
    config = precision.in_float32(config)
    networks, state, size = make_gan_networks(config), _gan_state(config), config.data.image_size
    encoder_model = None
    if networks.encoder:
        encoder_model = Model(networks.encoder, state.ema["encoder"])
    return TrainedModels(
        classifier=_model(make_classifier(config.classifier), size),
        judge=_model(make_classifier(config.judge), size),
        generator=Model(networks.generator, state.ema["generator"]),
        encoder=encoder_model,
        scale=_scale(),
    )
