"""What nothing can be computed with is refused by its field, before anything is read."""

import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from builders import refused

from cxr_jax.configs import base, paper, phantom
from cxr_jax.data.arrays import patient_half
from cxr_jax.explain.maps import MAPS
from cxr_jax.explain.paths import PATHS
from cxr_jax.pipeline import config_checks
from cxr_jax.runtime import parallel

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config():
    return base.get_config()


def set_field(config, name: str, value) -> None:
    *sections, field = name.split(".")
    functools.reduce(getattr, sections, config)[field] = value


# 1. Fields alone: tests/pipeline/test_field_ranges.py. Fields together.


@pytest.mark.parametrize(
    ("data", "size", "networks", "fits"),
    [
        ("cxr_phantom", 32, "ours", True),
        ("cxr_phantom", 16, "ours", False),
        ("cxr_phantom", 96, "ours", False),
        ("cxr_folder", 96, "ours", True),
        ("cxr_folder", 100, "ours", False),
        ("cxr_folder", 100, "paper", True),  # the paper's networks say themselves what they draw
    ],
)
def test_the_size_of_films(data, size, networks, fits):
    if fits:
        config_checks.check_size(data, size, networks)
    else:
        text = refused(config_checks.check_size, data, size, networks)
        assert f"image_size is {size}" in text


def test_a_class_of_films_is_not_positive_and_negative(config):
    config_checks.check_folder(config.data)
    config.data.negative_classes = ("normal", "covid")
    text = refused(config_checks.check_folder, config.data)
    assert "config.data.negative_classes has 'covid'" in text and "positive_class" in text


@pytest.mark.parametrize("bits", [0, 8, 12, 16, 7, 17, -8])
def test_bits_of_a_detector(config, bits):
    config.data.bits = bits
    if bits in (0, 8, 12, 16):
        config_checks.check_ranges(config)
    else:
        assert "config.data.bits" in refused(config_checks.check_ranges, config)


# Films -------------------------------------------------------------------------------------------


def some_films(number: int) -> dict[str, np.ndarray]:
    return {
        "image": np.zeros((number, 2, 2, 1), np.uint8),
        "label": np.zeros(number, np.int64),
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
    config.evaluators.names, config.evaluators.robust.batch_size = ("segmenter", "robust"), 32
    text = refused(config_checks.check_films, config, ("evaluators",), some_films(18))
    assert "config.evaluators.robust.batch_size (32)" in text and text.endswith("to 16 or fewer")


def test_films_of_a_section_that_has_enough_are_not_counted(config, monkeypatch):
    monkeypatch.setattr(parallel, "num_devices", lambda: 1)
    config.classifier.patients = "one half"
    for name in TRAININGS:
        config[name].batch_size = 4
    config.gan.batch_size = 64
    text = refused(config_checks.check_films, config, ("classifier", "gan"), some_films(18))
    assert "18 training films" in text and text.endswith("to 16 or fewer")


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
        ("paths", ("aligned",), "paths lacks", "'linear'"),
        ("paths", ("linear", "chord"), "paths lacks", "'aligned'"),
        # Map `pixel` is fine in itself: the path that it is read from is missing.
        ("maps", ("latent", "pixel"), "paths lacks", "'pixel'"),
        ("maps", ("residual",), "maps lacks", "'latent'"),
    ],
)
def test_what_is_missing_is_named_with_its_field(config, field, value, blamed, named):
    config.explain[field] = value
    text = refused(config_checks.check_explain, config)
    assert text.startswith(f"config.explain.{blamed} ") and named in text


@pytest.mark.parametrize("name", ["curved", "linear_best"])  # the latter a row of earlier tables
def test_an_unknown_name_is_answered_with_the_known_ones(config, name):
    config.explain.paths = ("linear", name)
    text = refused(config_checks.check_ranges, config)
    assert text.startswith(f"config.explain.paths has {name!r}; each must be one of 'linear', ")
    assert all(repr(path) in text for path in PATHS)
    config.explain.paths, config.explain.maps = ("linear",), ("latent", name)
    text = refused(config_checks.check_ranges, config)
    assert text.startswith(f"config.explain.maps has {name!r}; each must be one of 'latent', ")
    assert all(repr(map_) in text for map_ in MAPS)


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


def test_a_processor_is_split_as_far_as_every_batch_is():
    config = base.get_config()
    sizes = dict(classifier=24, judge=40, gan=32, encoder=16)
    for name, size in sizes.items():
        config[name].batch_size = size
    most = config_checks.most_devices
    assert most(config, ["classifier"], 8) == 8 and most(config, ["classifier"], 7) == 4
    assert most(config, ["gan"], 16) == 8  # a device's part is a multiple of four
    assert most(config, ["gan", "encoder"], 16) == 4
    assert most(config, ["explain"], 3) == 3
    config.judge.batch_size = 37
    assert most(config, ["classifier"], 8) == 1


def test_the_papers_encoder_is_not_trained_whatever_its_batch(monkeypatch):
    monkeypatch.setattr(parallel, "num_devices", lambda: 3)
    config = paper.get_config("tiny")
    config.encoder.batch_size = 7
    config_checks.check_batches(config, ["encoder"])
    config.gan.networks = "ours"  # which have an encoder, whatever the objective
    assert "encoder.batch_size is 7" in refused(config_checks.check_batches, config, ["encoder"])


