"""Overrides of a config on the command line, whatever they are."""

import json
import sys
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from absl import flags
from absl.testing import flagsaver
from fuzzing import both_suites, explore
from hypothesis import strategies as st

from cxr_jax import cli
from cxr_jax.configs import base
from cxr_jax.pipeline.config_checks import check_config
from cxr_jax.runtime.workdir import flatten

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

ROOT = Path(__file__).parents[2]
CONFIGS = (
    "phantom",
    "phantom:tiny",
    "phantom:full",
    "covid:tiny",
    "paper:tiny",
    "half_blind:upper",
    "findings:nodule",
)
DEFAULTS = flatten(base.get_config().to_dict())
# A module is imported, and what importing does is its own.
FIELDS = [name for name in DEFAULTS if not name.endswith(".module")]
SECTIONS = sorted({name.rpartition(".")[0] for name in FIELDS} - {""})

NUMBERS = st.one_of(
    st.integers(-2, 20),
    st.integers(),
    st.floats(),
    st.sampled_from([0.5, 64, 128, 2**31, 1e9, -1e-9]),
)
TUPLES = st.one_of(
    st.lists(st.integers(1, 64), max_size=7),
    st.lists(NUMBERS, max_size=5),
    st.lists(st.sampled_from(["linear", "aligned", "latent", "layer_cam", "robust", "up"])),
).map(tuple)
WORDS = st.one_of(
    st.sampled_from(["", "ours", "paper", "label", "plain", "vgg16", "resnet50", "left", "origin"]),
    st.sampled_from(
        ["bfloat16", "True", "False", "None", "nan", "{}", "cxr_folder", "~", "[", "(1"]
    ),
    st.text(max_size=12),
)
VALUES = st.one_of(NUMBERS.map(str), TUPLES.map(str), WORDS)


@st.composite
def sensible(draw: st.DrawFn, field: str) -> str:
    """A value of a field's own type."""
    default = DEFAULTS[field]
    if isinstance(default, bool):
        return str(draw(st.booleans()))
    if isinstance(default, (int, float)):
        return str(default * draw(st.sampled_from([0, 1, 2, -1])))
    if isinstance(default, list):
        return str(tuple(default[: draw(st.integers(0, len(default)))] * draw(st.integers(1, 2))))
    return default


@st.composite
def overrides(draw: st.DrawFn) -> list[str]:
    """Up to three, most of them of fields that there are."""
    given = []
    for _ in range(draw(st.integers(1, 3))):
        field = draw(st.sampled_from(FIELDS) if draw(st.integers(0, 9)) else NAMES)
        is_sensible = field in DEFAULTS and draw(st.booleans())
        given.append(f"--config.{field}={draw(sensible(field) if is_sensible else VALUES)}")
    return given


NAMES = st.one_of(st.sampled_from(SECTIONS), st.text(".[]'abz09", max_size=8))


def check(config: str, given: list[str]) -> None:
    """What the command line does before it reads anything; a config that passes can be stored."""
    arguments = ["main.py", f"--config={config}", *given]
    with (
        mock.patch.object(sys, "argv", arguments),
        flagsaver.flagsaver(),
        tempfile.TemporaryDirectory() as workdir,
    ):
        try:
            cli.parse_flags(arguments)
            parsed = cli._CONFIG.value
            check_config(parsed, Path(workdir))
        finally:
            flags.FLAGS.unparse_flags()
        stored = json.loads(json.dumps(parsed.to_dict(), allow_nan=False))
        assert flatten(stored).keys() == DEFAULTS.keys()
        assert not list(Path(workdir).iterdir())


@both_suites(quick=50, thorough=1000)
def test_overrides(num_examples, monkeypatch):
    monkeypatch.chdir(ROOT)
    explore(check, num_examples, st.sampled_from(CONFIGS), overrides(), most_memory=None)
