"""Task `classifier`: trains the explained classifier f and an independent judge h."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import flax
import flax.linen as nn
import jax
import ml_collections
import numpy as np
import optax
from clu import metrics as clu_metrics

from cxr_jax import averaged, losses, metrics, parallel, training
from cxr_jax.augment import Augmentation, augment
from cxr_jax.averaged import AveragedState
from cxr_jax.checkpoint import load_networks
from cxr_jax.classifiers import (
    check,
    first_params,
    init_params,
    make_classifier,
)
from cxr_jax.data import Arrays, to_unit_range, train_batches
from cxr_jax.records import is_done, mark_done, read_json
from cxr_jax.training import Plan, Snapshot
from cxr_jax.types import Keys, Params

logger = logging.getLogger(__name__)

NETWORK = 1 << 20  # folded into an example's key; augmentation splits the key into a few


@flax.struct.dataclass
class ClassifierMetrics(clu_metrics.Collection):
    """Averages over a log interval."""

    loss: clu_metrics.Average.from_output("loss")
    accuracy: clu_metrics.Average.from_output("accuracy")


def check_config(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """Raises `InputError` if f or h cannot be made; called before anything is trained."""
    trained = is_done(workdir / "classifier")  # the files that it began with may be gone
    for name, section in (("classifier", config.classifier), ("judge", config.judge)):
        if section.module or not trained:
            check(name, section, config.data.image_size)


def make_optimizer(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
    """AdamW with a warm-up and a cosine decay to zero."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, config.num_steps // 20, max(config.num_steps, 1)
    )
    return optax.adamw(schedule, weight_decay=config.weight_decay)


def make_train_step(
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    augmentation: Augmentation,
    smoothing: float,
    average_decay: float,
    seed: int,
) -> Callable:
    """Builds the pure step (state, batch) -> (state, metrics), to be mapped over the devices."""

    def step(state: AveragedState, batch: Arrays) -> tuple[AveragedState, ClassifierMetrics]:
        keys = parallel.example_keys(seed, state.step, batch["index"])
        image = augment(to_unit_range(batch["image"]), keys, augmentation)

        def loss_fn(params: Params):
            (margin, _), changed = network.apply(
                {"params": params}, image, network_keys(keys), mutable=["statistics"]
            )
            loss = losses.classification(margin, batch["label"], smoothing)
            return loss, (margin, changed.get("statistics", {}))

        (loss, (margin, statistics)), gradient = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params
        )
        accuracy = ((margin > 0) == batch["label"]).mean()
        gradient, loss, accuracy = parallel.mean((gradient, loss, accuracy))
        state = averaged.update(state, gradient, optimizer, average_decay, statistics)
        return state, ClassifierMetrics.single_from_model_output(loss=loss, accuracy=accuracy)

    return step


def map_train_step(
    config: ml_collections.ConfigDict,
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    seed: int,
    devices: parallel.Devices | None = None,
) -> Callable:
    """`make_train_step` of a section of the config, on every device or on those given."""
    step = make_train_step(
        network,
        optimizer,
        Augmentation(**config.augmentation),
        config.label_smoothing,
        config.average_decay,
        seed,
    )
    return parallel.pmap_step(step, devices=devices)


def network_keys(keys: Keys) -> Keys:
    """Keys for what a network draws in training, other than those of the films' augmentation."""
    return parallel.other_keys(keys, NETWORK)


def make_margins(network: nn.Module, batch_size: int = 128) -> Callable:
    """A function (params, stored images [N, h, w, 1] uint8) -> logit margins [N], compiled once."""

    def margin(params: Params, pixels: jax.Array) -> jax.Array:
        return network.apply({"params": params}, to_unit_range(pixels))[0]

    return parallel.in_batches(margin, 1, batch_size)


def margins(network: nn.Module, params: Params, pixels: np.ndarray) -> np.ndarray:
    """Logit margins of stored images [N, h, w, 1] uint8 -> [N]."""
    return make_margins(network)(params, pixels)


def train(
    config: ml_collections.ConfigDict,
    image_size: int,
    seed: int,
    directory: Path,
    splits: dict[str, Arrays],
) -> None:
    """Trains one classifier to its end, resuming where a killed run was."""
    network = make_classifier(config)
    optimizer = make_optimizer(config)
    step = map_train_step(config, network, optimizer, seed)
    params = first_params(config, network, image_size, seed)
    validation, judge = splits["validation"], make_margins(network)

    def snapshot(state: AveragedState) -> Snapshot:
        if config.num_steps == 0:  # `weights` as they are: nothing to choose between
            return Snapshot(state.average, score=0.0)
        auroc = metrics.auroc(judge(state.average, validation["image"]), validation["label"])
        return Snapshot(state.average, auroc, {"validation_auroc": auroc})

    training.train(
        directory,
        Plan(config.num_steps, config.batch_size, config.eval_every, config.eval_every),
        averaged.init_state(params, optimizer),
        lambda number, state, batch: step(state, batch),
        lambda start: train_batches(splits["train"], config.batch_size, seed, start),
        snapshot,
    )


def load(
    config: ml_collections.ConfigDict, image_size: int, directory: Path
) -> tuple[nn.Module, Params]:
    """The network and the parameters of its best checkpoint; {} of a function of one's own."""
    network = make_classifier(config)
    if config.module:
        return network, {}
    return network, load_networks(directory, partial(init_params, network, image_size, seed=0))


def run(config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]) -> None:
    """Trains f (`classifier/`) and h (`classifier/judge/`) and records their test figures."""
    directory = workdir / "classifier"
    if is_done(directory):
        logger.info("classifier: complete, skipped")
        return
    figures = {}
    for name, section, seed, place in [
        ("classifier", config.classifier, config.seed, directory),
        ("judge", config.judge, config.seed + 1, directory / "judge"),
    ]:
        if not section.module:
            train(section, config.data.image_size, seed, place, splits)
        network, params = load(section, config.data.image_size, place)
        margin = margins(network, params, splits["test"]["image"])
        figures[name] = metrics.classification(margin, splits["test"]["label"])
        logger.info("%s: %s", name, figures[name])
    mark_done(directory, **figures)


def test_figures(workdir: Path) -> dict:
    """The test figures of `classifier` and `judge`."""
    return read_json(workdir / "classifier" / "done.json")
