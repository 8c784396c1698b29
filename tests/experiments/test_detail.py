"""Classifiers whose way of answering is known are told apart by what is altered in the lungs."""

import json
from pathlib import Path

import flax.linen as nn
import ml_collections
import numpy as np
import pytest

from cxr_jax.errors import InputError
from cxr_jax.models.model import Model
from experiments import reading
from experiments.command import parse
from experiments.markdown import cell
from experiments.scales import SCALES, amount, lung_mean
from experiments.studies import detail

LABEL = np.arange(40) % 2


@pytest.fixture
def films() -> tuple[np.ndarray, np.ndarray]:
    """Positives, at odd rows, have brighter and finer lungs, left; right negatives are finer."""
    rng = np.random.default_rng(0)
    positive = LABEL[:, None, None, None]
    image = 0.05 * (1 + positive) * rng.normal(size=(40, 32, 32, 1)) + 0.2 * positive
    image[:, :, 16:] = 0.2 * (1 - positive) * rng.normal(size=(40, 32, 16, 1))
    image = image + 0.1 * np.sin(np.arange(32) / 5)[:, None, None]  # a shading, coarser than 1/16
    lungs = np.zeros(image.shape, bool)
    lungs[:, :, :16] = True
    return image.astype(np.float32), lungs


def sharp(lungs: np.ndarray):
    """A classifier that knows only how much detail there is."""
    return lambda image: 100 * amount(image, lungs[: len(image)], 1 / 16)


def bright(lungs: np.ndarray):
    """A classifier that knows only how bright lungs are."""
    return lambda image: 100 * lung_mean(image, lungs[: len(image)])[:, 0, 0, 0]


def test_a_classifier_by_detail_answers_to_its_detail_and_one_by_brightness_to_nothing(films):
    image, lungs = films
    found = detail.alter({"f": sharp(lungs), "h": bright(lungs)}, image, lungs, LABEL)["1/16"]
    # Positives have twice the detail of negatives, so that half of theirs is the whole gap.
    assert found["detail halved"]["f"]["positives"]["mean"] == pytest.approx(-1, abs=0.1)
    assert found["detail halved"]["f"]["negatives"]["mean"] == pytest.approx(-0.5, abs=0.1)
    again = found["detail half as much again"]["f"]
    assert again["negatives"]["mean"] == pytest.approx(0.5, abs=0.1)
    for done, each in found.items():
        if done.startswith("shading"):
            assert max(abs(entry["mean"]) for entry in each["f"].values()) < 0.1
        assert max(abs(entry["mean"]) for entry in each["h"].values()) < 0.02
    assert found["detail halved"]["f"]["negatives"]["images"] == 40


def test_altered_lungs_have_as_much_of_either_part_as_is_said(films):
    image, lungs = films
    before = detail.sizes(image, lungs)["1/16"]
    factors = {}
    for scale, done, altered in detail.alterations(image, lungs):
        if scale == "1/16":
            after = detail.sizes(altered, lungs)["1/16"]
            factors[done] = [(after[part] / before[part]).mean() for part in detail.PARTS]
    # Parted once more by a blur that is not sharp, they are not quite what they were.
    for done, wanted in {
        "detail halved": [0.5, 1.0],
        "detail half as much again": [1.5, 1.0],
        "shading halved": [1.0, 0.5],
        "shading half as much again": [1.0, 1.5],
    }.items():
        np.testing.assert_allclose(factors[done], wanted, atol=0.12, err_msg=done)


def test_nothing_but_the_lungs_is_altered_and_images_stay_images(films):
    image, lungs = films
    names = set()
    for scale, done, altered in detail.alterations(image + 0.5, lungs):
        names.add((scale, done))
        np.testing.assert_array_equal(altered[~lungs], (image + 0.5).clip(-1, 1)[~lungs])
        assert altered.max() <= 1 and (altered != image + 0.5)[lungs].any()
    assert len(names) == 4 * len(SCALES)


