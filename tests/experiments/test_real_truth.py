"""The study of marked films, by networks that are made up: who is explained, counted, and told."""

import dataclasses
import json
from types import SimpleNamespace

import builders
import numpy as np
import pytest
from builders import SIDE, SQUARE, make_square_explainer, make_square_split
from film_folders import save
from truth_films import make_truth, write_table, zone_row

from cxr_jax.errors import InputError
from cxr_jax.explain.explained import Calibration
from experiments import reading
from experiments.command import parse
from experiments.markdown import cell
from experiments.studies import real_truth
from experiments.truth import read_truth
from experiments.truth_figures import is_ours

LARGE = 4 * SIDE  # pixels a side of the marked films, four for one of what f sees


class Walker(builders.SquareWalker):
    """Also along the path that the rival is read from."""

    def __call__(self, *arguments, towards):
        walks = super().__call__(*arguments, towards=towards)
        return walks | {"ray": walks["aligned"]}


@pytest.fixture
def run():
    config = builders.make_tiny_config()
    config.data.image_size = SIDE
    config.explain.paths = ("linear", "aligned", "pixel")
    config.explain.maps = ("latent", "gradient")
    calibration = Calibration(
        thresholds=builders.make_thresholds(),
        guide=builders.make_guide(num_class=1),
        reach=1.0,
        path="linear",
    )
    return SimpleNamespace(config=config, calibration=calibration)


@pytest.fixture
def folder(tmp_path):
    """The square of a1, a2 and b1 is bright, so that f calls them positive, and that of c1 dark."""
    folder = make_truth(tmp_path)
    for place in ("films", "lungs", "opacity"):
        for path in (folder / "covid" / place).iterdir():
            path.unlink()
    lungs, opacity = np.zeros((2, LARGE, LARGE), np.uint8)
    lungs[4:28, 4:14], lungs[4:28, 18:28] = 255, 255
    opacity[2 * 4 : 4 * 4, 2 * 4 : 4 * 4] = 255  # where the square is
    bright = make_square_split([1, 1, 1, 0], seed=3)["image"]
    for name, film in zip(("a1", "a2", "b1", "c1"), bright, strict=True):
        large = film[..., 0].repeat(4, axis=0).repeat(4, axis=1)
        save(folder / "covid" / "films" / f"{name}.png", large)
        save(folder / "covid" / "lungs" / f"{name}.png", lungs)
        save(folder / "covid" / "opacity" / f"{name}.png", opacity)
    return folder


def look(folder, run, explainer=None, name="covid", learned=(), blur=0.0):
    explainer = explainer or make_square_explainer(walk=Walker())
    return real_truth.see(
        read_truth(folder)[name],
        run,
        explainer,
        train=make_square_split([1] * 4 + [0] * 8, seed=0),
        learned=learned,
        blur=blur,
    )


def test_films_that_f_calls_positive_are_explained_and_all_others_counted(folder, run):
    spoilt = make_square_explainer(walk=Walker(), invert=builders.spoil_squares(1))
    seen = look(folder, run, spoilt)
    assert seen.truth.films == ("a1.png", "a2.png", "b1.png")
    assert seen.counted["called_negative"] == ("c1.png",) and seen.counted["given"] == 4
    found = real_truth.measure(seen)
    assert list(found["films"]["rejected"]) == ["a2.png"]
    assert "f differs" in found["films"]["rejected"]["a2.png"]
    assert (found["accepted"]["films"], found["positive"]["films"]) == (2, 3)
    assert found["accepted"]["flips"]["flip_rate_f"]["images"] == 2


def test_maps_lie_where_the_marked_film_has_what_they_show(folder, run):
    seen = look(folder, run)
    assert {"latent", "path pixel", "latent_shift", "healthy_subspace", "prior"} <= set(seen.maps)
    assert {"shuffled", "outlines", "film"} <= set(seen.maps)
    assert not {"path linear", "path ray"} & set(seen.maps)  # which would be a map's second row
    square = np.zeros((SIDE, SIDE, 1), bool)
    square[SQUARE[1:]] = True
    large = square.repeat(4, axis=0).repeat(4, axis=1)
    np.testing.assert_array_equal(large, seen.truth.marked[0])
    change = seen.maps["path pixel"][0]
    assert change.shape == (LARGE, LARGE, 1) and change.min() >= 0
    assert change[large].sum() > 0.7 * change.sum()  # enlarged bilinearly, it spills over
    opacity = real_truth.measure(seen)["accepted"]["opacity"]["maps"]
    assert opacity["path pixel"]["iou"]["mean"] > 0.9
    assert opacity["prior"]["lung_auroc"]["mean"] == 1  # the others' outlines are the same


def test_what_the_walk_makes_darker_is_told_apart(folder, run):
    """The squares of positives are bright, and the walk makes a corner brighter."""
    seen = look(folder, run)
    darkened, latent, square = (
        *(seen.maps[name] for name in ("latent, darkened", "latent")),
        seen.truth.marked,
    )
    assert darkened[square].min() > 0
    np.testing.assert_allclose(darkened[square], latent[square], atol=1e-6)
    corner = np.s_[:, -4:, -4:]
    assert latent[corner].any() and not darkened[corner].any()


