"""TFDS builder `cxr_phantom`: phantom radiographs, their truths and their counterfactuals."""

import dataclasses
import functools
import io
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from cxr_jax.datasets.cxr_phantom.canvas import one_thread
from cxr_jax.datasets.cxr_phantom.findings import FINDINGS
from cxr_jax.datasets.cxr_phantom.patient import PARAMETER_NAMES
from cxr_jax.datasets.cxr_phantom.phantom import (
    IMAGE_NAMES,
    MASK_NAMES,
    OTHER,
    PhantomSpec,
    draw,
)

SIZES = (32, 64, 128, 256)
SPLIT_STRIDE = 10_000_000  # the first patient of each split; no split may reach the next one

MarkerProbabilities = tuple[float, float]  # (given positive, given negative)


@dataclasses.dataclass(eq=False, kw_only=True)
class PhantomConfig(tfds.core.BuilderConfig):
    """A data set of phantoms. Make it by make_config, which names it after all of its fields.

    Attributes:
      size: pixels a side.
      seed: names the population of patients.
      train, validation, test: number of examples in each split.
      marker_train: marker probabilities of the train and validation splits.
      marker_test: marker probabilities of the test split.
      finding_half, finding, distractors: see `PhantomSpec`.
    """

    size: int
    seed: int
    train: int
    validation: int
    test: int
    marker_train: MarkerProbabilities
    marker_test: MarkerProbabilities
    finding_half: str
    finding: str
    distractors: float

    def spec(self, split: str) -> PhantomSpec:
        positive, negative = self.marker_test if split == "test" else self.marker_train
        return PhantomSpec(
            size=self.size,
            marker_if_positive=positive,
            marker_if_negative=negative,
            finding_half=self.finding_half,
            finding=self.finding,
            distractors=self.distractors,
        )


def make_config(
    *,
    size: int = 64,
    seed: int = 0,
    train: int = 4000,
    validation: int = 500,
    test: int = 500,
    marker_train: Sequence[float] = (0.0, 0.0),
    marker_test: Sequence[float] = (0.0, 0.0),
    finding_half: str = "",
    finding: str = "opacity",
    distractors: float = 0.0,
) -> PhantomConfig:
    """The config of these fields; one object per set of fields, as TFDS demands of a name."""
    markers = tuple(marker_train), tuple(marker_test)
    counts = train, validation, test
    return _config(size, seed, *counts, *markers, finding_half, finding, float(distractors))


@functools.cache
def _config(
    size,
    seed,
    train,
    validation,
    test,
    marker_train,
    marker_test,
    finding_half,
    finding,
    distractors,
) -> PhantomConfig:
    for name, count in {"train": train, "validation": validation, "test": test}.items():
        if not 0 < count <= SPLIT_STRIDE:
            raise ValueError(f"{name} must be in 1..{SPLIT_STRIDE}, got {count}")
    probabilities = (*marker_train, *marker_test)
    if len(probabilities) != 4 or not all(0.0 <= p <= 1.0 for p in probabilities):
        raise ValueError(f"need two pairs in [0, 1], got {marker_train} and {marker_test}")
    check_finding(finding, finding_half, distractors)
    # What is added is named only where it is used: prepared data are found again by their names.
    added = f"_{finding_half}" if finding_half else ""
    added += f"_{finding}" if finding != "opacity" else ""
    added += f"_distractors_{distractors!r}" if distractors else ""
    markers = "_".join(repr(float(p)) for p in probabilities)
    return PhantomConfig(
        name=f"{size}px_seed{seed}_{train}_{validation}_{test}_marker_{markers}{added}",
        description=f"{size} x {size} phantom radiographs",
        size=size,
        seed=seed,
        train=train,
        validation=validation,
        test=test,
        marker_train=marker_train,
        marker_test=marker_test,
        finding_half=finding_half,
        finding=finding,
        distractors=distractors,
    )


def check_finding(finding: str, half: str, distractors: float) -> None:
    """Raises `ValueError` if what the label is about cannot be drawn."""
    if finding not in FINDINGS:
        raise ValueError(f"finding must be one of {', '.join(FINDINGS)}, got {finding!r}")
    if half not in ("", *OTHER):
        raise ValueError(f"finding_half must be '' or one of {', '.join(OTHER)}, got {half!r}")
    if half and finding != "opacity":
        raise ValueError(f"finding_half={half!r} is for finding='opacity' alone, got {finding!r}")
    if not 0.0 <= distractors <= 1.0:
        raise ValueError(f"distractors must be a probability in [0, 1], got {distractors}")


@functools.lru_cache(maxsize=8)  # renderings of one patient are often the same picture
def encode_png(pixels: bytes, size: int) -> bytes:
    """PNG of size x size grey pixels. Bytes, since TFDS sends arrays through TensorFlow."""
    buffer = io.BytesIO()
    Image.frombytes("L", (size, size), pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


class Builder(tfds.core.GeneratorBasedBuilder):
    """Draws every example; nothing is downloaded."""

    # Any change to what is drawn must come with a new version: TFDS caches by it.
    VERSION = tfds.core.Version("1.1.0")
    BUILDER_CONFIGS = [make_config(size=size) for size in SIZES]

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        pictures = {
            name: tfds.features.Image(shape=(size, size, 1), encoding_format="png")
            for name in IMAGE_NAMES + MASK_NAMES
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=(
                "Procedural frontal chest radiographs, healthy or with a finding, "
                "with masks and exact re-renderings without it and without marker."
            ),
            features=tfds.features.FeaturesDict(
                {
                    **pictures,
                    "label": tfds.features.ClassLabel(names=["negative", "covid"]),
                    "severity": np.float32,
                    "patient_id": tfds.features.Text(),
                    "parameters": tfds.features.Tensor(
                        shape=(len(PARAMETER_NAMES),), dtype=np.float32
                    ),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        del dl_manager  # nothing to download
        return {name: self._generate_examples(name) for name in ("train", "validation", "test")}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        config = self.builder_config
        first = SPLIT_STRIDE * ("train", "validation", "test").index(split)
        with one_thread():
            for index in range(first, first + getattr(config, split)):
                example = draw(config.seed, index, config.spec(split))
                for name in IMAGE_NAMES + MASK_NAMES:
                    example[name] = encode_png(example[name].tobytes(), config.size)
                yield index, example
