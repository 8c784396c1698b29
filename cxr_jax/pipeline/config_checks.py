"""Every check of a config, made before anything is read or trained.

A misspelt path should not cost an hour.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from cxr_jax.data.arrays import Arrays, manifest_fields, pick_patients
from cxr_jax.datasets.cxr_folder.columns import DEFAULT_SPLIT_COLUMN
from cxr_jax.datasets.cxr_manifest import choose_map
from cxr_jax.datasets.cxr_phantom.canvas import SMALLEST_SIZE
from cxr_jax.errors import InputError
from cxr_jax.explain.maps import MAPS
from cxr_jax.explain.paths import PATHS
from cxr_jax.models.lung_view import LUNGS
from cxr_jax.models.paper import grown_size
from cxr_jax.networks.build import (
    OWN,
    fill_weights,
    make_classifier,
    make_external,
    param_shapes,
)
from cxr_jax.networks.functions import load_function, one_line
from cxr_jax.networks.restore import has_prior
from cxr_jax.pipeline.field_ranges import get_ranges
from cxr_jax.pipeline.ranges import check_fields
from cxr_jax.pipeline.shape_checks import check_evaluators, check_feature_maps, check_gan
from cxr_jax.plots import check_font
from cxr_jax.runtime import parallel
from cxr_jax.runtime.user_path import user_path
from cxr_jax.runtime.workdir import is_done
from cxr_jax.training.gan import BATCH_MULTIPLE

COARSEST = 16  # film pixels that one pixel of the smallest map of our networks stands for


def check_config(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """Raises `InputError` if a run of this config could not come to its end."""
    check_ranges(config)
    check_font(config.explain.figures.font)
    check_folder(config.data)
    check_finding(config.data)
    check_new_films(config.explain.dir)
    check_explain(config)
    check_size(config.data.name, config.data.image_size, config.gan.networks)
    check_gan(config)
    check_prior(config.prior)
    check_evaluators(config)
    check_classifiers(config, workdir)
    check_layer_cam(config)


def check_folder(section: ml_collections.ConfigDict) -> None:
    """Raises `InputError` if it is not clear which of a user's films are positive and negative."""
    if section.name == "cxr_manifest":
        if section.negative_classes:
            raise InputError(
                "config.data.negative_classes names folders; with cxr_manifest set "
                "config.data.manifest.negative"
            )
        if section.split_column != DEFAULT_SPLIT_COLUMN:
            raise InputError(
                f"config.data.split_column is {section.split_column!r}, but is of cxr_folder; with "
                "cxr_manifest set config.data.manifest.split"
            )
        preset, fields = manifest_fields(section)
        choose_map(fields, preset, section.positive_class)
    elif section.manifest.preset:
        raise InputError(
            f"config.data.manifest.preset is {section.manifest.preset!r}, but config.data.name is "
            f"{section.name!r}; set it to 'cxr_manifest', or leave the preset out"
        )
    if section.positive_class in section.negative_classes:
        raise InputError(
            f"config.data.negative_classes has {section.positive_class!r}, which is "
            "config.data.positive_class"
        )


def check_new_films(folder: str) -> None:
    """Raises `InputError` if there is nothing of that name (`config.explain.dir`) to explain."""
    if folder and not user_path(folder).exists():
        raise InputError(f"config.explain.dir: {user_path(folder)} is not there; correct the path")


def check_finding(section: ml_collections.ConfigDict) -> None:
    """Raises `InputError` if a phantom's label cannot be about what is asked for."""
    if section.finding_half and section.name != "cxr_phantom":
        raise InputError(
            f"config.data.finding_half is {section.finding_half!r}, but only phantoms can be drawn "
            "by halves; leave it empty"
        )
    if section.finding_half and section.finding != "opacity":
        raise InputError(
            f"config.data.finding_half is {section.finding_half!r}, but only opacities can be told "
            "by halves; leave it empty, or set config.data.finding to 'opacity'"
        )


