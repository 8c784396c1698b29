"""Every check of a config, made before anything is read or trained.

A misspelt path should not cost an hour.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections

from cxr_jax.data.arrays import PATIENTS, Arrays, pick_patients
from cxr_jax.datasets.cxr_folder.image_files import SQUARES
from cxr_jax.datasets.cxr_phantom.canvas import SMALLEST_SIZE
from cxr_jax.errors import InputError
from cxr_jax.explain import inversion
from cxr_jax.explain.maps import MAPS
from cxr_jax.explain.paths import PATHS
from cxr_jax.models.half_view import HALVES
from cxr_jax.models.paper import grown_size
from cxr_jax.networks.build import (
    ARCHITECTURES,
    NETWORKS,
    OBJECTIVES,
    OWN,
    fill_weights,
    make_classifier,
    make_external,
    param_shapes,
)
from cxr_jax.networks.functions import load_function, one_line
from cxr_jax.networks.grading import CONDITIONINGS
from cxr_jax.runtime import parallel
from cxr_jax.runtime.precision import dtype_sections
from cxr_jax.runtime.workdir import is_done
from cxr_jax.training.gan import BATCH_MULTIPLE
from cxr_jax.training.loss_terms import TERMS

# The least value of each field, by section.
TRAINED = {"batch_size": 1, "num_steps": 1, "log_every": 1, "save_every": 1}
JUDGED = {"batch_size": 1, "num_steps": 0, "eval_every": 1}
LEAST = {
    "data": {"num_train": 1, "num_validation": 2, "num_test": 2},
    "classifier": JUDGED,
    "judge": JUDGED,
    "gan": TRAINED | {"r1_every": 1, "seed": 0},
    "encoder": TRAINED | {"num_steps": 0},
    "evaluators.segmenter": TRAINED,
    "evaluators.regressor": TRAINED,
    "evaluators.robust": TRAINED,
    "explain": {
        "num_images": 2,
        "num_validation_images": 2,
        "num_skipped": 0,
        "batch_size": 1,
        "walk_steps": 1,
        "bootstrap": 1,
        "num_figure_rows": 1,
        "occlusion_windows": 1,
        "integrated_gradients_steps": 1,
        "smoothgrad_samples": 1,
    },  # fmt: skip
    "explain.inversion": {"corrections": 0, "num_steps": 0},
    "explain.geodesic": {"num_points": 2, "num_steps": 0},
    "explain.natural": {"num_products": 1},
}
MOST_SEEDS = 2**31  # the GAN's seed may be added to it; together they have 32 bits
COARSEST = 16  # film pixels that one pixel of the smallest map of our networks stands for


def check_config(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """Raises `InputError` if a run of this config could not come to its end."""
    check_ranges(config)
    check_folder(config.data)
    check_explain(config)
    check_weights(config.gan.weights)
    check_dtypes(config)
    check_classifiers(config, workdir)


def check_folder(section: ml_collections.ConfigDict) -> None:
    """Raises `InputError` if a user's folder is to be read in a way that there is not."""
    if section.square not in SQUARES:
        raise InputError(
            f"config.data.square is {section.square!r}; choose of {', '.join(SQUARES)}"
        )
    if section.bits and not 8 <= section.bits <= 16:
        raise InputError(
            f"config.data.bits is {section.bits}; a detector has 8 to 16 (0: read off the films)"
        )
    names = section.negative_classes
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
        raise InputError(
            f"config.data.negative_classes is {names!r}; give names of folders, such as "
            "\"('normal',)\""
        )
    if section.positive_class in names:
        raise InputError(
            f"config.data.negative_classes has {section.positive_class!r}, which is "
            "config.data.positive_class"
        )


