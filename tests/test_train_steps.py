"""Training steps: any number of devices learns the same, and a resumed run equals the undisturbed.

The comparisons of devices run in 64 bits, where rounding cannot hide a forgotten average.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cxr_jax import invert, parallel, train_classifier, train_encoder, train_gan
from cxr_jax.augment import Augmentation
from cxr_jax.checkpoint import Checkpoints
from cxr_jax.grading import Scale

ROWS, SIZE, SEED = 16, 16, 3
AUGMENTATION = Augmentation(
    shift=0.05, rotation=5.0, zoom=0.05, brightness=0.1, contrast=0.1, noise=0.02
)


class Task(NamedTuple):
    """A step with everything that it is called with."""

    step: Callable
    state: Any
    frozen: tuple


def make_arrays(count: int) -> dict[str, np.ndarray]:
    """Films whose positives have a bright upper half."""
    rng = np.random.default_rng(0)
    label = np.arange(count) % 4 < 2
    image = rng.integers(0, 120, (count, SIZE, SIZE, 1))
    image[:, : SIZE // 2] += 100 * label[:, None, None, None]
    return {"image": image.astype(np.uint8), "label": label.astype(np.int64)}


def batch_of(number: int) -> dict[str, np.ndarray]:
    """Batch `number`, with every row's position in the global batch."""
    arrays = make_arrays(3 * ROWS)
    rows = {name: array[number * ROWS : (number + 1) * ROWS] for name, array in arrays.items()}
    return {"index": np.arange(ROWS, dtype=np.int32), **rows}


def widened(tree):
    """Floating-point leaves in 64 bits; on NumPy, so that no device owns them."""

    def widen(leaf):
        leaf = np.asarray(leaf)
        return leaf.astype(np.float64) if leaf.dtype == np.float32 else leaf

    return jax.tree.map(widen, tree)


@pytest.fixture
def networks(tiny_config) -> train_gan.Networks:
    return train_gan.make_networks(tiny_config)


def double(networks: train_gan.Networks) -> train_gan.Networks:
    return jax.tree.map(
        lambda network: network.clone(dtype="float64"),
        networks,
        is_leaf=lambda node: dataclasses.is_dataclass(node),
    )


def classifier_task(config, networks, random_params) -> Task:
    network = networks.classifier
    optimizer = optax.adamw(1e-3, weight_decay=1e-2)
    params = random_params(network, jnp.zeros((1, SIZE, SIZE, 1)))
    state = train_classifier.ClassifierState(
        np.int32(0), params, jax.tree.map(np.copy, params), optimizer.init(params)
    )
    step = train_classifier.make_train_step(network, optimizer, AUGMENTATION, 0.05, 0.9, SEED)
    return Task(step, state, ())


def gan_parts(config, networks, random_params) -> tuple:
    """(optimisers, a state, frozen): a classifier whose answers differ among the films."""
    image = jnp.zeros((1, SIZE, SIZE, 1))
    structure, severity = (jnp.zeros((1, n)) for n in train_gan.latent_sizes(networks.generator))
    generator = {
        "generator": random_params(networks.generator, structure, severity),
        "encoder": random_params(networks.encoder, image),
    }
    discriminator = random_params(networks.discriminator, image, jnp.zeros(1, jnp.int32))
    optimizers = train_gan.Optimizers(optax.adam(1e-3, b1=0.5), optax.adam(1e-3, b1=0.5))
    state = train_gan.GanState(
        step=np.int32(0),
        generator=generator,
        discriminator=discriminator,
        average=jax.tree.map(np.copy, generator),
        generator_optimizer=optimizers.generator.init(generator),
        discriminator_optimizer=optimizers.discriminator.init(discriminator),
    )
    classifier = random_params(networks.classifier, image)
    margin = train_classifier.margins(
        networks.classifier, classifier, make_arrays(3 * ROWS)["image"]
    )
    # Two answers are needed, or half of the step lies idle.
    bias = classifier["Dense_0"]["bias"]
    classifier = classifier | {"Dense_0": classifier["Dense_0"] | {"bias": bias - np.median(margin)}}
    spread = np.float32(margin.std())
    return optimizers, state, (classifier, Scale(-spread, spread))


def gan_task(config, networks, random_params) -> Task:
    optimizers, state, frozen = gan_parts(config, networks, random_params)
    weights = train_gan.Weights(**config.gan.weights)
    step = train_gan.make_train_step(networks, optimizers, weights, AUGMENTATION, 50.0, SEED)
    return Task(step, state, frozen)


def penalty_task(config, networks, random_params) -> Task:
    optimizers, state, frozen = gan_parts(config, networks, random_params)
    step = train_gan.make_penalty_step(networks, optimizers.discriminator, 8.0)
    return Task(step, state, frozen)


def encoder_task(config, networks, random_params) -> Task:
    _, state, (classifier, scale) = gan_parts(config, networks, random_params)
    optimizer = optax.adam(1e-3)
    weights = invert.Weights(**config.encoder.weights)
    step = train_encoder.make_train_step(networks, optimizer, weights, AUGMENTATION, SEED)
    encoder = state.generator["encoder"]
    state = train_encoder.EncoderState(np.int32(0), encoder, optimizer.init(encoder))
    return Task(step, state, (state_generator(networks, random_params), classifier, scale))


def state_generator(networks, random_params):
    sizes = train_gan.latent_sizes(networks.generator)
    return random_params(networks.generator, *(jnp.zeros((1, n)) for n in sizes))


TASKS = {
    "classifier": classifier_task,
    "gan": gan_task,
    "penalty": penalty_task,
    "encoder": encoder_task,
}


def on_one_device(step: Callable, num_frozen: int) -> Callable:
    """`parallel.pmap_step` for the first device alone, which gets the joined batch."""
    in_axes = (None, 0, *(None,) * num_frozen)
    mapped = jax.pmap(
        step,
        axis_name=parallel.AXIS,
        in_axes=in_axes,
        out_axes=None,
        devices=jax.local_devices()[:1],
    )
    return lambda state, batch, *frozen: mapped(
        state, jax.tree.map(lambda array: array[None], batch), *frozen
    )


def largest_difference(one, other) -> float:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs)


@pytest.mark.parametrize("name", TASKS)
def test_four_devices_learn_what_one_learns_from_the_joined_batch(
    name, tiny_config, networks, random_params
):
    task = TASKS[name](tiny_config, networks, random_params)
    with jax.enable_x64(True):
        task = TASKS[name](tiny_config, double(networks), random_params)
        start, frozen = widened(task.state), widened(task.frozen)
        alone = on_one_device(task.step, len(frozen))
        together = parallel.pmap_step(task.step, len(frozen))
        one, four = start, parallel.replicate(start)
        shared = parallel.replicate(frozen)
        for number in range(3):
            one, one_metrics = alone(one, batch_of(number), *frozen)
            four, four_metrics = together(four, parallel.shard(batch_of(number)), *shared)
        assert parallel.is_synced(four)
        assert largest_difference(start, one) > 1e-3, "nothing was learned"
        print(name, largest_difference(one, four), largest_difference(one_metrics, four_metrics))
        assert largest_difference(one, four) < 1e-5
        assert largest_difference(one_metrics, four_metrics) < 1e-5
