"""What nothing can be computed with is refused by its field, before anything is read."""

import functools

import numpy as np
import pytest
from ml_collections import ConfigDict

from cxr_jax.configs import base, covid, paper, phantom, shortcut
from cxr_jax.data.arrays import patient_half
from cxr_jax.errors import InputError
from cxr_jax.explain.maps import MAPS
from cxr_jax.explain.paths import PATHS
from cxr_jax.pipeline import config_checks
from cxr_jax.runtime import parallel

# The least value of every number that has one.
LEAST = {
    **{"data.num_train": 1, "data.num_validation": 2, "data.num_test": 2},
    **{"classifier.batch_size": 1, "classifier.num_steps": 0, "classifier.eval_every": 1},
    **{"judge.batch_size": 1, "judge.num_steps": 0, "judge.eval_every": 1},
    **{"gan.batch_size": 1, "gan.num_steps": 1, "gan.log_every": 1, "gan.save_every": 1},
    **{"gan.r1_every": 1, "gan.seed": 0},
    **{"encoder.batch_size": 1, "encoder.num_steps": 0},
    **{"encoder.log_every": 1, "encoder.save_every": 1},
    **{
        f"evaluators.{name}.{field}": 1
        for name in ("segmenter", "regressor", "robust")
        for field in ("batch_size", "num_steps", "log_every", "save_every")
    },
    **{"explain.num_images": 2, "explain.num_validation_images": 2, "explain.num_skipped": 0},
    **{"explain.batch_size": 1, "explain.walk_steps": 1, "explain.bootstrap": 1},
    **{"explain.num_figure_rows": 1, "explain.occlusion_windows": 1},
    **{"explain.integrated_gradients_steps": 1, "explain.smoothgrad_samples": 1},
    **{"explain.inversion.corrections": 0, "explain.inversion.num_steps": 0},
    **{"explain.geodesic.num_points": 2, "explain.geodesic.num_steps": 0},
    "explain.natural.num_products": 1,
}


@pytest.fixture
def config():
    return base.get_config()


def refused(check, *arguments) -> str:
    with pytest.raises(InputError) as raised:
        check(*arguments)
    text = str(raised.value)
    assert "\n" not in text and len(text) < 400
    return text


def set_field(config, name: str, value) -> None:
    *sections, field = name.split(".")
    functools.reduce(getattr, sections, config)[field] = value


# 1. Numbers.


@pytest.mark.parametrize("name", LEAST)
def test_a_number_has_a_least_value(config, name):
    set_field(config, name, LEAST[name])
    config_checks.check_ranges(config)
    set_field(config, name, LEAST[name] - 1)
    text = refused(config_checks.check_ranges, config)
    assert text == f"config.{name} is {LEAST[name] - 1}; it must be at least {LEAST[name]}"


def test_every_number_with_a_least_value_is_listed_above():
    checked = {
        f"{name}.{field}" for name, fields in config_checks.LEAST.items() for field in fields
    }
    assert checked == LEAST.keys()


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_a_seed_has_31_bits(config, seed):
    config.seed = seed
    text = refused(config_checks.check_ranges, config)
    assert text == f"config.seed is {seed}; it must be from 0 to 2147483647"


@pytest.mark.parametrize("module", [phantom, covid, shortcut, paper])
@pytest.mark.parametrize("variant", ["", "tiny"])
def test_the_configs_are_within_their_ranges(module, variant):
    config_checks.check_ranges(module.get_config(variant))


@pytest.mark.parametrize(("percentile", "fits"), [(0.0, False), (50.0, True), (100.5, False)])
def test_a_percentile_is_above_0_and_up_to_100(config, percentile, fits):
    config.explain.gate_percentile = percentile
    if fits:
        config_checks.check_ranges(config)
    else:
        text = refused(config_checks.check_ranges, config)
        assert f"gate_percentile is {percentile}" in text


@pytest.mark.parametrize(
    ("field", "channels", "fits"),
    [
        ("z_structure_channels", (8, 4, 2), True),
        ("z_structure_channels", (16, 6, 3, 2), False),  # beyond the networks' levels
        ("z_structure_channels", (), False),
        ("z_class_channels", (4,), True),
        ("z_class_channels", (4, 2, 1), False),
    ],
)
def test_latents_have_no_more_maps_than_the_networks_have_levels(config, field, channels, fits):
    config.gan[field] = channels
    if fits:
        config_checks.check_ranges(config)
    else:
        text = refused(config_checks.check_ranges, config)
        assert f"config.gan.{field} is {channels}" in text


