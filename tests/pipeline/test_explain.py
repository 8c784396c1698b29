"""Task `explain`: which films are walked, what is written, and what is not done twice.

On films without networks: f sees how bright a square is, and all that explaining calls is NumPy.
"""

import dataclasses
import json
from collections import Counter
from pathlib import Path

import ml_collections
import numpy as np
import pytest
from builders import (
    NUM_SQUARE_STEPS,
    SIDE,
    classify_squares,
    invert_squares,
    make_guide,
    make_square_explainer,
    make_square_split,
    make_thresholds,
    spoil_squares,
)

from cxr_jax.configs import base, phantom
from cxr_jax.explain import maps
from cxr_jax.explain.explained import Calibration, Explained
from cxr_jax.explain.films import Films
from cxr_jax.metrics import Bootstrap
from cxr_jax.networks import restore
from cxr_jax.pipeline import explain
from cxr_jax.report.page.content import Page
from cxr_jax.report.tables import NONE_COVERED
from cxr_jax.runtime import workdir

CALIBRATION = Calibration(
    thresholds=make_thresholds(positive=3.0, negative=-1.0, lung_error=0.0, film_error=0.0),
    guide=make_guide(num_class=1),
    reach=1.0,
    path="linear",
)


@pytest.fixture
def section():
    section = base.get_config().explain
    section.update(dict(num_images=8, walk_steps=NUM_SQUARE_STEPS))
    return section


@pytest.fixture
def splits() -> dict[str, dict[str, np.ndarray]]:
    return {
        "train": make_square_split(np.arange(100) % 2, seed=0),
        "validation": make_square_split([1, 0, 0, 1, 1, 0, 0, 1, 0, 1], seed=1),
        "test": make_square_split([0, 1, 0, 1, 0, 1, 1, 0, 0, 1], seed=2),
    }


def test_the_made_up_films_are_what_they_say(splits):
    test = splits["test"]
    margin, judge_margin = make_square_explainer().margins(test["image"])
    np.testing.assert_array_equal(margin > 0, test["label"] == 1)
    np.testing.assert_allclose(judge_margin, margin / 2)
    assert len(np.unique(margin[margin > 0])) == 5


# The test films.


def explain_test(splits, section, calibration=CALIBRATION, **fields) -> Explained:
    return explain.explain_test(
        make_square_explainer(**fields), splits["test"], calibration, section=section
    )


def test_films_are_walked_from_both_sides_and_only_those_that_pass(splits, section):
    # Chosen are rows 0 to 7; of these 1, 3, 5 and 6 are positive.
    done = explain_test(splits, section, invert=spoil_squares(0, 3))
    np.testing.assert_array_equal(done.rows, np.arange(8))
    assert [row for row, reason in enumerate(done.reasons) if reason] == [0, 3]
    assert done.coverage == {"pos_to_neg": 0.75, "neg_to_pos": 0.75}
    for direction, rows in (("pos_to_neg", [1, 5, 6]), ("neg_to_pos", [2, 4, 7])):
        group = done.groups[direction]
        image = splits["test"]["image"][rows].astype(np.float32) / 127.5 - 1
        np.testing.assert_array_equal(group.films.image, image)
        np.testing.assert_array_equal(
            group.truth["lesion_mask"], splits["test"]["lesion_mask"][rows]
        )
        assert group.towards == (1 if direction == "neg_to_pos" else -1)
        end = group.walks["aligned"].walk.margin[:, -1]
        assert (end > 0).all() if direction == "neg_to_pos" else (end < 0).all()
    assert done.rmse[[0, 3]].min() > 5 and done.rmse[[1, 2, 4, 5, 6, 7]].max() == 0


