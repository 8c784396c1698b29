"""Every kind of training step with all that it is called with, small enough to compile in seconds.

To count the devices would start JAX, and the processes of runtime/test_processes.py, which import
this file, must join each other first.
"""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

from cxr_jax.data import film_parameters
from cxr_jax.data.augment import Augmentation
from cxr_jax.models.classifier import Classifier
from cxr_jax.models.model import Model
from cxr_jax.models.paper import PaperDiscriminator, PaperGenerator
from cxr_jax.models.published.adapter import Adapted
from cxr_jax.models.published.densenet import DenseNet
from cxr_jax.models.published.vgg import VGG
from cxr_jax.networks.build import (
    GanNetworks,
    init_gan_params,
    init_params,
    make_classifier,
    make_gan_networks,
    make_regressor,
    make_segmenter,
)
from cxr_jax.networks.grading import Scale
from cxr_jax.networks.restore import margins
from cxr_jax.runtime import parallel
from cxr_jax.training import classifier, encoder, gan, paper_gan, supervised
from cxr_jax.training.attack import Attack
from cxr_jax.training.ema import EmaState
from cxr_jax.training.gan_state import FrozenInputs, GanState, Optimizers, StepHParams
from cxr_jax.training.regressor import regressor_loss
from cxr_jax.training.robust import robust_loss
from cxr_jax.training.segmenter import segmenter_loss

