"""Task `classifier`: trains the explained classifier f and an independent judge h."""

import logging
from collections.abc import Callable
from pathlib import Path

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from clu import metrics as clu_metrics

from cxr_jax import averaged, losses, metrics, parallel
from cxr_jax.augment import Augmentation, augment
from cxr_jax.averaged import AveragedState
from cxr_jax.checkpoint import Checkpoints
from cxr_jax.data import Arrays, to_unit_range, train_batches
from cxr_jax.models.classifier import Classifier
from cxr_jax.records import Recorder, is_done, mark_done, read_json
from cxr_jax.types import Params

logger = logging.getLogger(__name__)


@flax.struct.dataclass
class ClassifierMetrics(clu_metrics.Collection):
    """Averages over a log interval."""

    loss: clu_metrics.Average.from_output("loss")
    accuracy: clu_metrics.Average.from_output("accuracy")


def make_classifier(config: ml_collections.ConfigDict) -> Classifier:
    """The network of a `config.classifier` or `config.judge` section."""
    return Classifier(widths=tuple(config.widths), dtype=config.dtype)


def init_params(network: nn.Module, image_size: int, seed: int) -> Params:
    """Fresh parameters."""
    image = jnp.zeros((1, image_size, image_size, 1))
    return network.init(jax.random.key(seed), image)["params"]


def make_optimizer(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
    """AdamW with a warm-up and a cosine decay to zero."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, config.num_steps // 20, config.num_steps
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
            margin, _ = network.apply({"params": params}, image)
            return losses.classification(margin, batch["label"], smoothing), margin

        (loss, margin), gradient = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        accuracy = ((margin > 0) == batch["label"]).mean()
        gradient, loss, accuracy = parallel.mean((gradient, loss, accuracy))
        state = averaged.update(state, gradient, optimizer, average_decay)
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
    params = init_params(network, image_size, seed)
    checkpoints = Checkpoints(directory)
    state = averaged.init_state(params, optimizer)
    state = checkpoints.newest(parallel.replicate(state))
    start = int(state.step)
    recorder = Recorder(directory, directory.name, config.num_steps, config.batch_size, start)
    batches = train_batches(splits["train"], config.batch_size, seed, start)
    collected, judge = ClassifierMetrics.empty(), make_margins(network)
    for number in range(start + 1, config.num_steps + 1):
        state, new = step(state, parallel.shard(next(batches)))
        collected = collected.merge(new)
        if number % config.eval_every == 0 or number == config.num_steps:
            margin = judge(state.average, splits["validation"]["image"])
            auroc = metrics.auroc(margin, splits["validation"]["label"])
            recorder.write(number, {**collected.compute(), "validation_auroc": auroc})
            collected = ClassifierMetrics.empty()
            checkpoints.save(number, state, state.average, score=auroc)
    recorder.close()
    checkpoints.close()


def load(
    config: ml_collections.ConfigDict, image_size: int, directory: Path
) -> tuple[Classifier, Params]:
    """The network and the parameters of its best checkpoint."""
    network = make_classifier(config)
    checkpoints = Checkpoints(directory)
    params = checkpoints.best(parallel.replicate(init_params(network, image_size, seed=0)))
    checkpoints.close()
    return network, params


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
        train(section, config.data.image_size, seed, place, splits)
        network, params = load(section, config.data.image_size, place)
        margin = margins(network, params, splits["test"]["image"])
        figures[name] = metrics.classification(margin, splits["test"]["label"])
        logger.info("%s: %s", name, figures[name])
    mark_done(directory, **figures)


def test_figures(workdir: Path) -> dict:
    """The test figures of `classifier` and `judge`."""
    return read_json(workdir / "classifier" / "done.json")
