"""Task `evaluators`: trains the networks that judge explanations, apart from all that they judge.

`segmenter` finds the lungs, so that it can be said whether a walk moves them; `regressor` learns
what a phantom was drawn from, and its features tell real films from unreal ones; `robust` is a
classifier trained on adversarial examples, whose features are a metric for paths. The config names
those to be trained; one that the data set cannot teach is skipped with a reason.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from clu import metrics as clu_metrics

from cxr_jax import attack, averaged, losses, metrics, parallel, train_classifier, training
from cxr_jax.attack import Attack
from cxr_jax.augment import Augmentation, augment, augment_mask
from cxr_jax.averaged import AveragedState
from cxr_jax.checkpoint import load_networks
from cxr_jax.classifiers import make_compact
from cxr_jax.data import Arrays, to_unit_range, train_batches
from cxr_jax.film_parameters import NAMES, SOURCES, film_parameters
from cxr_jax.models.classifier import Classifier
from cxr_jax.models.regressor import Regressor
from cxr_jax.models.segmenter import Segmenter
from cxr_jax.records import is_done, mark_done, read_json
from cxr_jax.training import Plan, Snapshot
from cxr_jax.types import Params
from datasets.errors import InputError

logger = logging.getLogger(__name__)

# loss(params, batch, keys, step): a scalar, from a key an example and the number of steps taken.
Loss = Callable[[Params, Arrays, jax.Array, jax.Array], jax.Array]

# The truths of train that each is taught by, and which seed is its own: f and h have the first two.
TRUTHS = {"segmenter": ("lung_mask", "has_lung_mask"), "regressor": SOURCES, "robust": ()}
ANY_LABEL = -1
SEEDS = {"segmenter": 2, "regressor": 3, "robust": 4}


class Untaught(Exception):
    """The data set lacks what a network would be taught by; the message is the recorded reason."""


@flax.struct.dataclass
class EvaluatorMetrics(clu_metrics.Collection):
    """Averages over a log interval."""

    loss: clu_metrics.Average.from_output("loss")


# What the three share.


def needed_truths(names: Sequence[str]) -> tuple[str, ...]:
    """The truths of train, as for `data.load_splits`, that teach these networks.

    Raises:
      InputError: if there is no such network.
    """
    for name in names:
        if name not in TRUTHS:
            raise InputError(
                f"config.evaluators.names has {name!r}; choose among {', '.join(TRUTHS)}"
            )
    return tuple(truth for name in names for truth in TRUTHS[name])


def make_train_step(
    loss: Loss, optimizer: optax.GradientTransformation, average_decay: float, seed: int
) -> Callable:
    """Builds the pure step (state, batch) -> (state, metrics), to be mapped over the devices."""

    def step(state: AveragedState, batch: Arrays) -> tuple[AveragedState, EvaluatorMetrics]:
        keys = parallel.example_keys(seed, state.step, batch["index"])
        graded = jax.value_and_grad(loss)(state.params, batch, keys, state.step)
        value, gradient = parallel.mean(graded)
        state = averaged.update(state, gradient, optimizer, average_decay)
        return state, EvaluatorMetrics.single_from_model_output(loss=value)

    return step


def map_train_step(
    config: ml_collections.ConfigDict,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    seed: int,
    devices: parallel.Devices | None = None,
) -> Callable:
    """`make_train_step` of a section of the config, on every device or on those given."""
    step = make_train_step(loss, optimizer, config.average_decay, seed)
    return parallel.pmap_step(step, devices=devices)


def train(
    config: ml_collections.ConfigDict,
    network: nn.Module,
    loss: Loss,
    arrays: Arrays,
    seed: int,
    directory: Path,
) -> Params:
    """Trains one network on `arrays` to its end, resuming where a killed run was.

    Returns:
      The averaged parameters.
    """
    optimizer = train_classifier.make_optimizer(config)
    step = map_train_step(config, loss, optimizer, seed)
    params = train_classifier.init_params(network, arrays["image"].shape[1], seed)
    state = training.train(
        directory,
        Plan(config.num_steps, config.batch_size, config.log_every, config.save_every),
        averaged.init_state(params, optimizer),
        lambda number, state, batch: step(state, batch),
        lambda start: train_batches(arrays, config.batch_size, seed, start),
        lambda state: Snapshot(state.average, score=int(state.step)),
    )
    return state.average


def load(config: ml_collections.ConfigDict, network: nn.Module, name: str, workdir: Path) -> Params:
    """The trained parameters of the network `name`."""
    init = partial(train_classifier.init_params, network, config.data.image_size, seed=0)
    return load_networks(workdir / "evaluators" / name, init)


# The segmenter.


def make_segmenter(config: ml_collections.ConfigDict) -> Segmenter:
    """The network of `config.evaluators.segmenter`."""
    return Segmenter(widths=tuple(config.widths), dtype=config.dtype)


def load_segmenter(config: ml_collections.ConfigDict, workdir: Path) -> tuple[Segmenter, Params]:
    """The trained segmenter; its logits are positive in the lungs."""
    network = make_segmenter(config.evaluators.segmenter)
    return network, load(config, network, "segmenter", workdir)


def segmenter_loss(network: Segmenter, augmentation: Augmentation) -> Loss:
    """Pixel by pixel and as a whole, on films that are moved together with their masks."""

    def loss(params: Params, batch: Arrays, keys: jax.Array, step: jax.Array) -> jax.Array:
        del step
        image = augment(to_unit_range(batch["image"]), keys, augmentation)
        lungs = augment_mask(batch["lung_mask"] > 0, keys, augmentation)
        return losses.segmentation(network.apply({"params": params}, image), lungs).mean()

    return loss


def find_lungs(
    network: Segmenter, params: Params, pixels: np.ndarray, batch_size: int = 128
) -> np.ndarray:
    """Lung masks [N, h, w, 1] bool of stored images [N, h, w, 1] uint8."""

    def find(params: Params, pixels: jax.Array) -> jax.Array:
        return network.apply({"params": params}, to_unit_range(pixels)) > 0

    return parallel.in_batches(find, 1, batch_size)(params, pixels)


def with_lungs(arrays: Arrays, only_label: int = ANY_LABEL) -> Arrays:
    """`image` and `lung_mask` of the films whose lungs are known, of one label or of any.

    Where masks were drawn for each class by another group, one class is one convention.
    """
    known = arrays.get("has_lung_mask", np.ones(len(arrays["image"]), bool)).astype(bool)
    if only_label != ANY_LABEL:
        known = known & (arrays["label"] == only_label)
    return {name: arrays[name][known] for name in ("image", "lung_mask")}


def run_segmenter(
    config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]
) -> dict:
    """Trains the segmenter; returns its mean Dice over the test films whose lungs are known.

    Raises:
      Untaught: if the data set has no lung masks, or too few.
    """
    section = config.evaluators.segmenter
    if "lung_mask" not in splits["train"]:
        raise Untaught("the data set has no lung masks")
    films, test = (with_lungs(splits[name], section.only_label) for name in ("train", "test"))
    if len(films["image"]) < section.batch_size or len(test["image"]) == 0:
        raise Untaught(
            f"{len(films['image'])} training and {len(test['image'])} test films have a lung mask; "
            f"a batch of {section.batch_size} and one are needed"
        )
    network = make_segmenter(section)
    loss = segmenter_loss(network, Augmentation(**section.augmentation))
    seed, directory = config.seed + SEEDS["segmenter"], workdir / "evaluators" / "segmenter"
    params = train(section, network, loss, films, seed, directory)
    found, truth = find_lungs(network, params, test["image"]), test["lung_mask"] > 0
    dice = [metrics.dice(one, other) for one, other in zip(found, truth, strict=True)]
    return {"dice": finite_or_none(np.mean(dice)), "images": len(dice)}


# The regressor.


class Standard(NamedTuple):
    """Mean and standard deviation of each parameter over the training films."""

    mean: np.ndarray
    std: np.ndarray


def fit_standard(parameters: np.ndarray) -> Standard:
    """Measures parameters [N, p]; one that never varies keeps its unit."""
    std = parameters.std(axis=0)
    return Standard(parameters.mean(axis=0), np.where(std > 1e-6, std, 1.0).astype(np.float32))


def make_regressor(config: ml_collections.ConfigDict) -> Regressor:
    """The network of `config.evaluators.regressor`."""
    return Regressor(len(NAMES), tuple(config.widths), config.num_features, dtype=config.dtype)


def load_regressor(config: ml_collections.ConfigDict, workdir: Path) -> tuple[Regressor, Params]:
    """The trained regressor; its second output are the features."""
    network = make_regressor(config.evaluators.regressor)
    return network, load(config, network, "regressor", workdir)


def regressor_loss(network: Regressor, augmentation: Augmentation) -> Loss:
    """Mean squared error of the standardised parameters."""

    def loss(params: Params, batch: Arrays, keys: jax.Array, step: jax.Array) -> jax.Array:
        del step
        image = augment(to_unit_range(batch["image"]), keys, augmentation)
        predicted, _ = network.apply({"params": params}, image)
        return jnp.square(predicted - batch["parameters"]).mean()

    return loss


def predict_parameters(
    network: Regressor, params: Params, pixels: np.ndarray, batch_size: int = 128
) -> np.ndarray:
    """Standardised parameters [N, p] of stored images [N, h, w, 1] uint8."""

    def predict(params: Params, pixels: jax.Array) -> jax.Array:
        return network.apply({"params": params}, to_unit_range(pixels))[0]

    return parallel.in_batches(predict, 1, batch_size)(params, pixels)


def run_regressor(
    config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]
) -> dict:
    """Trains the regressor; returns each parameter's R^2 on test films and its standardisation.

    Raises:
      Untaught: if the data set does not know the parameters.
    """
    section = config.evaluators.regressor
    missing = [name for name in SOURCES if name not in splits["train"]]
    if missing:
        raise Untaught(f"the data set does not know {', '.join(missing)}")
    parameters = film_parameters(splits["train"])
    mean, std = fit_standard(parameters)
    films = {"image": splits["train"]["image"], "parameters": (parameters - mean) / std}
    network = make_regressor(section)
    loss = regressor_loss(network, Augmentation(**section.augmentation))
    seed, directory = config.seed + SEEDS["regressor"], workdir / "evaluators" / "regressor"
    params = train(section, network, loss, films, seed, directory)
    predicted = predict_parameters(network, params, splits["test"]["image"])
    truth = (film_parameters(splits["test"]) - mean) / std
    fit = [
        finite_or_none(metrics.r_squared(predicted[:, i], truth[:, i])) for i in range(len(mean))
    ]
    return {
        "r_squared": dict(zip(NAMES, fit, strict=True)),
        "mean": dict(zip(NAMES, mean.tolist(), strict=True)),
        "std": dict(zip(NAMES, std.tolist(), strict=True)),
        "images": len(truth),
    }


# The robust classifier.


def load_robust(config: ml_collections.ConfigDict, workdir: Path) -> tuple[Classifier, Params]:
    """The adversarially trained classifier."""
    network = make_compact(config.evaluators.robust)
    return network, load(config, network, "robust", workdir)


def attack_films(
    network: Classifier,
    params: Params,
    batch: Arrays,
    image: jax.Array,
    keys: jax.Array,
    strength: Attack,
) -> jax.Array:
    """`image`, changed against the classifier and the labels of `batch`."""

    def objective(image: jax.Array) -> jax.Array:
        return attack.against(network.apply({"params": params}, image)[0], batch["label"])

    return attack.ascend(objective, image, keys, strength)


def robust_loss(
    network: Classifier,
    augmentation: Augmentation,
    strength: Attack,
    warmup_steps: int,
    smoothing: float,
) -> Loss:
    """Cross-entropy on adversarial examples, made anew in every step.

    The attack grows to its strength over `warmup_steps`: against the whole of it a network that
    has learned nothing yet never finds what to hold on to.
    """

    def loss(params: Params, batch: Arrays, keys: jax.Array, step: jax.Array) -> jax.Array:
        share = jnp.minimum((step + 1) / max(warmup_steps, 1), 1.0)
        weakened = strength._replace(
            epsilon=share * strength.epsilon, step_size=share * strength.step_size
        )
        pose_keys, attack_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        image = augment(to_unit_range(batch["image"]), pose_keys, augmentation)
        frozen = jax.lax.stop_gradient(params)  # no gradient through the attack itself
        image = attack_films(network, frozen, batch, image, attack_keys, weakened)
        margin, _ = network.apply({"params": params}, image)
        return losses.classification(margin, batch["label"], smoothing)

    return loss


def attacked_margins(
    network: Classifier,
    params: Params,
    arrays: Arrays,
    strength: Attack,
    seed: int,
    batch_size: int = 128,
) -> np.ndarray:
    """Margins [N] of stored images, each attacked against this very network."""

    def margin(params: Params, batch: Arrays) -> jax.Array:
        keys = parallel.example_keys(seed, 0, batch["index"])
        image = to_unit_range(batch["image"])
        image = attack_films(network, params, batch, image, keys, strength)
        return network.apply({"params": params}, image)[0]

    batch = {"image": arrays["image"], "label": arrays["label"]}
    batch["index"] = np.arange(len(arrays["label"]), dtype=np.int32)
    return parallel.in_batches(margin, 1, batch_size)(params, batch)


def run_robust(config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]) -> dict:
    """Trains the robust classifier; returns test AUROCs, clean and under the test attack.

    The explained classifier's under the same attack stands beside them, if it has been trained.
    """
    section, test = config.evaluators.robust, splits["test"]
    network = make_compact(section)
    strength, seed = Attack(**section.attack), config.seed + SEEDS["robust"]
    loss = robust_loss(
        network,
        Augmentation(**section.augmentation),
        strength,
        section.warmup_steps,
        section.label_smoothing,
    )
    films = {name: splits["train"][name] for name in ("image", "label")}
    params = train(section, network, loss, films, seed, workdir / "evaluators" / "robust")

    def attacked_auroc(network: Classifier, params: Params) -> float | None:
        margin = attacked_margins(network, params, test, Attack(**section.test_attack), seed)
        return finite_or_none(metrics.auroc(margin, test["label"]))

    margin = train_classifier.margins(network, params, test["image"])
    figures = {
        "auroc": finite_or_none(metrics.auroc(margin, test["label"])),
        "auroc_attacked": attacked_auroc(network, params),
        "images": len(margin),
    }
    if is_done(workdir / "classifier"):
        classifier = train_classifier.load(
            config.classifier, config.data.image_size, workdir / "classifier"
        )
        figures["auroc_attacked_classifier"] = attacked_auroc(*classifier)
    return figures


# The task.

RUNS = {"segmenter": run_segmenter, "regressor": run_regressor, "robust": run_robust}


def finite_or_none(value: float) -> float | None:
    """JSON has no NaN: what is undefined is null."""
    return float(value) if np.isfinite(value) else None


def run(config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]) -> None:
    """Trains the networks that the config names, and records their test figures."""
    directory, names = workdir / "evaluators", list(config.evaluators.names)
    if not names:
        return
    if is_done(directory, names=names):
        logger.info("evaluators: complete, skipped")
        return
    figures = {}
    for name in names:
        try:
            figures[name] = RUNS[name](config, workdir, splits)
        except Untaught as reason:
            figures[name] = {"skipped": str(reason)}
        logger.info("%s: %s", name, figures[name])
    directory.mkdir(parents=True, exist_ok=True)  # nothing may have been trained
    mark_done(directory, names=names, **figures)


def missing_reason(workdir: Path, name: str) -> str:
    """Why the network `name` is not there to be loaded; "" if it is."""
    directory = workdir / "evaluators"
    figures = read_json(directory / "done.json") if is_done(directory) else {}
    if name not in figures:
        return f"no {name} was trained; config.evaluators.names lacks it"
    return figures[name]["skipped"] if "skipped" in figures[name] else ""
