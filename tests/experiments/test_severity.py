"""Whether classifiers follow readers: over which films, and of which runs."""

import dataclasses
import json

import numpy as np
import pytest
from truth_films import make_truth

from cxr_jax.errors import InputError
from experiments import reading
from experiments.command import parse
from experiments.studies import severity
from experiments.truth import EXCLUDED, read_truth


@pytest.fixture
def truth(tmp_path):
    """Four films, one of which one reader has not scored."""
    scores = np.random.default_rng(0).integers(4, size=(4, 2, 6)).astype(float)
    scores[3, 1, 0] = np.nan
    return dataclasses.replace(read_truth(make_truth(tmp_path))["covid"], scores=scores)


def test_margins_are_held_against_the_seniors_totals_on_films_of_both_readers(truth):
    totals = np.array([1.0, 1, 1, -100]) * truth.scores[:, 0].sum(axis=1)
    brightness = np.array([5.0, 2, 9, 1])
    look = {"brightness": brightness, "detail 1/64": -brightness}
    found = severity.follow({"f": totals, "h": -totals}, truth, look)
    assert found["f"]["mean"] == 1.0 and found["h"]["mean"] == -1.0
    assert {each["images"] for each in found.values()} == {3}
    order = lambda values: np.argsort(np.argsort(values[:3]))
    wanted = np.corrcoef(order(brightness), order(totals))[0, 1]
    assert found["brightness"]["mean"] == pytest.approx(wanted)
    assert found["detail 1/64"]["mean"] == pytest.approx(-wanted)
    assert found["h - brightness"]["mean"] == pytest.approx(-1 - wanted)
    assert severity.follow({"f": totals}, truth.rows(~truth.is_scored), look) == {}


def test_brightness_is_the_mean_in_the_outlined_lungs(truth):
    lungs = truth.lungs.copy()
    lungs[2] = False
    some = dataclasses.replace(truth, lungs=lungs)
    pixels = np.zeros((4, 16, 16, 1), np.uint8)  # half as large as the outlines
    pixels[0], pixels[1, :, :8] = 7, 200  # of the second film the right lung
    found = severity.look_of(some, pixels)["brightness"]
    np.testing.assert_allclose(found[[0, 1, 3]], [7, 100, 0], rtol=1e-3)
    assert np.isnan(found[2])


def test_detail_is_that_of_the_outlined_lungs(truth):
    lungs = truth.lungs.copy()
    lungs[2] = False
    some = dataclasses.replace(truth, lungs=lungs)
    checks = np.indices((16, 16)).sum(axis=0)[..., None] % 2
    pixels = np.full((4, 16, 16, 1), 100, np.uint8)
    pixels[1] += (20 * checks).astype(np.uint8)
    pixels[3] += np.where(some.lungs[3, ::2, ::2], 0, 90 * checks).astype(np.uint8)
    found = severity.look_of(some, pixels)["detail 1/64"]
    assert found[0] < 1e-3 and found[1] > 0.01 and found[3] < 1e-3 and np.isnan(found[2])


def test_runs_are_asked_as_soon_as_their_classifiers_are_trained(truth, tmp_path, monkeypatch):
    workdir = tmp_path / "runs" / "lungs"
    (workdir / "classifier").mkdir(parents=True)
    figures = {"classifier": {"auroc": 0.9}, "judge": {"auroc": 0.8}}
    (workdir / "classifier" / "done.json").write_text(json.dumps(figures))
    section = {"visible": "lungs", "dtype": "bfloat16"}
    data = {"name": "cxr_folder", "image_size": 8, "square": "crop", "bits": 0}
    config = {"seed": 0, "classifier": section, "judge": section | {"visible": ""}, "data": data}
    (workdir / "config.json").write_text(json.dumps(config))
    totals = truth.scores[:, 0].sum(axis=1)
    monkeypatch.setattr(severity.precision, "in_float32", lambda config: config)
    monkeypatch.setattr(severity, "read_truth", lambda folder, without: {"covid": truth})
    taught = {name: {"filename": np.array([b"covid/own.png"])} for name in ("train", "validation")}
    monkeypatch.setattr(reading, "load_splits", lambda data, seed, fields: (taught, "films"))
    monkeypatch.setattr(reading, "read_contents", lambda workdir: "films")
    monkeypatch.setattr(
        reading.restore, "load_classifier", lambda section, size, folder: folder.name
    )
    monkeypatch.setattr(
        severity, "margins", lambda name, pixels: totals if name == "classifier" else 5 - totals
    )
    arguments = [f"--truth={tmp_path}", f"--workdir={workdir.parent}", "--out="]
    (found,) = severity.run(parse(severity.STUDY, arguments))
    assert found["lungs"]["visible"] == "lungs"
    assert found["lungs"]["auroc"] == {"f": 0.9, "h": 0.8}
    assert found["lungs"]["f"]["mean"] == 1.0 and found["lungs"]["h"]["mean"] == -1.0
    assert found["lungs"]["called_positive"] == {
        "f": (totals > 0).sum(),
        "h": (totals < 5).sum(),
    }
    page = severity.to_markdown(json.loads(json.dumps(found)))
    assert "| `lungs` | 1.000" in page and "are shown lungs; AUROC" in page
    (tmp_path / EXCLUDED).write_text("own.png\n")
    with pytest.raises(InputError, match=r"has learned from own\.png"):
        next(severity.run(parse(severity.STUDY, arguments)))
    monkeypatch.setattr(reading, "read_contents", lambda workdir: "other films")
    with pytest.raises(InputError, match="the data have changed"):
        next(severity.run(parse(severity.STUDY, arguments)))


def test_films_with_scores_must_be_given(tmp_path, monkeypatch):
    arguments = [f"--workdir={tmp_path}", "--out="]
    with pytest.raises(InputError, match="--truth is missing"):
        next(severity.run(parse(severity.STUDY, arguments)))
    monkeypatch.setattr(severity, "read_truth", lambda folder, without: {"nih": None})
    with pytest.raises(InputError, match="no readers' scores"):
        next(severity.run(parse(severity.STUDY, [f"--truth={tmp_path}", *arguments])))