def check_films(config: ml_collections.ConfigDict, tasks: Sequence[str], train: Arrays) -> None:
    """Raises `InputError` if there are fewer training films than one batch of these tasks has."""
    known = {name: train[name] for name in ("label", "patient_id", "group") if name in train}
    rows, batch = {}, {}
    for name, section, _ in _taught(config, tasks):
        batch[name] = section.batch_size
        # Of the other evaluators what a film has counts too.
        if name in ("gan", "encoder", "prior", "evaluators.robust"):
            rows[name] = len(train["label"])
        elif name in ("classifier", "judge") and section.num_steps and not section.module:
            rows[name] = len(pick_patients(known, section.patients)["label"])
    too_large = {name: batch[name] for name in rows if batch[name] > rows[name]}
    if not too_large:
        return
    fewest = min(rows[name] for name in too_large)
    multiple = BATCH_MULTIPLE * parallel.num_devices()
    fields = ", ".join(f"config.{name}.batch_size ({size})" for name, size in too_large.items())
    if fewest < multiple:
        raise InputError(f"there are {fewest} training films; at least {multiple} are needed")
    raise InputError(
        f"there are {fewest} training films, fewer than a batch: set {fields} to "
        f"{fewest // multiple * multiple} or fewer"
    )


def check_ranges(config: ml_collections.ConfigDict) -> None:
    """Raises `InputError` if a field is out of its range, whatever the others are."""
    check_fields(config, get_ranges())


def check_batches(config: ml_collections.ConfigDict, tasks: Sequence[str]) -> None:
    """Raises `InputError` if a batch of these tasks is too large, or not split over the devices."""
    for name, section, share in _taught(config, tasks):
        parallel.check_batch_size(name, section.batch_size, share)
        few = config.data.name == "cxr_phantom" and section.batch_size > config.data.num_train
        if few and section.num_steps > 0:
            raise InputError(
                f"config.{name}.batch_size is {section.batch_size}, more films than "
                f"config.data.num_train, which is {config.data.num_train}"
            )


def most_devices(config: ml_collections.ConfigDict, tasks: Sequence[str], most: int) -> int:
    """The most devices, of at most so many, over which the batches of these tasks can be split."""
    fits = lambda devices: (
        not any(
            section.batch_size % (share * devices) for _, section, share in _taught(config, tasks)
        )
    )
    return next(filter(fits, range(most, 1, -1)), 1)


def _taught(
    config: ml_collections.ConfigDict, tasks: Sequence[str]
) -> Iterator[tuple[str, ml_collections.ConfigDict, int]]:
    """What tasks train: name and fields of the section, and a divisor of each device's rows."""
    if "classifier" in tasks:
        for name in ("classifier", "judge"):
            yield name, config[name], 1
    if "gan" in tasks:
        yield "gan", config.gan, BATCH_MULTIPLE
    if "encoder" in tasks and config.gan.networks == "ours":
        yield "encoder", config.encoder, BATCH_MULTIPLE
    if "prior" in tasks and has_prior(config):
        yield "prior", config.prior, 1
    if "evaluators" in tasks:
        for name in config.evaluators.names:
            yield f"evaluators.{name}", config.evaluators[name], 1


def check_size(data: str, size: int, networks: str) -> None:
    """Raises `InputError` if films of so many pixels a side cannot be drawn, or not be halved.

    The paper's networks have sizes of their own; see `check_paper`.
    """
    if data == "cxr_phantom" and (size < SMALLEST_SIZE or size & (size - 1)):
        raise InputError(
            f"config.data.image_size is {size}; phantoms have a power of two of at least "
            f"{SMALLEST_SIZE} pixels a side"
        )
    if networks == "ours" and size % COARSEST:
        raise InputError(f"config.data.image_size is {size}; it must be a multiple of {COARSEST}")


