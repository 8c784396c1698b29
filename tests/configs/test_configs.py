"""Every file of configs/ and each of its variants is a complete, locked experiment."""

import importlib
import inspect
import json
import re
from pathlib import Path

import pytest

from cxr_jax.configs import base
from cxr_jax.pipeline.config_checks import check_ranges
from cxr_jax.runtime.workdir import flatten
from cxr_jax.training import evaluators

ROOT = Path(__file__).parents[2]
MODULES = {
    path.stem: importlib.import_module(f"cxr_jax.configs.{path.stem}")
    for path in sorted((ROOT / "configs").glob("*.py"))
    if path.stem not in ("__init__", "base")
}


def variants(module) -> list[str]:
    """The variants that a config itself names when it is asked for one that it lacks."""
    with pytest.raises(ValueError, match="choose one of") as raised:
        module.get_config("no such variant")
    return str(raised.value).split("choose one of ")[1].split(", ")


CASES = [(name, v) for name, module in MODULES.items() for v in ["", *variants(module)]]


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_every_variant_sets_known_fields_to_values_of_their_type_and_range(name, variant):
    config, default = MODULES[name].get_config(variant), base.get_config()
    ours, known = flatten(config.to_dict()), flatten(default.to_dict())
    assert ours.keys() == known.keys()
    for field, value in ours.items():
        assert type(value) is type(known[field]), field
    check_ranges(config)
    config.lock()
    with pytest.raises(AttributeError):
        config.gan.no_such_field = 1
    json.dumps(config.to_dict(), allow_nan=False)


@pytest.mark.parametrize("name", MODULES)
def test_variants_are_the_names_in_the_error_and_do_something(name):
    found = variants(MODULES[name])
    assert "tiny" in found
    texts = {str(MODULES[name].get_config(v)) for v in ["", *found]}
    assert len(texts) == 1 + len(found)


@pytest.mark.parametrize("name", MODULES)
def test_configs_do_not_share_state(name):
    config = MODULES[name].get_config()
    config.gan.batch_size = 7
    config.classifier.augmentation.shift = 7.0
    fresh = MODULES[name].get_config()
    assert fresh.gan.batch_size != 7
    assert fresh.classifier.augmentation.shift != 7.0
    assert fresh.judge.augmentation is not fresh.classifier.augmentation


@pytest.mark.parametrize("name", MODULES)
def test_the_docstring_has_the_command(name):
    documentation = inspect.getdoc(MODULES[name])
    assert re.search(rf"main\.py --config=configs/{name}\.py\S* --workdir=", documentation)


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_numbers_fit_together(name, variant):
    config = MODULES[name].get_config(variant)
    assert config.data.image_size % 16 == 0
    # Films are paired in a GAN step, and pairs are not split over as many as eight devices.
    assert config.gan.batch_size % 4 == 0
    assert config.gan.num_steps >= config.gan.save_every >= config.gan.log_every
    for section in (config.classifier, config.judge):
        assert section.num_steps >= section.eval_every
    assert tuple(config.judge.widths) != tuple(config.classifier.widths)
    for name in evaluators.EVALUATORS:
        section = config.evaluators[name]
        assert section.num_steps >= section.save_every >= section.log_every


def test_only_the_full_comparison_trains_the_networks_that_judge():
    for name, variant in CASES:
        names = set(MODULES[name].get_config(variant).evaluators.names)
        # The gate and the audit ask where the lungs are; the paper's films are as they come.
        least = set() if name == "paper" else {"segmenter"}
        assert names == (set(evaluators.EVALUATORS) if variant == "full" else least)