@pytest.mark.parametrize(
    ("section", "task"),
    [
        ("classifier", "classifier"),
        ("judge", "classifier"),
        ("gan", "gan"),
        ("encoder", "encoder"),
        ("evaluators.segmenter", "evaluators"),
    ],
)
def test_a_batch_is_of_no_more_films_than_phantoms_are_drawn(section, task):
    config = phantom.get_config("tiny")
    config.data.num_train = 64
    config_checks.check_batches(config, [task])
    set_field(config, f"{section}.batch_size", 128)
    assert refused(config_checks.check_batches, config, [task]) == (
        f"config.{section}.batch_size is 128, more films than config.data.num_train, which is 64"
    )
    config.data.name = "cxr_folder"  # whose films are counted when they are read
    config_checks.check_batches(config, [task])


def test_fields_of_another_data_set_are_not_passed_over(config):
    config.data.name, config.data.manifest.preset = "cxr_folder", "nih"
    assert "manifest.preset is 'nih'" in refused(config_checks.check_folder, config.data)
    config.data.name, config.data.positive_class = "cxr_manifest", "Pneumonia"
    config_checks.check_folder(config.data)
    config.data.split_column = "split_by_source"
    text = refused(config_checks.check_folder, config.data)
    assert "'split_by_source'" in text and "config.data.manifest.split" in text


def test_films_that_are_not_there_cost_no_training(config, tmp_path):
    config.explain.dir = str(tmp_path / "typo")
    assert "typo is not there" in refused(config_checks.check_config, config, tmp_path)
    config_checks.check_new_films(str(tmp_path))
    config_checks.check_new_films("")


def test_opacities_alone_are_told_by_halves(config, tmp_path):
    config.data.finding, config.data.finding_half = "effusion", "left"
    text = refused(config_checks.check_config, config, tmp_path)
    assert text.startswith("config.data.finding_half is 'left'")
    config.data.finding = "opacity"
    config_checks.check_finding(config.data)
    config.data.name = "cxr_folder"
    assert "only phantoms" in refused(config_checks.check_finding, config.data)


def test_a_stage_for_layer_cam_is_one_of_the_classifiers(config, tmp_path):
    config.explain.maps = ("latent", "layer_cam")
    config_checks.check_layer_cam(config)
    config.explain.layer_cam_stage = "stage_4"
    text = refused(config_checks.check_layer_cam, config)
    assert text.startswith("config.explain.layer_cam_stage is 'stage_4'; the feature maps of ")
    assert text.endswith(" stage_1, stage_2, stage_3")
    config.explain.maps = ("latent",)
    config_checks.check_layer_cam(config)


# 4. All of them.


WRONG = {
    "data.num_test": (0, "config.data.num_test"),
    "explain.paths": (("aligned",), "config.explain.paths"),
    "data.image_size": (48, "config.data.image_size"),
    "gan.z_structure_channels": ((16, 6), "config.gan.generator_widths"),
    "evaluators.segmenter.widths": ((8,) * 8, "config.evaluators.segmenter.widths"),
    "classifier.num_steps": (0, "config.classifier.num_steps"),
    "judge.widths": ((8,), "config.judge.architecture"),
}


def test_every_check_is_made(tmp_path):
    config_checks.check_config(phantom.get_config("tiny"), tmp_path)
    for name, (value, told) in WRONG.items():
        config = phantom.get_config("tiny")
        set_field(config, name, value)
        assert told in refused(config_checks.check_config, config, tmp_path)
    config = phantom.get_config("tiny")
    config.explain.update(dict(maps=("latent", "layer_cam"), layer_cam_stage="stage_9"))
    assert "stage_9" in refused(config_checks.check_config, config, tmp_path)


def test_no_check_asks_for_a_device(tmp_path):
    """Several processes are joined after them, which cannot be once there are devices."""
    code = (
        "from pathlib import Path; from cxr_jax.configs import phantom\n"
        "from cxr_jax.pipeline.config_checks import check_config\n"
        "from jax._src import xla_bridge\n"
        "config = phantom.get_config()\n"
        "config.judge.architecture = 'vgg16'\n"
        f"check_config(config, Path({str(tmp_path)!r}))\n"
        "assert not xla_bridge.backends_are_initialized()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_classifier_of_lungs_needs_a_segmenter_of_its_widths(config, tmp_path):
    config.classifier.visible, config.evaluators.names = "lungs", ()
    text = refused(config_checks.check_config, config, tmp_path)
    assert "config.classifier.visible is 'lungs'" in text and "evaluators.names" in text
    config.evaluators.names = ("segmenter",)
    config.classifier.segmenter_widths = config.evaluators.segmenter.widths = (4, 4)
    config_checks.check_config(config, tmp_path)
    config.evaluators.segmenter.widths = (4, 8)
    text = refused(config_checks.check_config, config, tmp_path)
    assert "segmenter_widths is (4, 4)" in text and "(4, 8)" in text
