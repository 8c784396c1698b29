"""Phantoms with all that is true of them, and a config that trains evaluators on them fast."""

import dataclasses

import numpy as np
import pytest

from cxr_jax.data.film_parameters import SOURCES
from cxr_jax.datasets.cxr_phantom.phantom import PhantomSpec, draw
from cxr_jax.training.evaluators import EVALUATORS
from tests.training.evaluating import ROWS, SIZE, STILL


@pytest.fixture(scope="session")
def phantoms() -> dict[str, dict[str, np.ndarray]]:
    """Two batches of training films, and 12 test films."""
    fields = ("image", "label", *SOURCES)

    def stack(first: int, count: int) -> dict[str, np.ndarray]:
        examples = [draw(0, index, PhantomSpec(SIZE)) for index in range(first, first + count)]
        return {name: np.stack([example[name] for example in examples]) for name in fields}

    return {"train": stack(0, 2 * ROWS), "test": stack(1000, 12)}


@pytest.fixture
def config(tiny_config):
    """Of two steps, with nothing to augment: less to compile."""
    tiny_config.data.image_size = SIZE
    for name in EVALUATORS:
        section = tiny_config.evaluators[name]
        section.update(dict(batch_size=ROWS, num_steps=2, log_every=1, save_every=2, widths=(4, 4)))
        section.augmentation.update(dataclasses.asdict(STILL))
    return tiny_config
