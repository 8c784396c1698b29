"""Every field has a range, which takes no senseless value."""

import functools
import math

import pytest

from cxr_jax.configs import base
from cxr_jax.errors import InputError
from cxr_jax.pipeline.config_checks import check_config, check_ranges
from cxr_jax.pipeline.field_ranges import get_ranges
from cxr_jax.runtime.workdir import flatten

DEFAULTS, RANGES = flatten(base.get_config().to_dict()), flatten(get_ranges())

# Values that no field of a type can mean, by the type of its default.
SENSELESS = {
    bool: [None, 2, "perhaps", ()],
    int: [None, -(10**6), 10**12, True, 2.5, "many", (3,)],
    float: [None, -1e9, 1e12, math.nan, math.inf, -math.inf, "much", (0.5,)],
    str: [None, 3, True, "two\nlines", "a\0b", ("a",)],
    list: [None, 3, "abc", (None,), ((1, 2),), (math.nan,), (1,) * 100_000],  # tuples, flattened
}
# What experiments of ours have tried, or readers have: one field each.
TRIED = {
    "classifier.widths": [(), (0, 16), (-16, 16), 16, ("a", 16), (16.5, 16)],
    "gan.generator_widths": [(), (96, 0, 48, 32), 96],
    "gan.z_structure_channels": [(), (0, -1, 3), 16],
    "classifier.learning_rate": [math.nan, math.inf, -2e-3, 0.0, 1e3],
    "gan.generator_learning_rate": [math.nan, -1e-3, 0.0],
    "explain.inversion.learning_rate": [0.0, -1.0],
    "classifier.weight_decay": [-100.0, math.nan],
    "classifier.label_smoothing": [3.0, 1.0, -0.1],
    "classifier.ema_decay": [1.0, 1.5, -0.1],
    "evaluators.segmenter.ema_decay": [1.0],
    "gan.ema_half_life": [0.0, -200.0, math.inf],
    "gan.beta1": [2.0, 1.0, -0.5],
    "gan.beta2": [1.0],
    "explain.inversion.beta2": [1.0],
    "classifier.augmentation.zoom": [2.0, 1.0, -0.1],
    "classifier.augmentation.shift": [1e9, 0.6, -0.1],
    "classifier.augmentation.rotation": [720.0, -5.0],
    "classifier.augmentation.noise": [-1.0, math.nan],
    "classifier.augmentation.contrast": [1.0, -0.1],
    "classifier.augmentation.brightness": [-0.1, 3.0],
    "judge.augmentation.detail": [-0.1, 4.0, math.nan],
    "gan.augmentation.support_devices": [-1.0, 1e9],
    "gan.weights.pixel": [-50.0, math.nan, math.inf],
    "gan.r1_weight": [-0.5],
    "gan.entropy_weight": [-1.0],
    "explain.inversion.weights.prior": [-0.03],
    "gan.num_grades": [0, -1],
    "classifier.convention.threshold": [2.0, 0.0, 1.0, math.nan],
    "gan.paper.dropout": [1.0, -0.5],
    "evaluators.segmenter.only_label": [2, -2],
    "evaluators.robust.attack.epsilon": [-0.05],
    "seed": [-1, 2**31],
    "data.marker_train": [(0.5,), (0.5, 1.5), 0.5],
    "data.name": ["mnist"],
    "data.finding": ["", "fracture"],
    "data.distractors": [-0.1, 1.5],
    "data.finding_half": ["middle"],
    "explain.gate_percentile": [0.0, 100.5],
    "explain.layer_cam_stage": [""],
    "evaluators.names": [("segmentor",)],
    "explain.inversion.start": ["nowhere"],
}
# Bounds that are within; what lies beyond is above.
WITHIN = {
    "classifier.num_steps": [0],
    "classifier.label_smoothing": [0.0, 0.999],
    "classifier.ema_decay": [0.0, 0.9999],
    "classifier.learning_rate": [1.0],
    "classifier.weight_decay": [0.0],
    "gan.beta1": [0.0],
    "gan.num_grades": [1],
    "gan.ema_half_life": [1e-3],
    "gan.weights.pixel": [0.0],
    "classifier.augmentation.zoom": [0.0, 0.99],
    "data.marker_train": [(0.0, 1.0)],
    "explain.gate_percentile": [100.0],
    "explain.num_images": [2],
    "explain.films": [(), ("covid/1.png",)],
    "data.cache_dir": ["", "~/cache", "Röntgen bilder"],
    "data.split_column": [""],
    "seed": [0, 2**31 - 1],
}


def with_field(name: str, value):
    """The default config with one field that its own type would refuse."""
    config = base.get_config()
    *sections, field = name.split(".")
    section = functools.reduce(getattr, sections, config)
    with section.ignore_type():
        section[field] = value
    return config


def cases(values: dict) -> list:
    return [(name, value) for name, tried in values.items() for value in tried]


def refusal(config) -> str:
    with pytest.raises(InputError) as raised:
        check_ranges(config)
    text = str(raised.value)
    assert "\n" not in text and len(text) < 800
    return text


def test_every_field_has_a_range_and_every_range_a_field():
    assert RANGES.keys() == DEFAULTS.keys()


@pytest.mark.parametrize("name", DEFAULTS)
def test_no_field_takes_what_its_type_cannot_mean(name):
    for value in SENSELESS[type(DEFAULTS[name])]:
        fault = RANGES[name].fault(value)
        assert fault and "\n" not in fault and len(fault) < 800, value
    assert refusal(with_field(name, value)) == f"config.{name} {fault}"


@pytest.mark.parametrize(("name", "value"), cases(TRIED))
def test_a_senseless_value_is_refused_by_its_field(name, value):
    assert refusal(with_field(name, value)).startswith(f"config.{name} ")


@pytest.mark.parametrize(("name", "value"), cases(WITHIN))
def test_a_bound_is_within(name, value):
    check_ranges(with_field(name, value))


def test_a_section_is_not_overridden_in_part(tmp_path):
    config = base.get_config()
    with config.gan.unlocked():
        config.gan.weights = dict(pixel=3.0)  # as --config.gan.weights="{'pixel': 3.0}" does
    with pytest.raises(InputError, match="config.gan.weights lacks 'feature'"):
        check_config(config, tmp_path)