def check_weights(weights: ml_collections.ConfigDict) -> None:
    """Raises `InputError` if terms of the objective lack a weight, or weights a term."""
    for name in TERMS:
        if name not in weights:
            raise InputError(f"config.gan.weights lacks {name!r}, a term of loss_terms.py")
    for name in weights:
        if name not in TERMS:
            raise InputError(f"config.gan.weights has {name!r}; choose of {', '.join(TERMS)}")


def check_batches(config: ml_collections.ConfigDict, tasks: Sequence[str]) -> None:
    """Raises `InputError` if a batch of these tasks cannot be split over the devices."""
    if "classifier" in tasks:
        for name in ("classifier", "judge"):
            parallel.check_batch_size(name, config[name].batch_size)
    if "gan" in tasks:
        parallel.check_batch_size("gan", config.gan.batch_size, BATCH_MULTIPLE)
    if "encoder" in tasks and config.gan.objective == "ours":
        parallel.check_batch_size("encoder", config.encoder.batch_size, BATCH_MULTIPLE)
    if "evaluators" in tasks:
        for name in config.evaluators.names:
            section = f"evaluators.{name}"
            parallel.check_batch_size(section, config.evaluators[name].batch_size)


def check_films(config: ml_collections.ConfigDict, tasks: Sequence[str], train: Arrays) -> None:
    """Raises `InputError` if there are fewer training films than one batch of these tasks has."""
    rows = {}
    if "classifier" in tasks:
        for name in ("classifier", "judge"):
            if config[name].num_steps and not config[name].module:
                rows[name] = len(pick_patients(train, config[name].patients)["image"])
    if "gan" in tasks:
        rows["gan"] = len(train["image"])
    if "encoder" in tasks and config.gan.objective == "ours":
        rows["encoder"] = len(train["image"])
    too_large = [name for name in rows if config[name].batch_size > rows[name]]
    if not too_large:
        return
    fewest, multiple = min(rows.values()), BATCH_MULTIPLE * parallel.num_devices()
    fields = ", ".join(
        f"config.{name}.batch_size ({config[name].batch_size})" for name in too_large
    )
    if fewest < multiple:
        raise InputError(f"there are {fewest} training films; at least {multiple} are needed")
    raise InputError(
        f"there are {fewest} training films, fewer than a batch: set {fields} to "
        f"{fewest // multiple * multiple} or fewer"
    )


def check_ranges(config: ml_collections.ConfigDict) -> None:
    """Raises `InputError` if a number is one that nothing can be computed with."""
    if not 0 <= config.seed < MOST_SEEDS:
        raise InputError(f"config.seed is {config.seed}; it must be from 0 to {MOST_SEEDS - 1}")
    for name, fields in LEAST.items():
        section = functools.reduce(getattr, name.split("."), config)
        for field, least in fields.items():
            if section[field] < least:
                raise InputError(
                    f"config.{name}.{field} is {section[field]}; it must be at least {least}"
                )
    for field in ("marker_train", "marker_test"):
        given = tuple(config.data[field])
        if len(given) != 2 or not all(0 <= probability <= 1 for probability in given):
            raise InputError(
                f"config.data.{field} is {given}; it must be two probabilities, of a positive's "
                "marker and of a negative's"
            )
    if not 0 < config.explain.gate_percentile <= 100:
        raise InputError(
            f"config.explain.gate_percentile is {config.explain.gate_percentile}; it must be above "
            "0 and no more than 100"
        )
    check_size(config.data.name, config.data.image_size, config.gan.networks)
    if config.gan.networks == "ours":
        check_maps(config.gan)


def check_maps(gan: ml_collections.ConfigDict) -> None:
    """Raises `InputError` if the latents have more maps than the networks have levels for them."""
    levels = min(len(gan.generator_widths), len(gan.encoder_widths)) - 1
    most = {"z_structure_channels": levels, "z_class_channels": len(gan.z_structure_channels) - 1}
    for field, count in most.items():
        if not 1 <= len(gan[field]) <= count:
            raise InputError(
                f"config.gan.{field} is {tuple(gan[field])}; beside generator_widths, "
                f"encoder_widths and z_structure_channels of this config it has 1 to {count} "
                "numbers"
            )