@pytest.mark.parametrize("field", ["marker_train", "marker_test"])
@pytest.mark.parametrize("probabilities", [(0.5,), (0.5, 1.5), (-0.1, 0.0), (0.1, 0.2, 0.3)])
def test_markers_have_two_probabilities(config, field, probabilities):
    config.data[field] = probabilities
    text = refused(config_checks.check_ranges, config)
    assert f"config.data.{field} is {probabilities}" in text


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
        text = refused(config_checks.check_size, data, size, networks)
        assert f"image_size is {size}" in text


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("square", "stretch", "crop, pad"),
        ("bits", 7, "8 to 16"),
        ("bits", 17, "8 to 16"),
        ("bits", -8, "8 to 16"),
        ("negative_classes", ("covid",), "positive_class"),
        ("negative_classes", ("normal", ""), "normal"),
    ],
)
def test_a_folder_is_read_in_a_way_that_there_is(config, field, value, named):
    config_checks.check_folder(config.data)
    config.data[field] = value
    text = refused(config_checks.check_folder, config.data)
    assert f"config.data.{field} " in text and named in text


@pytest.mark.parametrize("bits", [0, 8, 12, 16])
def test_bits_of_a_detector(config, bits):
    config.data.bits = bits
    config_checks.check_folder(config.data)


# Films -------------------------------------------------------------------------------------------


def some_films(number: int) -> dict[str, np.ndarray]:
    return {
        "image": np.zeros((number, 2, 2, 1), np.uint8),
        "patient_id": np.array([str(i).encode() for i in range(number)]),
    }


TRAININGS = ("classifier", "judge", "gan", "encoder")


def test_fewer_films_than_a_batch_name_the_fields_to_set(config, monkeypatch):
    monkeypatch.setattr(parallel, "num_devices", lambda: 1)
    for name in TRAININGS:
        config[name].batch_size = 16
    config.judge.batch_size, config.gan.batch_size = 32, 64
    tasks = ("classifier", "gan", "encoder")
    text = refused(config_checks.check_films, config, tasks, some_films(18))
    assert "18 training films" in text and text.endswith("to 16 or fewer")
    assert "config.judge.batch_size (32), config.gan.batch_size (64)" in text
    assert "classifier" not in text and "encoder" not in text
    for name in TRAININGS:
        config[name].batch_size = 16
    config_checks.check_films(config, tasks, some_films(18))
    text = refused(config_checks.check_films, config, tasks, some_films(3))
    assert "3 training films; at least 4" in text


def test_films_are_enough_for_what_is_trained_alone(config, monkeypatch):
    monkeypatch.setattr(parallel, "num_devices", lambda: 1)
    config.classifier.batch_size = config.judge.batch_size = config.gan.batch_size = 16
    config.encoder.batch_size = 64
    config_checks.check_films(config, ("classifier", "gan", "explain"), some_films(18))
    config.classifier.patients = "one half"
    half = sum(patient_half(some_films(18)["patient_id"]) == 0)
    text = refused(config_checks.check_films, config, ("classifier",), some_films(18))
    assert f"{half} training films" in text and "config.classifier.batch_size (16)" in text
    config.classifier.num_steps = 0
    config_checks.check_films(config, ("classifier",), some_films(18))


# 2. Names.


def test_every_path_and_map_there_is_may_be_asked_for(config):
    config.explain.paths, config.explain.maps = tuple(PATHS), tuple(MAPS)
    text = refused(config_checks.check_explain, config)
    assert text == "path 'geodesic' needs 'robust' among config.evaluators.names"
    config.evaluators.names = ("robust",)
    config_checks.check_explain(config)
    for variant in ("", "tiny", "full"):
        config_checks.check_explain(phantom.get_config(variant))


@pytest.mark.parametrize(
    ("field", "value", "blamed", "named"),
    [
        ("paths", ("linear", "curved"), "paths has", "'curved'"),
        ("maps", ("latent", "deep_lift"), "maps has", "'deep_lift'"),
        # A row of the table, not a path.
        ("paths", ("linear", "linear_best"), "paths has", "'linear_best'"),
        ("paths", ("aligned",), "paths lacks", "'linear'"),
        ("paths", ("linear", "chord"), "paths lacks", "'aligned'"),
        # Map `pixel` is fine in itself: the path that it is read from is missing.
        ("maps", ("latent", "pixel"), "paths lacks", "'pixel'"),
        ("maps", ("residual",), "maps lacks", "'latent'"),
    ],
)
def test_a_wrong_name_is_refused_by_its_field(config, field, value, blamed, named):
    config.explain[field] = value
    text = refused(config_checks.check_explain, config)
    assert text.startswith(f"config.explain.{blamed} ") and named in text


def test_an_unknown_name_is_answered_with_the_known_ones(config):
    section = config.explain
    section.paths = ("linear", "curved")
    known = "linear, aligned, natural, ray, global, random, chord, geodesic, geodesic_pixel, pixel"
    assert known in refused(config_checks.check_explain, config)
    section.paths, section.maps = ("linear",), ("latent", "curved")
    known = "latent, latent_occlusion, residual, latent_integrated_gradients, gradient, "
    assert known in refused(config_checks.check_explain, config)


