"""f and h are asked for some training films before anything is trained.

Only those that are used as they are: a function of the user's own, or weights without training.
"""

from pathlib import Path

import jax
import ml_collections
import numpy as np
from jaxtyping import Bool, Float

from cxr_jax.data.arrays import Arrays, to_unit_range
from cxr_jax.errors import InputError
from cxr_jax.models.model import Model
from cxr_jax.networks.build import first_params, make_classifier
from cxr_jax.networks.functions import one_line
from cxr_jax.runtime import parallel
from cxr_jax.runtime.workdir import is_done
from cxr_jax.types import Image, Margin, Params, Pixels

NUM_FILMS = 8
BATCH = 2  # films at once: a published network's may be large


def check_answers(config: ml_collections.ConfigDict, workdir: Path, films: Arrays) -> None:
    """Raises `InputError` if f or h cannot be explained, or cannot explain.

    Args:
      films: of training; `NUM_FILMS` of them, from all over, are asked for.
    """
    pixels = films["image"]
    asked = np.unique(np.linspace(0, len(pixels) - 1, NUM_FILMS).astype(int))
    trained = is_done(workdir / "classifier")  # the files that it began with may be gone
    for name, section in (("classifier", config.classifier), ("judge", config.judge)):
        if section.module or section.weights and section.num_steps == 0 and not trained:
            check_answer(name, section, pixels[asked])


def check_answer(name: str, config: ml_collections.ConfigDict, pixels: Pixels) -> None:
    """Raises `InputError` unless `config.<name>` answers these films, and feels one of them.

    Its margins and gradients must be finite, and one pixel of one film at least must matter.
    """
    field = "module" if config.module else "weights"
    what = f"config.{name}.{field}: {config[field]}"
    margin, gradient = _ask(what, config, pixels)
    for values, told in ((margin, "answers"), (gradient, "gradients")):
        _check_finite(np.isfinite(values).reshape(len(pixels), -1).all(axis=1), what, told)
    if not gradient.any():
        raise InputError(
            f"{what} has a gradient of zero for all of {len(pixels)} training films, so nothing "
            "can be explained; let it answer by a logit, without a threshold, argmax or "
            "stop_gradient"
        )


def _check_finite(finite: Bool[np.ndarray, " b"], what: str, told: str) -> None:
    if not finite.all():
        raise InputError(
            f"{what} has {told} that are not finite for {int((~finite).sum())} of {len(finite)} "
            "training films; films are in [-1, 1]: does it take a logarithm or a root of them?"
        )


def _ask(
    what: str, config: ml_collections.ConfigDict, pixels: Pixels
) -> tuple[Float[np.ndarray, " b"], Image]:
    """Margins and their gradients, by a mapped call as training makes it."""
    network = make_classifier(config)
    params = first_params(config, network, image_size=pixels.shape[1], seed=0)

    def answer(params: Params, pixels: Pixels) -> tuple[Margin, Image]:
        def total(image: Image) -> tuple[jax.Array, Margin]:
            margin, _ = Model(network, params)(image)
            return margin.sum(), margin

        gradient, margin = jax.grad(total, has_aux=True)(to_unit_range(pixels))
        return margin, gradient

    try:
        return parallel.in_batches(answer, BATCH)(params, pixels)
    except Exception as error:  # the reader's code, which may raise anything
        if not config.module:
            raise
        raise InputError(
            f"{what} cannot be asked on the devices of a training step ({one_line(error)}); let it "
            "hold plain arrays, such as jax.tree.map(numpy.asarray, params)"
        ) from error