def check_size(data: str, size: int, networks: str) -> None:
    """Raises `InputError` if films of so many pixels a side cannot be drawn, or not be halved.

    The paper's networks have sizes of their own; see `check_paper`.
    """
    if data == "cxr_phantom" and (size < SMALLEST_SIZE or size & (size - 1)):
        raise InputError(
            f"config.data.image_size is {size}; phantoms have a power of two of at least "
            f"{SMALLEST_SIZE} pixels a side"
        )
    if size < COARSEST or networks == "ours" and size % COARSEST:
        raise InputError(f"config.data.image_size is {size}; it must be a multiple of {COARSEST}")


DTYPES = ("float32", "bfloat16")


def check_dtypes(config: ml_collections.ConfigDict) -> None:
    """Raises `InputError` if a field `dtype` is not one of `DTYPES`."""
    for name, section in dtype_sections(config).items():
        if section.dtype not in DTYPES:
            raise InputError(
                f"config.{name}.dtype is {section.dtype!r}; choose {' or '.join(DTYPES)}"
            )


def check_classifier(name: str, config: ml_collections.ConfigDict, image_size: int) -> None:
    """Raises `InputError` if the section `config.<name>` cannot be what it says."""
    section = f"config.{name}"
    if config.module:
        _check_convention(f"{section}.convention", config.convention)
        _check_function(section, config, image_size)
        return
    if config.architecture not in ARCHITECTURES:
        raise InputError(
            f"{section}.architecture has no {config.architecture!r}; choose of "
            f"{', '.join(ARCHITECTURES)}"
        )
    if config.weights and config.architecture in OWN:
        raise InputError(
            f"{section}.weights is for a published network; set {section}.architecture, or leave "
            f"the weights away: the {config.architecture} one is trained here"
        )
    if config.num_steps == 0 and (not config.weights or config.new_head):
        raise InputError(
            f"{section}.num_steps is 0, but without {section}.weights for every layer the network "
            "must be trained"
        )
    if config.visible not in ("", *HALVES) or config.visible and config.architecture not in OWN:
        raise InputError(
            f"{section}.visible is {config.visible!r}; choose of {', '.join(HALVES)} for a network "
            "that is trained here, or leave it empty"
        )
    if config.patients not in PATIENTS:
        raise InputError(
            f"{section}.patients is {config.patients!r}; choose of {', '.join(PATIENTS)}"
        )
    if config.architecture not in OWN:
        _check_convention(f"{section}.convention", config.convention)
    if config.weights:
        network = make_classifier(config)
        fill_weights(config, network, param_shapes(network, image_size))


def _check_function(section: str, config: ml_collections.ConfigDict, image_size: int) -> None:
    """That it exists, answers a batch of films, and has a gradient: by its shapes alone."""
    if config.weights:
        raise InputError(f"{section}.module brings its own weights; leave {section}.weights away")
    function = load_function(config.module)
    image = jax.ShapeDtypeStruct((2, image_size, image_size, 1), jnp.float32)
    try:
        network = make_external(function, config.convention)
        answer = jax.eval_shape(function, image).shape
        jax.eval_shape(jax.grad(lambda image: network.apply({}, image)[0].sum()), image)
    except Exception as error:
        raise InputError(
            f"{section}.module: {config.module} is no differentiable function of images of shape "
            f"{image.shape} ({one_line(error)})"
        ) from error
    if answer not in ((2,), (2, config.convention.outputs)):
        raise InputError(
            f"{section}.module: {config.module} answers 2 films by an array of shape {answer}; "
            f"wanted is a margin each, or {section}.convention.outputs logits each"
        )


