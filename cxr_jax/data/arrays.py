"""Prepared data sets as arrays in memory, and endless batches of them.

The only user of TFDS and grain. A radiograph data set of this kind fits in memory (100,000 films
of 128 x 128 are 1.6 GB), which makes every batch a pure function of (seed, step): resuming is
indexing, and there is no iterator to save.
"""

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import filelock
import grain
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float, UInt8

from cxr_jax.datasets import cxr_folder, cxr_manifest
from cxr_jax.datasets.cxr_phantom import cxr_phantom_dataset_builder
from cxr_jax.datasets.cxr_phantom.phantom import PhantomSpec
from cxr_jax.errors import InputError
from cxr_jax.runtime import parallel
from cxr_jax.runtime.user_path import make_folder, user_path
from cxr_jax.types import AnyArray

logger = logging.getLogger(__name__)

Arrays = dict[str, AnyArray]

RARE = 0.25  # of the films of training: a class less frequent is worth a warning

DATA_SETS = ("cxr_phantom", "cxr_folder", "cxr_manifest")
PATIENTS = ("all", "one half", "other half")  # who a classifier is taught by

TRUTHS = (
    "patient_id",
    "group",
    "filename",
    "severity",
    "twin",
    "without_marker",
    "without_both",
    "lesion_mask",
    "lung_mask",
    "has_lung_mask",
    "lookalike_mask",
    "marker_mask",
    "parameters",
)


def to_unit_range(pixels: UInt8[AnyArray, "*shape"]) -> Float[AnyArray, "*shape"]:
    """uint8 to float32 in [-1, 1]."""
    return pixels.astype(jnp.float32) / 127.5 - 1


def load_split(builder: tfds.core.DatasetBuilder, split: str, fields: Sequence[str]) -> Arrays:
    """Decodes the named fields of a whole split into arrays with one row an example."""
    unused = {
        name: tfds.decode.SkipDecoding() for name in builder.info.features if name not in fields
    }
    source = builder.as_data_source(split, decoders=unused)
    rows = [source[i] for i in range(len(source))]
    return {name: np.stack([row[name] for row in rows]) for name in fields}


def in_pairs(positive: np.ndarray) -> np.ndarray:
    """An order of a batch in fours of two negatives and two positives, as far as there are both.

    The batch's own order is kept among either, and the even rows alternate too.
    """
    first, last = np.argsort(positive, kind="stable").reshape(2, -1, 2)
    return np.concatenate([first, last], axis=1).reshape(-1)


def train_batches(
    arrays: Arrays,
    batch_size: int,
    seed: int,
    *,
    start_step: int,
    positive: np.ndarray | None = None,
) -> Iterator[Arrays]:
    """Shuffled batches without end, from `start_step` on.

    Each batch holds the rows of this process and, as `index`, their positions in the global batch;
    of the arrays those of numbers, since names are not for devices.

    Args:
      positive: which films are taken for positives [N]; where given, each batch is ordered by
        `in_pairs`, and must be a multiple of 4.

    Raises:
      InputError: if the batch is larger than the data set or not divisible by the processes.
    """
    rows = len(jax.tree.leaves(arrays)[0])
    if batch_size > rows:
        raise InputError(
            f"the training split has {rows} images, fewer than a batch of {batch_size}"
        )
    if batch_size % jax.process_count():
        raise InputError(
            f"batch size {batch_size} is not a multiple of {jax.process_count()} processes"
        )
    numbers = {name: array for name, array in arrays.items() if array.dtype.kind in "biuf"}
    local = batch_size // jax.process_count()
    index = np.arange(local, dtype=np.int32) + jax.process_index() * local
    order = grain.MapDataset.range(rows).seed(seed).shuffle().repeat().batch(batch_size)
    step = start_step
    while True:
        picked = np.asarray(order[step])
        if positive is not None:
            picked = picked[in_pairs(positive[picked])]
        picked = picked[index]
        yield {"index": index, **{name: array[picked] for name, array in numbers.items()}}
        step += 1


def owners(arrays: Arrays) -> np.ndarray:
    """Whose each film is [N]: as far as is known one patient's, or those that stay together."""
    return arrays["group"] if "group" in arrays else arrays["patient_id"]


def patient_half(owner: np.ndarray) -> np.ndarray:
    """0 or 1 for each film [N], by a hash of its owner's name."""
    return np.array([hashlib.sha256(name).digest()[0] % 2 for name in owner], int)


def pick_patients(arrays: Arrays, patients: str) -> Arrays:
    """The films of the patients that a classifier is taught by.

    Args:
      patients: one of PATIENTS.

    Raises:
      InputError: if the patients are not known, or all fall into the other half.
    """
    if patients == "all":
        return arrays
    if not {"group", "patient_id"} & arrays.keys():
        raise InputError("the data set does not tell patients apart; set `patients` to 'all'")
    picked = patient_half(owners(arrays)) == PATIENTS.index(patients) - 1
    if not picked.any():
        raise InputError(f"no patient of the training films is in the {patients} half")
    return {name: array[picked] for name, array in arrays.items()}


def shuffled(label: np.ndarray, *seed: int) -> np.ndarray:
    """The labels in another order, so that they mean nothing (Adebayo et al., 2018)."""
    return np.random.Generator(np.random.Philox(seed)).permutation(label)


def cache_folder(config: ml_collections.ConfigDict) -> Path:
    """Where TFDS keeps the prepared data of a `config.data` section."""
    return user_path(config.cache_dir or tfds.core.constants.DATA_DIR)


def make_cache(config: ml_collections.ConfigDict) -> None:
    """Makes that folder, so that what is in its way is known before anything is read.

    Raises:
      InputError: if it is a file, or cannot be made.
    """
    make_folder(cache_folder(config), "config.data.cache_dir")