def test_the_film_is_a_map_itself_brightest_where_it_is(folder, run):
    seen = look(folder, run)
    opacity = real_truth.measure(seen)["accepted"]["opacity"]
    assert opacity["maps"]["film"]["lung_auroc"]["mean"] > 0.99  # but for enlarged edges
    assert opacity["best_rival"] != "film" and not is_ours("film")
    assert seen.maps["film"].min() >= 0 and seen.maps["film"].max() <= 1


def test_the_film_is_shown_alone_where_lungs_are_found(folder, run):
    left = lambda image: np.broadcast_to(np.arange(SIDE)[:, None] < SIDE // 2, image.shape)
    seen = look(folder, run, make_square_explainer(walk=Walker(), find_lungs=left))
    half = seen.maps["lungs found"] == 1
    np.testing.assert_allclose(seen.maps["film in lungs"][half], seen.maps["film"][half])
    assert not seen.maps["film in lungs"][seen.maps["lungs found"] == 0].any()


def test_controls_are_blurred_as_maps_are(folder, run):
    sharp, soft = (look(folder, run, blur=blur).maps["lungs"] for blur in (0.0, 1 / 16))
    assert set(np.unique(sharp)) == {0, 1}
    # A quarter of what surrounds a corner is lungs, and half of what surrounds an edge.
    assert 0.25 < soft[sharp == 1].min() < 0.5 and 0.3 < soft[sharp == 0].max() < 0.5


def test_the_profile_is_of_all_films_whatever_f_calls_them(folder, run):
    rows = [zone_row(f"{name}.png") for name in ("a1", "a2", "b1")]
    rows.append(zone_row("c1.png", senior_A="3", junior_A="3"))  # called negative
    write_table(folder / "covid" / "zones.csv", rows)
    seen = look(folder, run)
    np.testing.assert_allclose(seen.everybody[:, 0], [(0.5 + 3) / 2] * 2 + [(0.5 + 0.5 + 3) / 3])


def test_maps_of_many_films_are_those_of_few(folder, run, monkeypatch):
    whole = look(folder, run)
    monkeypatch.setattr(real_truth, "CHUNK", 2)
    parts = look(folder, run)
    for name in ("latent", "healthy_subspace", "latent_shift", "prior"):
        np.testing.assert_allclose(parts.maps[name], whole.maps[name], atol=1e-6)
    assert parts.reasons == whole.reasons


def test_a_blur_spreads_every_map_and_adds_nothing():
    saliency = np.zeros((1, 16, 16, 1))
    saliency[0, 8, 8] = -1.0
    sharp, soft = (real_truth.enlarge(saliency, 16, blur) for blur in (0.0, 1 / 16))
    np.testing.assert_allclose(sharp, np.abs(saliency))
    assert soft.sum() == pytest.approx(1, rel=1e-3) and soft.max() < 0.3


def test_films_of_patients_who_were_learned_from_are_left_out(folder, run):
    def margins(pixels):
        """The two films of the NIH are positive, those of training negative."""
        return (np.full(len(pixels), 1.0 if len(pixels) <= 2 else -1.0),) * 2

    positive = make_square_explainer(walk=Walker(), margins=margins)
    learned = ["normal/nih_00000007_004.png"]
    seen = look(folder, run, positive, name="nih", learned=learned)
    assert seen.counted["learned_from"] == ("pneumonia/00000007_000.png",)
    assert seen.truth.films == ("pneumonia/00000008_001.png",)
    both = [*learned, "x/00000008_000.png"]
    with pytest.raises(InputError, match="learned from the patients of all"):
        look(folder, run, positive, name="nih", learned=both)


def test_no_positive_film_ends_in_a_line(folder, run):
    negative = make_square_explainer(
        margins=lambda pixels: (-np.ones(len(pixels)), -np.ones(len(pixels)))
    )
    with pytest.raises(InputError, match="none of 4 films positive"):
        look(folder, run, negative)


def test_the_page_tells_what_was_left_out_and_which_is_true(folder, run):
    seen = look(folder, run)
    sets = {"covid": {"alone": {}, **real_truth.measure(seen)}}
    sets["covid"]["alone"] = {"readers": {"mean": 0.6, "ci95": None}}
    result = {
        "latent_path": "linear",
        "blur": 0.0,
        "audit": {"verdict": "No shortcut found outside the lungs: so much.", "flagged": False},
        "headline": real_truth.headline(sets),
        "sets": sets,
    }
    sets["covid"]["films"]["twins"] = ("b1.png",)
    text = real_truth.to_markdown({"lungs": json.loads(json.dumps(result, allow_nan=False))})
    assert "No shortcut found outside the lungs: so much." in text and "not what f uses" in text
    assert "- severity, `f`: " in text and "- severity, `reader`: " in text
    assert "Called negative by f: 1." in text and "| `profile` |" in text
    assert "b1.png is another of them under a second name" in text
    assert "#### faint, positive" in text and "`latent (ours)`" in text
    table = sets["covid"]["accepted"]["zones"]
    assert "| covid: films that f calls positive | 3 |\n| covid: of these accepted | 3 |" in text
    rival = f"{cell(table['minus_best_rival'])} `{table['best_rival']}`"
    assert f"| zones: less the best rival | {rival} |" in text
    assert "| evidence outside the lungs | – |" in text
    headline = result["headline"]
    assert headline["zone_spearman"] == table["maps"][table["ours"]]["spearman"]
    assert headline["zone_spearman_minus_profile"] == table["maps"]["profile"]["minus"]
    assert headline["zone_spearman_minus_reader"] == table["minus_reader"]


def test_where_the_gate_lets_nothing_pass_the_headline_says_so(folder, run):
    seen = look(folder, run)
    seen = dataclasses.replace(seen, reasons=["too bad"] * 3)
    found = {"covid": {"alone": {"readers": {"mean": 0.6}}, **real_truth.measure(seen)}}
    assert real_truth.headline(found)["zone_spearman"]["mean"] is None
    assert real_truth.headline(found)["real_lung_auroc_minus_prior"]["mean"] is None
    shown = real_truth.summary({"audit": {}, "sets": found})
    assert shown["covid: of these accepted"] == "0" and shown["zones: less `profile`"] == "–"
    assert found["covid"]["positive"]["zones"]["maps"]["latent"]["spearman"]["mean"] is not None


def test_a_finished_run_and_a_folder_must_be_given(tmp_path):
    options = parse(real_truth.STUDY, [f"--workdir={tmp_path}", "--out="])
    with pytest.raises(InputError, match="is not complete"):
        real_truth.configs(options)
    (tmp_path / "explain").mkdir()
    (tmp_path / "explain" / "done.json").write_text("{}")
    (tmp_path / "config.json").write_text(json.dumps(builders.make_tiny_config().to_dict()))
    section = real_truth.configs(options)["explain"]
    assert {"latent_shift", "healthy_subspace_gradients", "occlusion"} <= set(section.maps)
    assert "ray" in section.paths and "shuffled" not in section.maps
    with pytest.raises(InputError, match="--truth is missing"):
        next(real_truth.run(options))


@pytest.fixture
def finished(folder, run, tmp_path, monkeypatch):
    """What the study asks of a run's folder, and the options of a command that names it."""
    workdir = tmp_path / "run"
    report = {"audit": {"verdict": "Shortcut: all.", "flagged": True, "rule": "none"}}
    (workdir / "explain").mkdir(parents=True)
    (workdir / "explain" / "metrics.json").write_text(json.dumps(report | {"classifier": {}}))
    (workdir / "data.json").write_text(json.dumps({"contents": "films 1.0"}))
    split = make_square_split([1] * 4 + [0] * 8, seed=0)
    split["filename"] = np.array([f"data/covid/{number}.png".encode() for number in range(12)])
    splits = {"train": split, "validation": split}
    run.models = run.segmenter = None
    monkeypatch.setattr(real_truth, "load_run", lambda workdir: run)
    monkeypatch.setattr(reading, "load_splits", lambda *arguments: (splits, "films 1.0"))
    explainer = make_square_explainer(walk=Walker())
    monkeypatch.setattr(real_truth, "make_explainer", lambda *arguments, **fields: explainer)
    return [f"--truth={folder}", f"--workdir={workdir}", "--out="]


EARLIER = {"headline": {}}


def run_study(arguments) -> dict:
    options = parse(real_truth.STUDY, arguments)
    options = dataclasses.replace(options, earlier={"results": {"another": EARLIER}})
    (found,) = real_truth.run(options)
    assert found.pop("another") is EARLIER
    return found[options.workdir.name]


def test_the_study_tells_the_audit_beside_its_figures(finished):
    found = run_study([*finished, "--blur=0.125", "--ours=path aligned"])
    assert found["audit"] == {"verdict": "Shortcut: all.", "flagged": True}
    assert found["latent_path"] == "linear" and found["blur"] == 0.125
    assert found["sets"]["covid"]["accepted"]["zones"]["ours"] == "path aligned"
    assert found["sets"]["covid"]["alone"]["readers"]["images"] == 4
    json.dumps(found, allow_nan=False)


def test_a_run_that_cannot_be_held_against_the_films_is_refused(finished, folder):
    with pytest.raises(InputError, match="--sets=xray"):
        run_study([*finished, "--sets=xray"])
    (folder / "exclude_from_training.txt").write_text("covid/3.png\n")
    with pytest.raises(InputError, match="has learned from covid/3.png"):
        run_study(finished)
    (folder.parent / folder.name / "run" / "data.json").write_text('{"contents": "other"}')
    with pytest.raises(InputError, match="data have changed"):
        run_study(finished)
