"""The segmenter: finds the lungs, so that it can be said whether a walk moves them."""

from pathlib import Path

import flax.linen as nn
import jax
import ml_collections
import numpy as np

from cxr_jax import losses, metrics
from cxr_jax.data.arrays import Arrays, to_unit_range
from cxr_jax.data.augment import Augmentation, augment, augment_mask
from cxr_jax.models.model import Model
from cxr_jax.networks.build import make_segmenter
from cxr_jax.runtime import parallel
from cxr_jax.training.supervised import Evaluator, Loss, Untaught, finite_or_none, train
from cxr_jax.types import Mask, Params, Pixels

SEED = 2  # added to the run's: f and h have 0 and 1

ANY_LABEL = -1


def segmenter_loss(network: nn.Module, augmentation: Augmentation) -> Loss:
    """Pixel by pixel and as a whole, on films that are moved together with their masks."""

    def loss(params: Params, batch: Arrays, keys: jax.Array, step: jax.Array) -> jax.Array:
        del step
        image = augment(to_unit_range(batch["image"]), keys, augmentation)
        lungs = augment_mask(batch["lung_mask"] > 0, keys, augmentation)
        return losses.segmentation(Model(network, params)(image), lungs).mean()

    return loss


def find_lungs(segmenter: Model, pixels: np.ndarray, batch_size: int = 128) -> np.ndarray:
    """Lung masks [N, h, w, 1] bool of stored images [N, h, w, 1] uint8."""

    def find(segmenter: Model, pixels: Pixels) -> Mask:
        return segmenter(to_unit_range(pixels)) > 0

    return parallel.in_batches(find, batch_size)(segmenter, pixels)


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
        of_label = {ANY_LABEL: "", 0: "negative ", 1: "positive "}[section.only_label]
        raise Untaught(
            f"{len(films['image'])} {of_label}training and {len(test['image'])} test films have a "
            f"lung mask; a batch of {section.batch_size} (evaluators.segmenter.batch_size) and one "
            "are needed; evaluators.segmenter.only_label says of which class"
        )
    network = make_segmenter(section)
    loss = segmenter_loss(network, Augmentation(**section.augmentation))
    seed, directory = config.seed + SEED, workdir / "evaluators" / "segmenter"
    segmenter = train(section, network, loss, arrays=films, seed=seed, directory=directory)
    found, truth = find_lungs(segmenter, test["image"]), test["lung_mask"] > 0
    dice = [metrics.dice(one, other) for one, other in zip(found, truth, strict=True)]
    return {"dice": finite_or_none(np.mean(dice)), "images": len(dice)}


SEGMENTER = Evaluator(name="segmenter", truths=("lung_mask", "has_lung_mask"), run=run_segmenter)
