"""Numbers that nothing can be computed with are refused by name."""

import functools

import pytest

from cxr_jax.configs import base
from cxr_jax.configs import covid
from cxr_jax.configs import paper
from cxr_jax.configs import phantom
from cxr_jax.configs import shortcut
from cxr_jax.pipeline import config_checks
from cxr_jax.errors import InputError

FIELDS = [(name, field) for name, fields in config_checks.LEAST.items() for field in fields]


def refused(config) -> str:
    with pytest.raises(InputError) as raised:
        config_checks.check_ranges(config)
    text = str(raised.value)
    assert "\n" not in text and len(text) < 200
    return text


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_field_has_a_least_value(name, field):
    config = base.get_config()
    section, least = functools.reduce(getattr, name.split("."), config), config_checks.LEAST[name][field]
    section[field] = least
    config_checks.check_ranges(config)
    section[field] = least - 1
    assert f"config.{name}.{field} is {least - 1}; it must be at least {least}" in refused(config)


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_a_seed_has_31_bits(seed):
    config = base.get_config()
    config.seed = seed
    assert f"config.seed is {seed}; it must be from 0 to 2147483647" in refused(config)


@pytest.mark.parametrize("module", [phantom, covid, shortcut, paper])
@pytest.mark.parametrize("variant", ["", "tiny"])
def test_the_configs_are_within_their_ranges(module, variant):
    config_checks.check_ranges(module.get_config(variant))


@pytest.mark.parametrize(("percentile", "fits"), [(0.0, False), (50.0, True), (100.5, False)])
def test_a_percentile_is_above_0_and_up_to_100(percentile, fits):
    config = base.get_config()
    config.explain.gate_percentile = percentile
    if fits:
        config_checks.check_ranges(config)
    else:
        assert f"gate_percentile is {percentile}" in refused(config)


@pytest.mark.parametrize(
    ("field", "channels", "fits"),
    [
        ("structure_channels", (8, 4, 2), True),
        ("structure_channels", (16, 6, 3, 2), False),  # beyond the networks' levels
        ("structure_channels", (), False),
        ("severity_channels", (4,), True),
        ("severity_channels", (4, 2, 1), False),
    ],
)
def test_latents_have_no_more_maps_than_the_networks_have_levels(field, channels, fits):
    config = base.get_config()
    config.gan[field] = channels
    if fits:
        config_checks.check_ranges(config)
    else:
        assert f"config.gan.{field} is {channels}" in refused(config)


@pytest.mark.parametrize("probabilities", [(0.5,), (0.5, 1.5), (-0.1, 0.0), (0.1, 0.2, 0.3)])
def test_markers_have_two_probabilities(probabilities):
    config = base.get_config()
    config.data.marker_test = probabilities
    assert "config.data.marker_test" in refused(config)


@pytest.mark.parametrize(
    ("data", "size", "networks", "fits"),
    [
        ("cxr_phantom", 32, "ours", True),
        ("cxr_phantom", 16, "ours", False),
        ("cxr_phantom", 96, "ours", False),
        ("cxr_folder", 96, "ours", True),
        ("cxr_folder", 100, "ours", False),
        ("cxr_folder", 0, "ours", False),
        ("cxr_folder", -16, "ours", False),
        ("cxr_folder", 100, "paper", True),  # the paper's networks say themselves what they draw
    ],
)
def test_the_size_of_films(data, size, networks, fits):
    if fits:
        config_checks.check_size(data, size, networks)
    else:
        with pytest.raises(InputError, match=f"image_size is {size}"):
            config_checks.check_size(data, size, networks)