def test_of_a_change_both_parts_are_asked_alone(films):
    image, lungs = films
    change = np.zeros_like(image)
    change[:, 8:24, 4:12] = 0.2  # a patch: shading but for its edges
    change[:, 8:24, 20:30] = -0.5  # beside the lungs
    end = (image + change).clip(-1, 1)
    asked = {"f": bright(lungs), "h": sharp(lungs)}
    found = detail.parts_of_change(asked, image, end, lungs)
    assert found["lungs"]["f"]["mean"] == pytest.approx(1, abs=1e-5)
    for scale in SCALES:
        left = [found[scale][part]["f"]["mean"] for part in ("detail", "shading")]
        assert sum(left) == pytest.approx(1, abs=1e-3)  # brightness is linear
    assert found["1/64"]["shading"]["f"]["mean"] > 0.9
    everywhere = {"f": lambda image: image.sum(axis=(1, 2, 3)), "h": sharp(lungs)}
    found = detail.parts_of_change(everywhere, image, end, lungs)
    # 16 rows by 8 columns of 0.2, and beside the lungs by 10 columns of -0.5, a little clipped.
    assert found["lungs"]["f"]["mean"] == pytest.approx(25.6 / (25.6 - 80), rel=0.02)
    assert found["1/64"]["shading"]["f"]["images"] == 40


def test_what_lungs_gain_is_told_as_a_share_of_what_they_had(films):
    image, lungs = films
    end = detail.lung_mean(image, lungs) + 1.5 * (image - detail.lung_mean(image, lungs))
    end = np.where(lungs, end, 9 * image)
    found = detail.gained(image, end, lungs)
    for parts in found.values():
        for entry in parts.values():
            np.testing.assert_allclose([entry["mean"], *entry["ci95"]], 0.5, rtol=1e-3)


def test_of_a_change_without_effect_nothing_is_left_to_tell():
    assert detail.effect_left(np.ones(3), np.zeros(3))["mean"] is None
    some = detail.effect_left(np.array([0.5, 0, 1, 0]), np.array([1.0, 0, 2, 0]))
    assert some["mean"] == 0.5 and some["ci95"] is not None and some["images"] == 4


def write_run(workdir, data: str = "cxr_manifest", skipped: bool = False) -> None:
    for task in ("classifier", "evaluators", "explain"):
        (workdir / task).mkdir(parents=True)
    figures = {"segmenter": {"skipped": "no masks"} if skipped else {"dice": 0.9}}
    (workdir / "evaluators" / "done.json").write_text(json.dumps(figures))
    for task in ("classifier", "explain"):
        (workdir / task / "done.json").write_text("{}")
    config = {"seed": 0, "data": {"name": data, "image_size": 32}, "classifier": {"visible": ""}}
    (workdir / "config.json").write_text(json.dumps(config))
    (workdir / "data.json").write_text('{"contents": "films"}')
    report = {"latent_path": "necessary", "commit": "abc"}
    (workdir / "explain" / "metrics.json").write_text(json.dumps(report))