def upper_half(image) -> np.ndarray:
    """The lungs that a segmenter finds, or what a classifier is shown."""
    mask = np.zeros(image.shape, bool)
    mask[:, : image.shape[1] // 2] = True
    return mask


def test_errors_are_told_of_films_and_of_where_the_gate_looked(splits, section):
    def invert(pixels) -> Films:
        films = invert_squares(pixels)
        drawn = films.drawn.copy()
        drawn[:, : drawn.shape[1] // 2] += 0.5
        return films.replace(drawn=drawn)

    done = explain_test(splits, section, invert=invert, find_lungs=upper_half)
    np.testing.assert_allclose(done.lung_rmse, 0.5, rtol=1e-5)
    np.testing.assert_allclose(done.rmse, 0.5 / 2**0.5, rtol=1e-5)
    done = explain_test(splits, section, invert=invert)
    np.testing.assert_array_equal(done.lung_rmse, done.rmse)


def test_what_lies_beyond_what_f_is_shown_of_a_film_is_told(splits, section):
    config = base.get_config()
    config.classifier.visible = "lungs"
    done = explain_test(splits, section)
    rows = len(done.groups["pos_to_neg"].films.image)
    made = {"latent": np.ones((rows, *splits["test"]["image"].shape[1:]), np.float32)}
    each, table = explain.score_blind(
        config,
        make_square_explainer(seen=upper_half),
        done,
        made=made,
        path="linear",
        bootstrap=Bootstrap(resamples=100, seed=0),
    )
    np.testing.assert_allclose(each["blind_maps"]["latent"]["share"], 0.5)
    assert table["used"] == "lungs" and table["maps"]["latent"]["mean"] == 0.5
    assert each["blind_neg_to_pos"].keys() == done.groups["neg_to_pos"].walks.keys()
    explainer = make_square_explainer()
    some = dict(made=made, path="linear", bootstrap=Bootstrap(resamples=9, seed=0))
    nothing = explain.score_blind(base.get_config(), explainer, done, **some)
    assert nothing == ({}, {"used": ""})
    rejected = dataclasses.replace(done, coverage={"pos_to_neg": 0.0, "neg_to_pos": 1.0})
    _, table = explain.score_blind(config, make_square_explainer(seen=upper_half), rejected, **some)
    assert table["maps"] == table["pos_to_neg"] == {} and table["reason"] == NONE_COVERED
    assert table["neg_to_pos"]["linear"]["images"] > 0


def test_where_none_passes_all_are_walked_and_the_coverage_says_so(splits, section):
    positives = np.flatnonzero(splits["test"]["label"][:8])
    done = explain_test(splits, section, invert=spoil_squares(*positives))
    assert done.coverage == {"pos_to_neg": 0.0, "neg_to_pos": 1.0}
    assert len(done.groups["pos_to_neg"].films.margin) == 4


def test_a_margin_of_zero_is_a_negative_and_walked_from_one_side(splits, section):
    def undecided(pixels):
        films = invert_squares(pixels)
        margin = np.maximum(films.margin, 0)
        return films.replace(margin=margin, drawn_margin=0 * margin)

    lenient = Calibration(
        thresholds=make_thresholds(gap=1e9), guide=CALIBRATION.guide, reach=1.0, path="linear"
    )
    done = explain_test(splits, section, lenient, invert=undecided)
    walked = {name: group.truth["row"].tolist() for name, group in done.groups.items()}
    assert walked == {"pos_to_neg": [1, 3, 5, 6], "neg_to_pos": [0, 2, 4, 7]}


def test_what_f_says_of_every_test_film_is_kept(splits, section):
    section.num_images = 4
    done = explain_test(splits, section)
    assert len(done.rows) == 4
    expected, _ = make_square_explainer().margins(splits["test"]["image"])
    np.testing.assert_array_equal(done.margin, expected)


def test_skipped_films_are_not_explained(splits, section):
    section.update(dict(num_images=4, num_skipped=2))
    done = explain_test(splits, section)
    np.testing.assert_array_equal(done.rows, [4, 5, 6, 7])


def test_named_films_are_explained_first(splits, section):
    section.update(dict(num_images=4, films=("patient9", "patient8")))
    done = explain_test(splits, section)
    np.testing.assert_array_equal(done.rows, [9, 8, 0, 1])


def test_maps_are_made_of_the_positives_and_the_chosen_path(splits, section):
    group = explain_test(splits, section).groups["pos_to_neg"]
    explainer, train = make_square_explainer(), splits["train"]
    inputs = explain.map_inputs(explainer, group, CALIBRATION, train=train, seed=0)
    assert inputs.stopped is group.walks["linear"] and inputs.films is group.films
    assert inputs.walks.keys() == {"linear", "aligned", "pixel"}
    np.testing.assert_array_equal(inputs.train_lesions, splits["train"]["lesion_mask"])
    unknown = {"image": train["image"]}
    inputs = explain.map_inputs(explainer, group, CALIBRATION, train=unknown, seed=0)
    assert inputs.train_lesions is None
    margin, _ = explainer.margins((inputs.healthy + 1) * 127.5)
    assert 0 < len(margin) < len(train["image"]) and (margin <= 0).all()


def test_the_papers_figure_goes_from_no_class_latent_to_the_whole():
    """Frame by frame in tenths, each film's own; f is asked about what is drawn."""
    films = invert_squares(make_square_split([1, 1, 0], seed=1)["image"])
    frames, margin = explain.interpolate(make_square_explainer(), films, 2.0)
    assert frames.shape == (3, 11, SIDE, SIDE, 1) and margin.shape == (3, 11)
    drawn = np.tanh(np.arange(11) / 10 * films.z_class)
    np.testing.assert_allclose(frames[:, :, 0, 0, 0], drawn, atol=1e-6)
    expected = classify_squares(frames.reshape(33, SIDE, SIDE, 1)).reshape(3, 11)
    np.testing.assert_allclose(margin, expected)


def test_below_the_papers_figure_are_patients_of_the_prior():
    """With a finding that f shall answer as it does most positives."""
    films, asked = invert_squares(make_square_split([1, 0], seed=1)["image"]), []

    def draw_latents(patient, finding, margin):
        asked.append((patient.tolist(), finding.tolist(), margin.tolist()))
        return np.zeros((3, films.z_structure.shape[1])), margin[:, None] * [[1.0]]

    explainer = make_square_explainer(draw_latents=draw_latents)
    frames, _ = explain.interpolate(explainer, films, 2.0)
    assert asked == [([0, 1, 2], [0, 1, 2], [2.0, 2.0, 2.0])]
    assert len(frames) == 5
    np.testing.assert_allclose(frames[2:, -1, 0, 0, 0], np.tanh(2.0), atol=1e-6)


# All of it.


class Run:
    """Explains the made-up films, whose first is drawn wrongly, and counts what that takes.

    Attributes:
      digests: of the models, which `retrain` changes.
      counts: how often the models were loaded, and how often they were calibrated.
    """

    def __init__(self, directory: Path, splits, monkeypatch):
        self.directory, self.splits = directory, splits
        self.config = phantom.get_config("tiny")
        self.config.data.name = "cxr_folder"  # squares cannot be rendered without what is on them
        self.config.explain.update(
            dict(
                paths=("linear", "aligned", "pixel"),
                maps=("latent", "shuffled", "gradient", "prior", "oracle", "grad_cam"),
                bootstrap=50,
                num_figure_rows=1,
                walk_steps=NUM_SQUARE_STEPS,
            )
        )
        self.digests, self.counts = {"gan": "first"}, Counter()
        calibrate = explain.calibrate

        def load(config: ml_collections.ConfigDict, workdir: Path):
            self.counts["loaded"] += 1
            missing = {"grad_cam": maps.NO_FEATURES}
            return make_square_explainer(invert=spoil_squares(0), missing_maps=missing)

        def count(*arguments, **more):
            self.counts["calibrated"] += 1
            return calibrate(*arguments, **more)

        monkeypatch.setattr(explain, "load_explainer", load)
        monkeypatch.setattr(explain, "calibrate", count)
        monkeypatch.setattr(restore, "digests", lambda config, workdir: dict(self.digests))
        workdir.claim_workdir(directory, self.config, "made_up/1.0.0")
        figures = {"classifier": {"auroc": 0.9}, "judge": {"auroc": 0.8}, "errors": {"both": 1}}
        workdir.mark_done(directory / "classifier", **figures)

    def __call__(self, **fields) -> dict[str, int]:
        """Explains with some fields of `config.explain` changed; what that took."""
        self.config.explain.update(fields)
        before = Counter(self.counts)
        explain.run(self.config, self.directory, self.splits)
        return dict(self.counts - before)

    def report(self) -> dict:
        """metrics.json, without the NaN that no other reader knows."""
        text = (self.directory / "explain" / "metrics.json").read_text()
        return json.loads(text, parse_constant=lambda name: pytest.fail(name))


@pytest.fixture
def run(tmp_path, splits, monkeypatch) -> Run:
    return Run(tmp_path, splits, monkeypatch)


def test_a_run_writes_tables_that_hold_together(run):
    assert run() == {"loaded": 1, "calibrated": 1}
    report, directory = run.report(), run.directory / "explain"
    assert report["images"] == 8 and report["coverage"] == 7 / 8
    assert [film["id"] for film in report["rejected"]] == ["patient0"]
    assert report["coverage_by_direction"] == {"pos_to_neg": 1.0, "neg_to_pos": 0.75}
    assert (report["gate_share"]["mean"], report["gate_share"]["whole_films"]) == (1.0, 8)
    assert report["latent_path"] == "aligned"
    assert (report["classifier"], report["judge"]) == ({"auroc": 0.9}, {"auroc": 0.8})
    assert report["paths"].keys() == {"linear", "aligned", "pixel"}
    made = ["latent", "gradient", "prior", "shuffled", "oracle"]
    assert list(report["maps"]) == [*made, "grad_cam"]
    assert report["maps"]["grad_cam"]["iou"] == {"mean": None, "reason": maps.NO_FEATURES}
    assert report["maps"]["latent"]["on_target"]["mean"] == pytest.approx(1.0)
    assert report["disentanglement"]["margin"].keys() == {"z_structure", "z_class", "both"}
    # f sees nothing but the square, and the walks that are audited change nothing else.
    assert report["audit"]["verdict"].startswith("No verdict"), "without a segmenter"
    audited = report["audit_true_masks"]
    assert not audited["flagged"] and audited["outside_share"]["mean"] == pytest.approx(0)
    assert audited["evidence"]["lesions"]["mean"] > 1
    assert audited["agreement"]["rank_correlation"] > 0.9
    # What is kept film by film is what the tables are means of.
    with np.load(directory / "scores.npz") as kept:
        for name in made:
            mean = kept[f"maps/{name}/on_target"].mean()
            assert report["maps"][name]["on_target"]["mean"] == pytest.approx(mean)
        for path, table in report["paths"].items():
            for direction, rows in (("pos_to_neg", 4), ("neg_to_pos", 3)):
                rate = table[direction]["flip_rate"]
                if rate["mean"] is not None:
                    flips = kept[f"{direction}/{path}/flip_rate"]
                    assert len(flips) == rate["images"] == rows
                    assert rate["mean"] == pytest.approx(flips.mean())
    with np.load(directory / "walks.npz") as walks:
        np.testing.assert_array_equal(walks["rows"], np.arange(8))
        np.testing.assert_array_equal(walks["covered"], np.arange(8) != 0)
        np.testing.assert_array_equal(walks["pos_to_neg/row"], [1, 3, 5, 6])
        np.testing.assert_array_equal(walks["neg_to_pos/row"], [2, 4, 7])
    figures = {path.name for path in (directory / "figures").iterdir()}
    assert figures >= {"interpolation.png", "audit.png", "traversal_pos_to_neg_pixel.png"}
    assert {name for name in figures if name.endswith(".gif")} == {
        "walk_pos_to_neg_01.gif",
        "walk_neg_to_pos_01.gif",
    }
    with np.load(directory / "maps.npz") as kept:
        np.testing.assert_array_equal(kept["row"], [1, 3, 5, 6])
        assert kept["latent"].shape == (4, SIDE, SIDE, 1)


def keep_pages(monkeypatch) -> list[tuple[Path, Page]]:
    """What `save_page` is given from now on; nothing is drawn, which takes long."""
    made = []
    for name in ("save_figures", "save_audit", "save_interpolation", "save_animations"):
        monkeypatch.setattr(explain, name, lambda *arguments, **more: None)
    monkeypatch.setattr(explain, "save_page", lambda path, page, style: made.append((path, page)))
    return made


def test_a_runs_page_is_the_same_from_memory_and_from_disk(run, monkeypatch):
    made = keep_pages(monkeypatch)
    run(num_page_films=5)
    ((path, page),) = made
    directory = run.directory / "explain"
    assert path == directory / "report.html"
    assert [film.name for film in page.films] == [f"patient{row}" for row in (1, 3, 5, 2, 4)]
    assert page.num_explained == 7 and page.rejected[0][0] == "patient0"
    assert page.coverage.startswith("7 of 8 films passed the gate (100% of those that f calls pos")
    assert [len(table.rows) for table in page.tables] == [6, 6, 2]
    with np.load(directory / "walks.npz") as walks:
        for film, row in zip(page.films[:2], (0, 1), strict=True):
            assert film.towards == -1 and list(film.masks) == ["lesion_mask", "lung_mask"]
            assert list(film.maps) == ["gradient", "prior", "shuffled", "oracle"]
            assert [path.name for path in film.paths] == ["aligned", "linear", "pixel"]
            for shown, name in zip(film.paths, ("aligned", "linear", "pixel"), strict=True):
                kept = {n: walks[f"pos_to_neg/{name}/{n}"][row] for n in ("carried", "frame")}
                np.testing.assert_array_equal(shown.frames, kept["carried"][..., 0])
                assert shown.stop == kept["frame"]
                assert shown.target == run.report()["thresholds"]["negative"]


def test_a_run_whose_films_all_fail_shows_them_with_the_reason(run, monkeypatch):
    made = keep_pages(monkeypatch)
    spoilt = make_square_explainer(invert=spoil_squares(*range(8)))
    calibration = Calibration(
        thresholds=make_thresholds(positive=3.0, negative=-1.0),
        guide=make_guide(num_class=1),
        reach=1.0,
        path="linear",
    )
    monkeypatch.setattr(explain, "load_explainer", lambda config, workdir: spoilt)
    monkeypatch.setattr(explain, "calibrate_once", lambda *arguments, **more: calibration)
    run()
    ((path, page),) = made
    assert len(page.films) == 8 and all("f differs" in film.reason for film in page.films)
    report = json.loads((path.parent / "metrics.json").read_text())
    assert report["coverage"] == 0
    assert report["deletion"] == {"counterfactual": "linear", "maps": {}, "reason": NONE_COVERED}
    assert report["faithfulness"]["maps"] == report["faithfulness"]["paths"] == {}


def test_what_is_done_is_done_again_only_where_something_has_changed(run, monkeypatch):
    monkeypatch.setattr(explain, "write", lambda *arguments, **more: None)  # pictures take long
    again = {"loaded": 1}
    anew = {"loaded": 1, "calibrated": 1}
    assert run() == anew
    assert run() == {}
    # Other films or another account of them leave what validation films decided.
    assert run(bootstrap=40) == again
    assert run(num_images=6, maps=("latent",), films=("patient8",)) == again
    assert run() == {}
    # Other walks do not, nor does another model.
    assert run(walk_steps=2 * NUM_SQUARE_STEPS) == anew
    run.digests["gan"] = "second"
    assert run() == anew
    assert run(num_figure_rows=2) == again


def test_an_explanation_of_an_earlier_version_is_made_anew(run, monkeypatch):
    monkeypatch.setattr(explain, "write", lambda *arguments, **more: None)
    run()
    path = run.directory / "explain" / "calibration.npz"
    with np.load(path) as arrays:
        kept = {name: arrays[name] for name in ("ends", "direction")}
    np.savez(path, **kept)
    assert run() == {"loaded": 1, "calibrated": 1}
    assert run() == {}


def test_asking_for_another_path_calibrates_anew(run, monkeypatch):
    """So that a guide without the direction of `global` is never asked for it."""
    monkeypatch.setattr(explain, "write", lambda *arguments, **more: None)
    run()
    assert run(paths=("linear", "aligned", "pixel", "global")) == {"loaded": 1, "calibrated": 1}
    with np.load(run.directory / "explain" / "calibration.npz") as arrays:
        assert arrays["direction"].any()


def test_a_stored_calibration_is_what_films_are_explained_by(run, monkeypatch):
    monkeypatch.setattr(explain, "write", lambda *arguments, **more: None)
    run()
    path = run.directory / "explain" / "calibration.json"
    stored = json.loads(path.read_text())
    stored["path"], stored["thresholds"]["negative"] = "linear", -2.5
    path.write_text(json.dumps(stored))
    found = []
    monkeypatch.setattr(explain, "write", lambda *arguments, **more: found.append(arguments[2]))
    assert run(bootstrap=40) == {"loaded": 1}
    (report,) = found
    assert report.metrics["latent_path"] == "linear"
    assert report.metrics["thresholds"]["negative"] == -2.5


def test_an_explanation_leaves_no_figure_of_an_earlier_choice_of_paths(run, monkeypatch):
    draw = lambda directory, *arguments, **more: (directory / "changes.png").touch()
    monkeypatch.setattr(explain, "save_figures", draw)
    for name in ("save_audit", "save_interpolation"):
        monkeypatch.setattr(explain, name, lambda *arguments, **more: None)
    run()
    figures = run.directory / "explain" / "figures"
    (figures / "traversal_pos_to_neg_ray.png").touch()
    run(bootstrap=40)
    names = {path.name for path in figures.iterdir()}
    assert "traversal_pos_to_neg_ray.png" not in names and "changes.png" in names
