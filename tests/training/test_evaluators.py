"""Task `evaluators`: what is recorded, what is skipped and why, and what may be added later."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.data.film_parameters import NAMES, SOURCES
from cxr_jax.networks.restore import load_regressor, load_robust, load_segmenter, missing_reason
from cxr_jax.training import evaluators
from cxr_jax.training.segmenter import find_lungs
from tests.training.evaluating import SIZE, recorded


def without(phantoms, *names):
    return {
        split: {name: array for name, array in arrays.items() if name not in names}
        for split, arrays in phantoms.items()
    }


def test_nothing_is_trained_unless_asked_for(config, phantoms, tmp_path):
    evaluators.run(config, tmp_path, phantoms)
    assert not list(tmp_path.iterdir())
    assert evaluators.needed_truths(()) == ()


def test_each_asks_for_its_truths():
    asked = evaluators.needed_truths(("segmenter", "regressor", "robust"))
    assert {"lung_mask", "has_lung_mask", *SOURCES} == set(asked)
    assert "severity" not in evaluators.needed_truths(("segmenter", "robust"))


def test_all_three_are_trained_recorded_and_loaded(config, phantoms, tmp_path, caplog):
    config.evaluators.names = ("segmenter",)
    evaluators.run(config, tmp_path, phantoms)
    first = recorded(tmp_path)
    # More may be asked for later.
    config.evaluators.names = ("segmenter", "regressor", "robust")
    evaluators.run(config, tmp_path, phantoms)
    figures = recorded(tmp_path)
    assert figures["segmenter"] == first["segmenter"]
    assert figures["segmenter"].keys() == {"dice", "images"}
    assert 0 <= figures["segmenter"]["dice"] <= 1
    regressor = figures["regressor"]
    assert list(regressor["r_squared"]) == list(regressor["mean"]) == list(NAMES)
    assert all(value <= 1 for value in regressor["r_squared"].values())
    severity = phantoms["train"]["severity"]
    assert regressor["mean"]["severity"] == pytest.approx(float(severity.mean()), rel=1e-5)
    assert regressor["std"]["severity"] == pytest.approx(float(severity.std()), rel=1e-5)
    # The explained classifier was not trained here, so that nothing is said of it.
    assert figures["robust"].keys() == {"auroc", "auroc_attacked", "images"}
    assert {figures[name]["images"] for name in config.evaluators.names} == {12}
    for name, load in [
        ("segmenter", load_segmenter),
        ("regressor", load_regressor),
        ("robust", load_robust),
    ]:
        lines = (tmp_path / "evaluators" / name / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [1, 2]
        assert missing_reason(tmp_path, name) == ""
        outputs = load(config, tmp_path)(jnp.zeros((2, SIZE, SIZE, 1)))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(outputs))
    found = find_lungs(load_segmenter(config, tmp_path), phantoms["test"]["image"])
    truth = phantoms["test"]["lung_mask"] > 0
    each = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in zip(found, truth, strict=True)]
    assert figures["segmenter"]["dice"] == pytest.approx(np.mean(each))
    caplog.set_level("INFO", "cxr_jax")
    evaluators.run(config, tmp_path, phantoms)
    assert [record.getMessage() for record in caplog.records] == ["evaluators: complete, skipped"]


def test_one_that_was_copied_from_another_run_stays_where_nothing_teaches_it(
    config, phantoms, tmp_path
):
    config.evaluators.names = ("segmenter",)
    evaluators.run(config, tmp_path, phantoms)
    copied = recorded(tmp_path)["segmenter"]
    config.evaluators.names = ("segmenter", "regressor")
    evaluators.run(config, tmp_path, without(phantoms, "lung_mask", "severity", "parameters"))
    assert (
        recorded(tmp_path)["segmenter"] == copied and "skipped" in recorded(tmp_path)["regressor"]
    )
    assert not missing_reason(tmp_path, "segmenter")


@pytest.mark.parametrize(
    ("lacks", "name", "reason"),
    [
        (("lung_mask",), "segmenter", "has no lung masks"),
        (("severity", "parameters"), "regressor", "does not know severity, parameters"),
    ],
)
def test_what_the_data_cannot_teach_is_skipped_with_a_reason(
    lacks, name, reason, config, phantoms, tmp_path, caplog
):
    caplog.set_level("INFO", "cxr_jax")
    config.evaluators.names = (name,)
    evaluators.run(config, tmp_path, without(phantoms, *lacks))
    assert reason in recorded(tmp_path)[name]["skipped"]
    assert reason in missing_reason(tmp_path, name)
    assert len(caplog.records) == 1 and reason in caplog.text
    assert not (tmp_path / "evaluators" / name).exists()
    assert "lacks it" in missing_reason(tmp_path, "robust")


def test_masks_of_the_other_class_alone_are_said(config, phantoms, tmp_path):
    config.evaluators.names, config.evaluators.segmenter.only_label = ("segmenter",), 0
    masked = {
        split: {**arrays, "has_lung_mask": arrays["label"] == 1}
        for split, arrays in phantoms.items()
    }
    evaluators.run(config, tmp_path, masked)
    reason = recorded(tmp_path)["segmenter"]["skipped"]
    assert reason.startswith("0 negative training and 0 test films have a lung mask")
    assert "evaluators.segmenter.only_label" in reason


def test_nothing_there_is_a_reason_too(tmp_path):
    assert "lacks it" in missing_reason(tmp_path, "segmenter")