def check_classifier(name: str, config: ml_collections.ConfigDict, image_size: int) -> None:
    """Raises `InputError` if the section `config.<name>` cannot be what it says."""
    section = f"config.{name}"
    if config.visible and (config.module or config.architecture not in OWN):
        raise InputError(
            f"{section}.visible is {config.visible!r}, but only a network that is trained here can "
            "be shown a part of a film; leave it empty"
        )
    if config.module:
        _check_convention(f"{section}.convention", config.convention)
        _check_function(section, config, image_size)
        return
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
    if config.architecture not in OWN:
        _check_convention(f"{section}.convention", config.convention)
    check_feature_maps(name, config, image_size)
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
        if convention[field] >= outputs:
            raise InputError(
                f"{section}.{field} is {convention[field]}, but the outputs are numbered from 0 to "
                f"{outputs - 1} ({section}.outputs)"
            )
    if convention.positive_output == convention.negative_output:
        raise InputError(
            f"{section}.positive_output and negative_output are both {convention.positive_output}; "
            "of a logit less itself there is nothing to explain"
        )
    for field in ("black", "white"):
        if len(convention[field]) not in (1, channels):
            raise InputError(
                f"{section}.{field} has {len(convention[field])} numbers for {channels} channels "
                f"({section}.channels); give one, or one for each"
            )
    black, white = (np.broadcast_to(convention[field], channels) for field in ("black", "white"))
    if (black == white).any():
        raise InputError(
            f"{section}.black and white are the same in a channel; every film would look alike"
        )


def check_classifiers(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """Raises `InputError` if f or h cannot be made; called before anything is trained."""
    trained = is_done(workdir / "classifier")  # the files that it began with may be gone
    for name, section in (("classifier", config.classifier), ("judge", config.judge)):
        if section.module or not trained:
            check_classifier(name, section, config.data.image_size)
            check_lung_view(name, section, config.evaluators)


def check_lung_view(
    name: str, config: ml_collections.ConfigDict, evaluators: ml_collections.ConfigDict
) -> None:
    """Raises `InputError` if `config.<name>` is shown lungs, but nothing finds them for it."""
    if config.module or config.visible != LUNGS:
        return
    if "segmenter" not in evaluators.names:
        raise InputError(
            f"config.{name}.visible is {LUNGS!r}, which a segmenter finds; add 'segmenter' to "
            "config.evaluators.names"
        )
    wanted = tuple(evaluators.segmenter.widths)
    if tuple(config.segmenter_widths) != wanted:
        raise InputError(
            f"config.{name}.segmenter_widths is {tuple(config.segmenter_widths)}, but the "
            f"segmenter that is trained has config.evaluators.segmenter.widths {wanted}; set both "
            "alike"
        )


def check_layer_cam(config: ml_collections.ConfigDict) -> None:
    """Raises `InputError` if map `layer_cam` is asked for a stage that f does not have."""
    section, explain = config.classifier, config.explain
    if "layer_cam" in explain.maps and not section.module:
        stages = check_feature_maps("classifier", section, config.data.image_size)
        if explain.layer_cam_stage not in stages:
            raise InputError(
                f"config.explain.layer_cam_stage is {explain.layer_cam_stage!r}; the feature maps "
                f"of this classifier are {', '.join(stages)}"
            )


def check_explain(config: ml_collections.ConfigDict) -> None:
    """Raises `InputError` if `config.explain` asks for paths or maps that cannot be made."""
    section = config.explain
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
    if section.inversion.alternate_lesion_free_steps and section.inversion.start == "origin":
        raise InputError(
            "config.explain.inversion.alternate_lesion_free_steps is True, but from start='origin' "
            "there is no finding to leave out; set it to False"
        )
    check_paper(config)
    if "latent" not in section.maps:
        raise InputError("config.explain.maps lacks 'latent', with which the others are compared")


def check_prior(section: ml_collections.ConfigDict) -> None:
    """Raises `InputError` if more axes of the latents are to be bent than there are."""
    if section.num_bent > section.num_axes:
        raise InputError(
            f"config.prior.num_bent is {section.num_bent}, more than config.prior.num_axes, which "
            f"is {section.num_axes}"
        )


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
                "objective (gan.objective)",
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