SIZE, SEED = 16, 3
ROWS = 4 * int(os.environ.get("TEST_DEVICES", "4"))  # the least that a GAN's step takes
AUGMENTATION = Augmentation(
    shift=0.05,
    rotation=5.0,
    zoom=0.05,
    brightness=0.1,
    contrast=0.1,
    noise=0.02,
    detail=0.1,
    support_devices=0.2,
)
PENALTY = 9.0  # what a step of R1 weighs
OPTIMIZERS = Optimizers(generator=optax.adam(1e-3, b1=0.5), discriminator=optax.adam(1e-3, b1=0.5))
PAPER_WEIGHTS = {
    name: np.float32(w) for name, w in dict(adversarial=1.0, entropy=1.0, mode_seeking=0.2).items()
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """A step (state, batch, frozen) -> (state, metrics), and what it begins with."""

    step: Callable
    state: Any
    frozen: Any = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Networks:
    """The networks of a config, all of which compute in one type."""

    gan: GanNetworks
    classifier: Classifier

    @property
    def dtype(self):
        return self.classifier.dtype


def make_networks(config) -> Networks:
    return Networks(gan=make_gan_networks(config), classifier=make_classifier(config.classifier))


def double(networks: Networks) -> Networks:
    """The same networks, computing in 64 bits where they leave the choice."""
    parts = {
        field.name: getattr(networks.gan, field.name) for field in dataclasses.fields(GanNetworks)
    }
    wide = {
        name: net.clone(dtype="float64") if hasattr(net, "dtype") else net
        for name, net in parts.items()
    }
    return Networks(gan=GanNetworks(**wide), classifier=networks.classifier.clone(dtype="float64"))


def widened(tree):
    """Floating-point leaves in 64 bits; on NumPy, so that no device owns them."""

    def widen(leaf):
        leaf = np.asarray(leaf)
        return leaf.astype(np.float64) if leaf.dtype == np.float32 else leaf

    return jax.tree.map(widen, tree)


# 1. Films.


def make_arrays(count: int) -> dict[str, np.ndarray]:
    """Films whose positives have a bright upper half, which is also what counts as their lungs."""
    rng = np.random.default_rng(0)
    label = np.arange(count) % 4 < 2
    image = rng.integers(0, 120, (count, SIZE, SIZE, 1))
    image[:, : SIZE // 2] += 100 * label[:, None, None, None]
    lungs = np.zeros(image.shape, np.uint8)
    lungs[:, : SIZE // 2] = 255 * label[:, None, None, None]
    parameters = np.repeat(2.0 * label[:, None] - 1, len(film_parameters.NAMES), axis=1)
    return {
        "image": image.astype(np.uint8),
        "label": label.astype(np.int64),
        "lung_mask": lungs,
        "parameters": parameters.astype(np.float32),
    }


SPLITS = {
    "train": make_arrays(3 * ROWS),
    "validation": make_arrays(ROWS),
    "test": make_arrays(ROWS),
}


def batch_of(number: int) -> dict[str, np.ndarray]:
    """Batch `number`, with every row's position in the global batch."""
    rows = {
        name: array[number * ROWS : (number + 1) * ROWS] for name, array in SPLITS["train"].items()
    }
    return {"index": np.arange(ROWS, dtype=np.int32), **rows}


# 2. Of one network.


def start_of(params, optimizer: optax.GradientTransformation) -> EmaState:
    return EmaState(
        step=np.int32(0),
        params=params,
        ema=jax.tree.map(np.copy, params),
        optimizer=optimizer.init(params),
    )


def classifier_step_of(network: nn.Module, params) -> Task:
    optimizer = optax.adamw(1e-3, weight_decay=1e-2)
    step = classifier.make_train_step(
        network, optimizer, AUGMENTATION, smoothing=0.05, ema_decay=0.9, seed=SEED
    )
    return Task(step=step, state=start_of(params, optimizer), frozen={})


def classifier_task(config, networks: Networks, random_like) -> Task:
    network = networks.classifier
    return classifier_step_of(network, random_like(lambda: init_params(network, SIZE, 0)))


def published_task(backbone, networks: Networks) -> Task:
    """A network with batch statistics, or with dropout, behind its convention."""
    network = Adapted(
        backbone.clone(dtype=networks.dtype),
        input_size=24,
        channels=2,
        black=(-2.0,),
        white=(3.0,),
        positive_output=1,
        negative_output=0,
        threshold=0.5,
    )
    return classifier_step_of(network, init_params(network, SIZE, 0))


def densenet_task(config, networks: Networks, random_like) -> Task:
    backbone = DenseNet(2, blocks=(1, 1), growth=4, stem=8, total=parallel.total)
    return published_task(backbone, networks)


def vgg_task(config, networks: Networks, random_like) -> Task:
    return published_task(VGG(2, hidden=(8,), blocks=(1, 1), widths=(4, 8)), networks)


def evaluator_task(network, loss, random_like) -> Task:
    optimizer = optax.adam(1e-3)
    params = random_like(lambda: init_params(network, SIZE, 0))
    step = supervised.make_train_step(loss, optimizer, ema_decay=0.9, seed=SEED)
    return Task(step=step, state=start_of(params, optimizer))


def segmenter_task(config, networks: Networks, random_like) -> Task:
    network = make_segmenter(config.evaluators.segmenter)
    network = network.clone(dtype=networks.dtype, widths=(8, 8))
    return evaluator_task(network, segmenter_loss(network, AUGMENTATION), random_like)


def regressor_task(config, networks: Networks, random_like) -> Task:
    network = make_regressor(config.evaluators.regressor)
    network = network.clone(dtype=networks.dtype, widths=(8, 8))
    return evaluator_task(network, regressor_loss(network, AUGMENTATION), random_like)


def robust_task(config, networks: Networks, random_like) -> Task:
    strength = Attack(epsilon=0.05, step_size=0.04, num_steps=2)
    network = networks.classifier.clone(widths=(8, 8))
    loss = robust_loss(network, AUGMENTATION, strength, warmup_steps=2, smoothing=0.05)
    return evaluator_task(network, loss, random_like)


# 3. Of a GAN.


def hparams_of(config) -> StepHParams:
    return gan.make_hparams(config, "ours").replace(seed=np.uint32(SEED))


def gan_parts(config, networks: Networks, random_like) -> tuple[GanState, FrozenInputs]:
    """A state, and a classifier whose answers differ among the films."""
    generator, discriminator = random_like(lambda: init_gan_params(networks.gan, 0))
    state = GanState(
        step=np.int32(0),
        generator=generator,
        discriminator=discriminator,
        ema=jax.tree.map(np.copy, generator),
        generator_optimizer=OPTIMIZERS.generator.init(generator),
        discriminator_optimizer=OPTIMIZERS.discriminator.init(discriminator),
    )
    network = networks.classifier
    params = random_like(lambda: init_params(network, SIZE, 0))
    margin = margins(Model(network, params), SPLITS["train"]["image"])
    # Two answers are needed, or half of the step lies idle.
    head = params["Dense_0"]
    head = head | {"bias": head["bias"] - np.float32(np.median(margin))}
    spread = np.float32(margin.std())
    return state, FrozenInputs(
        classifier=Model(network, params | {"Dense_0": head}),
        scale=Scale(negative=-spread, strong=spread),
        hparams=hparams_of(config),
    )


def gan_task(config, networks: Networks, random_like) -> Task:
    state, frozen = gan_parts(config, networks, random_like)
    step = gan.make_train_step(networks.gan, OPTIMIZERS, AUGMENTATION, ema_half_life=50.0)
    return Task(step=step, state=state, frozen=frozen)


def label_task(config, networks: Networks, random_like) -> Task:
    """The GAN whose class latents follow the labels."""
    state, frozen = gan_parts(config, networks, random_like)
    step = gan.make_train_step(
        networks.gan, OPTIMIZERS, AUGMENTATION, ema_half_life=50.0, by_label=True
    )
    scale = frozen.scale.replace(graded=np.float32(0))
    return Task(step=step, state=state, frozen=frozen.replace(scale=scale))


def paper_task(config, networks: Networks, random_like) -> Task:
    state, frozen = gan_parts(config, networks, random_like)
    step = paper_gan.make_train_step(networks.gan, OPTIMIZERS, 50.0)
    hparams = frozen.hparams.replace(weights=PAPER_WEIGHTS)
    return Task(step=step, state=state, frozen=frozen.replace(hparams=hparams))


def paper_networks_task(config, networks: Networks, random_like) -> Task:
    """Batch statistics and dropout on both sides."""
    of_paper = GanNetworks(
        generator=PaperGenerator(
            image_size=SIZE,
            latent_sizes=(5, 2),
            widths=(8, 4),
            total=parallel.total,
            dtype=networks.dtype,
        ),
        encoder=None,
        discriminator=PaperDiscriminator(widths=(4, 4), total=parallel.total, dtype=networks.dtype),
        critic=None,
    )
    return paper_task(config, dataclasses.replace(networks, gan=of_paper), random_like)


def penalty_task(config, networks: Networks, random_like) -> Task:
    state, frozen = gan_parts(config, networks, random_like)
    step = gan.make_penalty_step(networks.gan, OPTIMIZERS.discriminator, PENALTY)
    return Task(step=step, state=state, frozen=frozen)


def encoder_task(config, networks: Networks, random_like) -> Task:
    state, frozen = gan_parts(config, networks, random_like)
    optimizer = optax.adam(1e-3)
    params = state.generator["encoder"]
    return Task(
        step=encoder.make_train_step(networks.gan, optimizer, AUGMENTATION),
        state=encoder.EncoderState(
            step=np.int32(0), encoder=params, optimizer=optimizer.init(params)
        ),
        frozen=encoder.FrozenGan(
            generator=state.generator["generator"],
            discriminator=state.discriminator,
            inputs=frozen,
        ),
    )


TASKS = {
    "classifier": classifier_task,
    "densenet": densenet_task,
    "vgg": vgg_task,
    "gan": gan_task,
    "gan by label": label_task,
    "paper": paper_task,
    "paper's networks": paper_networks_task,
    "penalty": penalty_task,
    "encoder": encoder_task,
    "segmenter": segmenter_task,
    "regressor": regressor_task,
    "robust": robust_task,
}