def test_a_run_is_read_and_told(films, tmp_path, monkeypatch):
    image, lungs = films
    workdir = tmp_path / "runs" / "lungs"
    write_run(workdir)
    pixels = ((image + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    lungs[0] = False  # of one negative the segmenter finds no lungs
    carried = np.repeat(pixels[:5, None], 3, axis=1)
    carried[:, 1, :, :16] += 20  # where the walk stops
    place = "pos_to_neg/necessary"
    walks = {f"{place}/carried": carried, f"{place}/frame": np.ones(5, int)}
    none = "neg_to_pos/necessary"
    walks |= {f"{none}/carried": carried[:0], f"{none}/frame": np.ones(0, int)}
    np.savez(workdir / "explain" / "walks.npz", **walks)
    splits = {"test": {"image": pixels, "label": LABEL}}
    monkeypatch.setattr(reading, "load_splits", lambda data, seed, truths: (splits, "films"))
    monkeypatch.setattr(detail, "load_segmenter", lambda config, workdir: None)
    monkeypatch.setattr(detail, "find_lungs", lambda segmenter, pixels: lungs[: len(pixels)])
    monkeypatch.setattr(detail.precision, "in_float32", lambda config: config)
    whole = np.ones((40, 32, 32, 1), bool)
    whole[:, :, 16:] = False
    classifiers = {"f": bright(whole), "h": sharp(whole)}
    monkeypatch.setattr(detail, "load_classifiers", lambda config, workdir: classifiers)
    monkeypatch.setattr(detail, "make_classify", lambda classifier: classifier)
    arguments = [f"--workdir={workdir.parent}", "--out="]
    (found,) = detail.run(parse(detail.STUDY, arguments))
    result = found["lungs"]
    assert result["films"] == {"negatives": 19, "positives": 20} and result["without_lungs"] == 1
    assert result["amount"]["1/64"]["mean"] == 1.0
    assert result["size"]["1/16"]["detail"] == pytest.approx(0.075, abs=0.01)  # 0.05 and 0.1
    assert result["size"]["1/16"]["shading"] == pytest.approx(0.06, abs=0.02)  # of 0.1 of a sine
    walk = result["walks"]["pos_to_neg"]
    left = walk["kept"]["1/64"]
    assert walk["kept"]["lungs"]["f"]["mean"] == pytest.approx(1, abs=0.01)
    assert left["shading"]["f"]["mean"] + left["detail"]["f"]["mean"] == pytest.approx(1, abs=0.01)
    assert left["shading"]["f"]["mean"] > 0.9 and list(result["walks"]) == ["pos_to_neg"]
    assert abs(walk["gained"]["1/64"]["detail"]["mean"]) < 0.01  # of an even rise of all lungs
    assert walk["gained"]["1/64"]["detail"]["images"] == 4
    page = detail.to_markdown(json.loads(json.dumps(found)))
    assert "20 positives and 19 negatives; 1 films are left out" in page
    halved = result["altered"]["1/16"]["detail halved"]
    cells = [cell(halved[who][each]) for who in "fh" for each in ("negatives", "positives")]
    assert "| detail halved, 1/16 | " + " | ".join(cells) + " |" in page
    kept = walk["kept"]["1/64"]["shading"]
    cells = [cell(each) for each in (walk["gained"]["1/64"]["shading"], kept["f"], kept["h"])]
    assert "| pos_to_neg | shading, 1/64 | " + " | ".join(cells) + " |" in page
    two = lungs.copy()
    lungs[:6] = False  # of no film that was walked
    (again,) = detail.run(parse(detail.STUDY, arguments))
    assert again["lungs"]["walks"] == {}
    lungs[::2] = False
    with pytest.raises(InputError, match="finds no lungs in the films of a class"):
        next(detail.run(parse(detail.STUDY, arguments)))
    lungs[:] = two
    (workdir / "explain" / "done.json").unlink()
    (again,) = detail.run(parse(detail.STUDY, arguments))
    assert again["lungs"] == result | {"walks": {}}
    assert "walk" not in detail.to_markdown(again)
    monkeypatch.setattr(reading, "load_splits", lambda data, seed, truths: (splits, "others"))
    with pytest.raises(InputError, match="the data have changed"):
        next(detail.run(parse(detail.STUDY, arguments)))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"data": "cxr_phantom"}, "is of phantoms"),
        ({"skipped": True}, "no masks; the lungs are found by one"),
    ],
)
def test_runs_that_cannot_be_asked_are_refused(tmp_path, given, wanted):
    write_run(tmp_path / "run", **given)
    with pytest.raises(InputError, match=wanted):
        detail.measure(tmp_path / "run")


class Sum(nn.Module):
    """A classifier that adds up pixels."""

    times: float

    def __call__(self, image):
        return self.times * image.sum(axis=(1, 2, 3)), {}


def test_classifiers_are_asked_of_images_that_are_not_stored(monkeypatch):
    config = ml_collections.ConfigDict(
        {"data": {"image_size": 8}, "classifier": {"n": 2.0}, "judge": {"n": 3.0}}
    )
    given = lambda section, size, folder: Model(Sum(times=section.n), {})
    monkeypatch.setattr(reading.restore, "load_classifier", given)
    models = reading.load_classifiers(config, Path("run"))
    found = {who: detail.make_classify(model) for who, model in models.items()}
    image = np.full((3, 8, 8, 1), 0.123, np.float32)
    np.testing.assert_allclose(found["f"](image), 2 * 64 * 0.123, rtol=1e-6)
    np.testing.assert_allclose(found["h"](image), 3 * 64 * 0.123, rtol=1e-6)
