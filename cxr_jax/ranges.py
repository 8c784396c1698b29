"""Which numbers a config may hold: looked at before anything is read or trained."""

import functools

import ml_collections

from datasets.cxr_phantom.canvas import SMALLEST_SIZE
from datasets.errors import InputError

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
        **{"images": 2, "validation_images": 2, "skip": 0, "batch_size": 1, "walk_steps": 1},
        **{"bootstrap": 1, "strips": 1, "occlusion_windows": 1},
        **{"integrated_gradients_steps": 1, "smoothgrad_samples": 1},
    },
    "explain.inversion": {"corrections": 0, "num_steps": 0},
    "explain.geodesic": {"num_points": 2, "num_steps": 0},
    "explain.natural": {"num_products": 1},
}
MOST_SEEDS = 2**31  # the GAN's seed may be added to it; together they have 32 bits
COARSEST = 16  # film pixels that one pixel of the smallest map of our networks stands for


def check_config(config: ml_collections.ConfigDict) -> None:
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
    most = {"structure_channels": levels, "severity_channels": len(gan.structure_channels) - 1}
    for field, count in most.items():
        if not 1 <= len(gan[field]) <= count:
            raise InputError(
                f"config.gan.{field} is {tuple(gan[field])}; beside generator_widths, "
                f"encoder_widths and structure_channels of this config it has 1 to {count} numbers"
            )


def check_size(data: str, size: int, networks: str) -> None:
    """Raises `InputError` if films of so many pixels a side cannot be drawn, or not be halved.

    The paper's networks have sizes of their own; see `explain.check_paper`.
    """
    if data == "cxr_phantom" and (size < SMALLEST_SIZE or size & (size - 1)):
        raise InputError(
            f"config.data.image_size is {size}; phantoms have a power of two of at least "
            f"{SMALLEST_SIZE} pixels a side"
        )
    if size < COARSEST or networks == "ours" and size % COARSEST:
        raise InputError(f"config.data.image_size is {size}; it must be a multiple of {COARSEST}")