@pytest.mark.parametrize(
    ("field", "known"),
    [
        ("gan.objective", "ours, paper"),
        ("gan.networks", "ours, paper"),
        ("gan.conditioning", "graded, binary, label"),
        ("explain.inversion.start", "encoder, origin"),
    ],
)
def test_a_choice_is_one_of_the_known(config, field, known):
    set_field(config, field, "theirs")
    text = refused(config_checks.check_explain, config)
    assert text == f"config.{field} is 'theirs'; choose of {known}"


def test_a_finding_is_left_out_of_an_encoders_guess_alone(config):
    config.explain.inversion.start = "origin"
    text = refused(config_checks.check_explain, config)
    assert "alternate_lesion_free_steps is True" in text
    config.explain.inversion.alternate_lesion_free_steps = False
    config_checks.check_explain(config)


@pytest.mark.parametrize(
    ("field", "value", "needed"),
    [
        ("gan.conditioning", "graded", "'binary'"),
        ("explain.inversion.start", "encoder", "'origin'"),
        ("gan.objective", "ours", "'paper'"),
        ("gan.r1_weight", 0.5, "0.0"),
        ("data.image_size", 32, "64"),
    ],
)
def test_the_papers_system_is_whole(field, value, needed):
    config = paper.get_config("tiny")
    config_checks.check_explain(config)
    set_field(config, field, value)
    text = refused(config_checks.check_explain, config)
    assert text.startswith(f"config.{field} is {value!r}; the paper's ")
    assert text.endswith(f"must have {needed} there")


def test_terms_and_weights_of_the_objective_are_the_same(config):
    config_checks.check_weights(config.gan.weights)
    weights = config.gan.weights.to_dict()
    text = refused(config_checks.check_weights, ConfigDict(weights | {"beauty": 1.0}))
    assert "has 'beauty'" in text and "pixel, feature, margin" in text
    del weights["confusion"]
    assert "lacks 'confusion'" in refused(config_checks.check_weights, ConfigDict(weights))


@pytest.mark.parametrize(
    "section", ["classifier", "judge", "gan", "evaluators.segmenter", "evaluators.robust"]
)
def test_a_type_is_one_that_networks_compute_in(config, section):
    for dtype in ("float32", "bfloat16"):
        set_field(config, f"{section}.dtype", dtype)
        config_checks.check_dtypes(config)
    set_field(config, f"{section}.dtype", "float16")
    text = refused(config_checks.check_dtypes, config)
    assert text == f"config.{section}.dtype is 'float16'; choose float32 or bfloat16"


# 3. Batches.


@pytest.mark.parametrize(
    ("section", "task", "size", "multiple"),
    [
        ("classifier", "classifier", 4, 3),
        ("judge", "classifier", 4, 3),
        ("gan", "gan", 18, 12),  # films in fours, which are not split over devices
        ("encoder", "encoder", 18, 12),
        ("evaluators.regressor", "evaluators", 4, 3),
    ],
)
def test_a_batch_is_split_over_the_devices(config, section, task, size, multiple, monkeypatch):
    monkeypatch.setattr(parallel, "num_devices", lambda: 3)
    config.evaluators.names = ("regressor",)
    for name in ("classifier", "judge", "gan", "encoder", "evaluators.regressor"):
        set_field(config, f"{name}.batch_size", 24)
    tasks = ["classifier", "gan", "encoder", "evaluators", "explain"]
    config_checks.check_batches(config, tasks)
    set_field(config, f"{section}.batch_size", size)
    config_checks.check_batches(config, [name for name in tasks if name != task])
    assert refused(config_checks.check_batches, config, [task]) == (
        f"config.{section}.batch_size is {size}; with 3 devices it must be a multiple of {multiple}"
    )


def test_the_papers_encoder_is_not_trained_whatever_its_batch(monkeypatch):
    monkeypatch.setattr(parallel, "num_devices", lambda: 3)
    config = paper.get_config("tiny")
    config.encoder.batch_size = 7
    config_checks.check_batches(config, ["encoder"])


def test_every_check_is_made(tmp_path):
    config_checks.check_config(phantom.get_config("tiny"), tmp_path)
    for name, value in {
        "data.num_test": 0,
        "data.square": "stretch",
        "explain.paths": ("linear", "curved"),
        "gan.dtype": "half",
        "classifier.architecture": "alexnet",
    }.items():
        config = phantom.get_config("tiny")
        set_field(config, name, value)
        assert f"config.{name}" in refused(config_checks.check_config, config, tmp_path)
    config = phantom.get_config("tiny")
    del config.gan.weights["pixel"]
    assert "lacks 'pixel'" in refused(config_checks.check_config, config, tmp_path)