def _check_convention(section: str, convention: ml_collections.ConfigDict) -> None:
    outputs, channels = convention.outputs, convention.channels
    for field in ("positive_output", "negative_output"):
        lowest = -1 if field == "negative_output" else 0
        if not lowest <= convention[field] < outputs:
            raise InputError(
                f"{section}.{field} is {convention[field]}, but the outputs are numbered from 0 to "
                f"{outputs - 1} ({section}.outputs)"
            )
    for field in ("black", "white"):
        if len(convention[field]) not in (1, channels):
            raise InputError(
                f"{section}.{field} has {len(convention[field])} numbers for {channels} channels "
                f"({section}.channels); give one, or one for each"
            )
    if not 0 < convention.threshold < 1:
        raise InputError(f"{section}.threshold is {convention.threshold}, no probability in (0, 1)")


def check_classifiers(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """Raises `InputError` if f or h cannot be made; called before anything is trained."""
    trained = is_done(workdir / "classifier")  # the files that it began with may be gone
    for name, section in (("classifier", config.classifier), ("judge", config.judge)):
        if section.module or not trained:
            check_classifier(name, section, config.data.image_size)


def check_explain(config: ml_collections.ConfigDict) -> None:
    """Raises `InputError` if `config.explain` asks for paths or maps that cannot be made."""
    section = config.explain
    for field, known in (("paths", PATHS), ("maps", MAPS)):
        for name in section[field]:
            if name not in known:
                raise InputError(
                    f"config.explain.{field} has no {name!r}; choose of {', '.join(known)}"
                )
    needs = [("linear", "every run")]
    needs += [(needed, f"path {name!r}") for name in section.paths for needed in PATHS[name].after]
    needs += [(needed, f"map {name!r}") for name in section.maps for needed in MAPS[name].paths]
    for name, user in needs:
        if name not in section.paths:
            raise InputError(f"config.explain.paths lacks {name!r}, which {user} needs")
    for name in section.paths:
        for needed in PATHS[name].evaluators:
            if needed not in config.evaluators.names:
                raise InputError(f"path {name!r} needs {needed!r} among config.evaluators.names")
    chosen = [
        ("gan.objective", config.gan.objective, OBJECTIVES),
        ("gan.networks", config.gan.networks, NETWORKS),
        ("gan.conditioning", config.gan.conditioning, CONDITIONINGS),
        ("explain.inversion.start", section.inversion.start, inversion.STARTS),
    ]
    for field, value, known in chosen:
        if value not in known:
            raise InputError(f"config.{field} is {value!r}; choose of {', '.join(known)}")
    if section.inversion.alternate_lesion_free_steps and section.inversion.start == "origin":
        raise InputError(
            "config.explain.inversion.alternate_lesion_free_steps is True, but from start='origin' "
            "there is no finding to leave out; set it to False"
        )
    check_paper(config)
    if "latent" not in section.maps:
        raise InputError("config.explain.maps lacks 'latent', with which the others are compared")


def check_paper(config: ml_collections.ConfigDict) -> None:
    """Raises `InputError` if the paper's objective or networks are asked for what they lack."""
    gan, needs = config.gan, []
    if gan.objective == "paper":
        needs += [
            ("gan.conditioning", gan.conditioning, "binary", "objective (gan.objective)"),
            (
                "explain.inversion.start",
                config.explain.inversion.start,
                "origin",
                "objective (gan.objective), which trains no encoder,",
            ),
        ]
    if gan.networks == "paper":
        size = grown_size(len(gan.paper.generator_widths))
        needs += [
            ("gan.objective", gan.objective, "paper", "networks (gan.networks)"),
            ("gan.r1_weight", gan.r1_weight, 0.0, "networks (gan.networks)"),
            (
                "data.image_size",
                config.data.image_size,
                size,
                "networks (gan.paper.generator_widths)",
            ),
        ]
    for field, value, needed, what in needs:
        if value != needed:
            raise InputError(
                f"config.{field} is {value!r}; the paper's {what} must have {needed!r} there"
            )
