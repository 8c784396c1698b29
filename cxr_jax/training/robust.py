"""The robust classifier: trained on adversarial examples; its features are a metric for paths."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from cxr_jax import losses, metrics
from cxr_jax.data.arrays import Arrays, to_unit_range
from cxr_jax.data.augment import Augmentation, augment
from cxr_jax.models.classifier import Classifier
from cxr_jax.models.model import Model
from cxr_jax.networks.build import make_robust
from cxr_jax.networks.restore import load_classifier, margins
from cxr_jax.runtime import parallel
from cxr_jax.runtime.workdir import is_done
from cxr_jax.training import attack
from cxr_jax.training.attack import Attack
from cxr_jax.training.supervised import Evaluator, Loss, finite_or_none, train
from cxr_jax.types import Image, Keys, Label, Margin, Params

SEED = 4  # added to the run's: f and h have 0 and 1


def attack_films(
    classifier: Model, image: Image, label: Label, *, keys: Keys, strength: Attack
) -> Image:
    """`image`, changed against the classifier and the labels."""

    def objective(image: Image) -> Margin:
        return attack.against(classifier(image)[0], label)

    return attack.ascend(objective, image, keys, attack=strength)


def robust_loss(
    network: Classifier,
    augmentation: Augmentation,
    strength: Attack,
    *,
    warmup_steps: int,
    smoothing: float,
) -> Loss:
    """Cross-entropy on adversarial examples, made anew in every step.

    The attack grows to its strength over `warmup_steps`: against the whole of it a network that
    has learned nothing yet never finds what to hold on to.
    """

    def loss(params: Params, batch: Arrays, keys: jax.Array, step: jax.Array) -> jax.Array:
        share = jnp.minimum((step + 1) / max(warmup_steps, 1), 1.0)
        weakened = dataclasses.replace(
            strength, epsilon=share * strength.epsilon, step_size=share * strength.step_size
        )
        pose_keys, attack_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        image = augment(to_unit_range(batch["image"]), pose_keys, augmentation)
        frozen = Model(network, jax.lax.stop_gradient(params))  # no gradient through the attack
        image = attack_films(frozen, image, batch["label"], keys=attack_keys, strength=weakened)
        margin, _ = Model(network, params)(image)
        return losses.classification(margin, batch["label"], smoothing)

    return loss


def attacked_margins(
    classifier: Model, arrays: Arrays, strength: Attack, *, seed: int, batch_size: int = 128
) -> np.ndarray:
    """Margins [N] of stored images, each attacked against this very classifier."""

    def margin(classifier: Model, batch: Arrays) -> Margin:
        keys = parallel.example_keys(seed, 0, batch["index"])
        image, label = to_unit_range(batch["image"]), batch["label"]
        image = attack_films(classifier, image, label, keys=keys, strength=strength)
        return classifier(image)[0]

    batch = {"image": arrays["image"], "label": arrays["label"]}
    batch["index"] = np.arange(len(arrays["label"]), dtype=np.int32)
    return parallel.in_batches(margin, batch_size)(classifier, batch)


def run_robust(config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]) -> dict:
    """Trains the robust classifier; returns test AUROCs, clean and under the test attack.

    The explained classifier's under the same attack stands beside them, if it has been trained.
    """
    section, test = config.evaluators.robust, splits["test"]
    network = make_robust(section)
    strength, seed = Attack(**section.attack), config.seed + SEED
    loss = robust_loss(
        network,
        Augmentation(**section.augmentation),
        strength,
        warmup_steps=section.warmup_steps,
        smoothing=section.label_smoothing,
    )
    films = {name: splits["train"][name] for name in ("image", "label")}
    directory = workdir / "evaluators" / "robust"
    robust = train(section, network, loss, arrays=films, seed=seed, directory=directory)

    def attacked_auroc(classifier: Model) -> float | None:
        margin = attacked_margins(classifier, test, Attack(**section.test_attack), seed=seed)
        return finite_or_none(metrics.auroc(margin, test["label"]))

    margin = margins(robust, test["image"])
    figures = {
        "auroc": finite_or_none(metrics.auroc(margin, test["label"])),
        "auroc_attacked": attacked_auroc(robust),
        "images": len(margin),
    }
    if is_done(workdir / "classifier"):
        classifier = load_classifier(
            config.classifier, config.data.image_size, workdir / "classifier"
        )
        figures["auroc_attacked_classifier"] = attacked_auroc(classifier)
    return figures


ROBUST = Evaluator(name="robust", truths=(), run=run_robust)
