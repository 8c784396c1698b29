"""What the tests of the evaluators share."""

import dataclasses
import json
from pathlib import Path

import pytest

from cxr_jax.data.augment import Augmentation

SIZE, ROWS = 32, 16  # of the films, and of a batch
STILL = Augmentation(**{field.name: 0.0 for field in dataclasses.fields(Augmentation)})


def recorded(workdir: Path) -> dict:
    """done.json, without the NaN and Infinity that no other reader knows."""
    text = (workdir / "evaluators" / "done.json").read_text()
    return json.loads(text, parse_constant=lambda name: pytest.fail(name))
