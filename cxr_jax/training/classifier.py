"""Task `classifier`: trains the explained classifier f and an independent judge h."""

import logging
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import flax.linen as nn
import jax
import ml_collections
import optax
from clu import metrics as clu_metrics

from cxr_jax import losses, metrics
from cxr_jax.data.arrays import Arrays, pick_patients, to_unit_range, train_batches
from cxr_jax.data.augment import Augmentation, augment
from cxr_jax.errors import InputError
from cxr_jax.models.lung_view import LUNGS, LungView
from cxr_jax.models.model import Model
from cxr_jax.networks.build import first_params, make_classifier
from cxr_jax.networks.restore import (
    load_classifier,
    load_segmenter,
    make_margins,
    margins,
    missing_reason,
)
from cxr_jax.runtime import parallel
from cxr_jax.runtime.streams import Stream, fold_keys
from cxr_jax.runtime.workdir import is_done, mark_done
from cxr_jax.training import ema, loop
from cxr_jax.training.ema import EmaState
from cxr_jax.training.loop import Plan, Snapshot, make_averages
from cxr_jax.training.segmenter import run_segmenter
from cxr_jax.training.supervised import Untaught, make_optimizer
from cxr_jax.types import Params

logger = logging.getLogger(__name__)


def make_train_step(
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    augmentation: Augmentation,
    *,
    smoothing: float,
    ema_decay: float,
    seed: int,
) -> Callable:
    """Builds the pure step (state, batch, frozen) -> (state, metrics).

    `frozen` are the parameters of the network that are not trained, beside those of the state.
    """
    averages = make_averages("loss", "accuracy")

    def step(
        state: EmaState, batch: Arrays, frozen: Params
    ) -> tuple[EmaState, clu_metrics.Collection]:
        keys = parallel.example_keys(seed, state.step, batch["index"])
        image = augment(to_unit_range(batch["image"]), keys, augmentation)

        def loss_fn(params: Params):
            (margin, _), changed = Model(network, {**params, **frozen})(
                image, fold_keys(keys, Stream.NETWORK), mutable=["statistics"]
            )
            loss = losses.classification(margin, batch["label"], smoothing)
            return loss, (margin, changed.get("statistics", {}))

        (loss, (margin, statistics)), gradient = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params
        )
        accuracy = ((margin > 0) == batch["label"]).mean()
        gradient, loss, accuracy = parallel.mean((gradient, loss, accuracy))
        state = ema.update(state, gradient, optimizer, decay=ema_decay, statistics=statistics)
        return state, averages.single_from_model_output(loss=loss, accuracy=accuracy)

    return step


def map_train_step(
    config: ml_collections.ConfigDict,
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    devices: parallel.Devices | None = None,
) -> Callable:
    """`make_train_step` of a section of the config, on every device or on those given."""
    step = make_train_step(
        network,
        optimizer,
        Augmentation(**config.augmentation),
        smoothing=config.label_smoothing,
        ema_decay=config.ema_decay,
        seed=seed,
    )
    return parallel.pmap_step(step, devices=devices)


def train(
    config: ml_collections.ConfigDict,
    image_size: int,
    seed: int,
    *,
    directory: Path,
    splits: dict[str, Arrays],
    frozen: Params = MappingProxyType({}),
) -> None:
    """Trains one classifier to its end, resuming where a killed run was.

    Args:
      frozen: parameters of the network that are trained already, and stay as they are.

    Raises:
      InputError: if those of the segmenter are not there for a network that needs them.
    """
    network = make_classifier(config)
    if isinstance(network, LungView) and not frozen:
        raise InputError(
            f"a classifier of visible={LUNGS!r} is trained by main.py alone, which brings its "
            "segmenter"
        )
    optimizer = make_optimizer(config)
    films = pick_patients(splits["train"], config.patients)
    step = map_train_step(config, network, optimizer, seed=seed)
    params, frozen = first_params(config, network, image_size=image_size, seed=seed), dict(frozen)
    params = {name: value for name, value in params.items() if name not in frozen}
    validation, ask = splits["validation"], make_margins(network)

    def snapshot(state: EmaState) -> Snapshot:
        variables = {**state.ema, **frozen}
        if config.num_steps == 0:  # `weights` as they are: nothing to choose between
            return Snapshot(variables=variables, score=0.0)
        auroc = metrics.auroc(ask(variables, validation["image"]), validation["label"])
        return Snapshot(variables=variables, score=auroc, figures={"validation_auroc": auroc})

    loop.train(
        directory,
        Plan(
            num_steps=config.num_steps,
            batch_size=config.batch_size,
            log_every=config.eval_every,
            save_every=config.eval_every,
        ),
        ema.init_state(params, optimizer),
        step=lambda number, state, batch: step(state, batch, frozen),
        batches=lambda start: train_batches(films, config.batch_size, seed, start_step=start),
        snapshot=snapshot,
    )


def run(config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]) -> None:
    """Trains f (`classifier/`) and h (`classifier/judge/`) and records their test figures."""
    directory = workdir / "classifier"
    if is_done(directory):
        logger.info("classifier: complete, skipped")
        return
    frozen = make_frozen(config, workdir, splits)
    figures, wrong = {}, {}
    for name, section, seed, place in [
        ("classifier", config.classifier, config.seed, directory),
        ("judge", config.judge, config.seed + 1, directory / "judge"),
    ]:
        if not section.module:
            train(
                section,
                config.data.image_size,
                seed,
                directory=place,
                splits=splits,
                frozen=frozen if section.visible == LUNGS else {},
            )
        model = load_classifier(section, config.data.image_size, place)
        margin = margins(model, splits["test"]["image"])
        figures[name] = metrics.classification(margin, splits["test"]["label"])
        wrong[name] = (margin > 0) != splits["test"]["label"]
        logger.info("%s: %s", name, figures[name])
    figures["errors"] = {
        **{name: int(errors.sum()) for name, errors in wrong.items()},
        "both": int((wrong["classifier"] & wrong["judge"]).sum()),
    }
    mark_done(directory, **figures)


def make_frozen(
    config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]
) -> Params:
    """What classifiers have of other networks: the segmenter, if one of them sees lungs alone.

    It is trained where no run of the task `evaluators` has left one.

    Raises:
      InputError: if there is none and the data set cannot teach it.
    """
    if LUNGS not in (config.classifier.visible, config.judge.visible):
        return {}
    if missing_reason(workdir, "segmenter"):
        try:
            run_segmenter(config, workdir, splits)
        except Untaught as reason:
            raise InputError(
                f"a classifier of visible={LUNGS!r} needs a segmenter, but {reason}; or copy the "
                f"folder evaluators of a run of films of the same size into {workdir} first"
            ) from reason
    return {"segmenter": load_segmenter(config, workdir).params}