def make_builder(config: ml_collections.ConfigDict, seed: int) -> tfds.core.DatasetBuilder:
    """The TFDS builder that a `config.data` section names.

    Raises:
      InputError: if the name is unknown or the user's folder cannot be used.
    """
    cache = cache_folder(config)
    if config.name == "cxr_phantom":
        return cxr_phantom_dataset_builder.Builder(
            config=make_phantom(config, seed), data_dir=str(cache), file_format="array_record"
        )
    if config.name not in DATA_SETS:
        raise InputError(
            f"config.data.name is {config.name!r}; choose one of {', '.join(DATA_SETS)}"
        )
    reading = dict(
        size=config.image_size,
        positive_class=config.positive_class,
        skip_unreadable=config.skip_unreadable,
        square=config.square,
        bits=config.bits,
        lateral_views=config.lateral_views,
    )
    if config.name == "cxr_manifest":
        preset, fields = manifest_fields(config)
        folder = _films_folder(config, "a folder with the table of films")
        return cxr_manifest.make_builder(folder, cache, preset=preset, manifest=fields, **reading)
    return cxr_folder.make_builder(
        _films_folder(config, "a folder with one sub-folder per class"),
        cache,
        negative_classes=tuple(config.negative_classes),
        split_column=config.split_column,
        **reading,
    )


def manifest_fields(config: ml_collections.ConfigDict) -> tuple[str, dict[str, object]]:
    """The preset and the fields of a `config.data` section's manifest."""
    fields = config.manifest.to_dict()
    return fields.pop("preset"), fields


def _films_folder(config: ml_collections.ConfigDict, what: str) -> Path:
    folder = config.dir or os.environ.get("CXR_DATA", "")
    if not folder:
        raise InputError(
            f"no radiographs given; set --config.data.dir or the environment variable CXR_DATA to "
            f"{what}"
        )
    return user_path(folder)


def phantom_spec(config: ml_collections.ConfigDict, split: str = "test") -> PhantomSpec | None:
    """How a split's films of a `config.data` section are drawn; None for other than phantoms."""
    if config.name != "cxr_phantom":
        return None
    return make_phantom(config, seed=0).spec(split)


def make_phantom(
    config: ml_collections.ConfigDict, seed: int
) -> cxr_phantom_dataset_builder.PhantomConfig:
    """The phantoms of a `config.data` section."""
    return cxr_phantom_dataset_builder.make_config(
        size=config.image_size,
        seed=seed,
        train=config.num_train,
        validation=config.num_validation,
        test=config.num_test,
        marker_train=tuple(config.marker_train),
        marker_test=tuple(config.marker_test),
        finding_half=config.finding_half,
        finding=config.finding,
        distractors=config.distractors,
    )


def prepare(config: ml_collections.ConfigDict, seed: int) -> tfds.core.DatasetBuilder:
    """The builder of a `config.data` section, its data set prepared if it was not.

    The first process goes before the others, which find on a common disk what it has prepared.
    """
    if not parallel.is_first():
        parallel.wait("data")
    builder = make_builder(config, seed)
    was_there = builder.data_path.exists()
    with _alone(builder):
        if not was_there and builder.data_path.exists():  # a builder learns only at first of them
            builder = make_builder(config, seed)
        builder.download_and_prepare()
    if parallel.is_first():
        parallel.wait("data")
    return builder


@contextlib.contextmanager
def _alone(builder: tfds.core.DatasetBuilder) -> Iterator[None]:
    """Waits until no other process prepares the same data: of two, one would find them written."""
    cache = Path(builder.data_dir_root)
    if builder.data_path.exists():
        yield
        return
    versions = builder.data_path.parent  # of this data set as it is configured
    versions.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(versions.with_name(f"{versions.name}.lock"))
    try:
        held = lock.acquire(timeout=0)
    except filelock.Timeout:
        logger.info("another process prepares data in %s; waiting for it", cache)
        held = lock.acquire()
    with held:
        yield


def load_splits(
    config: ml_collections.ConfigDict, seed: int, train_truths: Sequence[str] = ()
) -> tuple[dict[str, Arrays], str]:
    """Prepares the data set if need be and reads what training and explaining use of it.

    Every split has `image` and `label`; validation and test also have the truths that the data set
    knows (masks, twins, severity), and train the patients, and the lesion masks that the control
    `prior` is made of.

    Args:
      config: the section `data`.
      seed: of a phantom's patients.
      train_truths: further truths wanted of train; those that the data set lacks are left out.

    Returns:
      The splits, and the prepared data set's name, which changes with its contents.
    """
    builder = prepare(config, seed)
    truths = [name for name in TRUTHS if name in builder.info.features]
    of_train = {"lesion_mask", "patient_id", "group", *train_truths}
    fields = {
        "train": ["image", "label", *(name for name in truths if name in of_train)],
        "validation": ["image", "label", *truths],
        "test": ["image", "label", *truths],
    }
    splits = {split: load_split(builder, split, names) for split, names in fields.items()}
    if config.shuffle_labels:
        for number, split in enumerate(("train", "validation")):
            splits[split]["label"] = shuffled(splits[split]["label"], seed, number)
        logger.info("labels of train and validation are shuffled (config.data.shuffle_labels)")
    for split, arrays in splits.items():
        positive = int(arrays["label"].sum())
        logger.info(
            "%s: %d positive, %d negative", split, positive, len(arrays["label"]) - positive
        )
        rarer = min(positive, len(arrays["label"]) - positive)
        if split == "train" and rarer < RARE * len(arrays["label"]):
            logger.warning(
                "one class is rare: batches are not balanced, and the GAN learns from pairs of a "
                "negative and a positive; more films of it, or fewer of the other, would help"
            )
    return splits, builder.info.full_name
