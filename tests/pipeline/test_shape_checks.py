"""Networks that cannot be made, or not joined, are refused by the fields that they are made of."""

import jax
import pytest
from builders import refused

from cxr_jax.configs import paper, phantom
from cxr_jax.pipeline import shape_checks


@pytest.fixture
def config():
    return phantom.get_config("tiny")


# A layer of no channels is refused by JAX below 0.12, and by us where JAX makes it.
NOTHING_LEFT = (
    "no network fits them" if jax.__version_info__ < (0, 12) else "would be given nothing"
)

# The generator draws at 1/4 of the size after three maps, and doubles it twice: films of 64 pixels
# want three maps of z_structure, and an encoder of as many levels, from 1/2 to 1/16.


@pytest.mark.parametrize(
    "fields",
    [
        dict(),
        dict(z_class_channels=(4,)),
        dict(z_class_channels=(64,), spatial_z_class=False),
        dict(generator_widths=(96, 96, 48, 32, 16)),
        dict(critic_widths=(32,)),
        dict(discriminator_widths=(16, 32)),
    ],
)
def test_networks_that_fit(config, fields):
    config.gan.update(fields)
    shape_checks.check_gan(config)


@pytest.mark.parametrize(
    ("fields", "blamed", "told"),
    [
        (dict(z_structure_channels=(16, 6)), "generator", "draws images of shape (32, 32)"),
        (dict(z_structure_channels=(16,)), "generator", "draws images of shape (16, 16)"),
        (
            dict(z_structure_channels=(8, 4, 2, 2), generator_widths=(8,) * 5),
            "generator",
            "draws images of shape (128, 128), and films have (64, 64)",
        ),
        (dict(generator_widths=(96, 96, 48)), "generator", "no network fits them"),
        (dict(encoder_widths=(16, 32, 64)), "encoder", "components of z_structure"),
        (dict(encoder_widths=(16, 32, 64, 96, 96)), "encoder", "components of z_structure"),
        (dict(z_class_channels=(4, 2, 1)), "encoder", "finds 768 components of z_class"),
        (dict(discriminator_widths=(16,)), "discriminator", "no network fits them"),
        (dict(discriminator_widths=(1, 1)), "discriminator", NOTHING_LEFT),
        (dict(critic_widths=(8,) * 6), "critic", "no network fits them"),
    ],
)
def test_networks_that_do_not_fit(config, fields, blamed, told):
    config.gan.update(fields)
    text = refused(shape_checks.check_gan, config)
    assert text.startswith(f"config.gan.{blamed}_widths = ") and told in text
    for name in ("z_structure_channels", "z_class_channels"):
        assert f"config.gan.{name} = {tuple(config.gan[name])}" in text


@pytest.mark.parametrize("name", ["generator", "discriminator"])
def test_the_papers_networks(name):
    config = paper.get_config("tiny")
    shape_checks.check_gan(config)
    config.gan.paper[f"{name}_widths"] = (8,) * (3 if name == "generator" else 10)
    text = refused(shape_checks.check_gan, config)
    assert text.startswith(f"config.gan.paper.{name}_widths = (8, 8, 8")


@pytest.mark.parametrize(
    ("architecture", "widths", "size", "stages"),
    [
        ("compact", (8, 8), 64, ["stage_1"]),
        ("compact", (8,) * 6, 64, ["stage_1", "stage_2", "stage_3", "stage_4", "stage_5"]),
        ("compact", (8,), 64, None),
        ("compact", (8,) * 7, 64, None),
        ("plain", (8, 8), 64, ["stage_1"]),
        ("plain", (8,), 64, None),  # without a map that Grad-CAM could be of
        ("plain", (8,) * 7, 64, None),
        ("vgg16", (8,), 16, None),
        ("densenet121", (8,), 16, None),  # which would answer NaN, the mean of no pixel
    ],
)
def test_classifiers(config, architecture, widths, size, stages):
    section = config.classifier
    section.update(dict(architecture=architecture, widths=widths))
    if stages:
        assert shape_checks.check_feature_maps("classifier", section, size) == stages
    else:
        text = refused(shape_checks.check_feature_maps, "judge", section, size)
        assert text.startswith(f"config.judge.architecture = {architecture!r}, config.judge.widths")


@pytest.mark.parametrize("name", shape_checks.EVALUATORS)
def test_networks_that_judge(config, name):
    config.evaluators.names = (name,)
    shape_checks.check_evaluators(config)
    config.evaluators[name].widths = (8,) * 8  # films of 64 pixels are not halved so often
    text = refused(shape_checks.check_evaluators, config)
    assert text.startswith(f"config.evaluators.{name}.widths = (8, 8, 8, 8, 8, 8, 8, 8)")
    config.evaluators.names = ()
    shape_checks.check_evaluators(config)
