"""What explaining decides: names, films, thresholds, lengths, the path of the map, and the maps.

On films without networks: f sees how bright a square is, and every function of `Tools` is NumPy.
"""

import json
import logging
import os

import numpy as np
import pytest

from cxr_jax.configs import base
from cxr_jax.configs.phantom import get_config
from cxr_jax.pipeline import explain
from cxr_jax.explain import maps
from cxr_jax.explain import paths
from cxr_jax.runtime import workdir
from cxr_jax.evaluate import scores
from cxr_jax.data.arrays import to_unit_range
from cxr_jax.explain.explained import Group
from cxr_jax.explain.films import Films
from cxr_jax.explain.films import Thresholds
from cxr_jax.explain.films import rms
from cxr_jax.explain.explainer import Tools
from cxr_jax.explain.traversal import Walk
from cxr_jax.errors import InputError

SIDE, K = 8, 4
DARK, BRIGHT = 60, 160  # of the square in negatives and positives; f says positive from 110 on


@pytest.fixture
def config():
    config = base.get_config()
    config.explain.update(dict(validation_images=8, images=8, walk_steps=K, gate_percentile=100.0))
    return config


@pytest.fixture
def section(config):
    return config.explain


# Names.


def refused(config) -> str:
    with pytest.raises(InputError) as raised:
        check_explain(config)
    text = str(raised.value)
    assert "\n" not in text and len(text) < 400
    return text


def test_every_path_and_map_there_is_may_be_asked_for(config):
    config.explain.paths, config.explain.maps = paths.NAMES, maps.NAMES
    assert "'robust'" in refused(config)
    config.evaluators.names = ("robust",)
    check_explain(config)
    for variant in ("", "tiny", "full"):
        check_explain(get_config(variant))


def test_a_change_can_only_be_kept_from_an_encoders_guess(config):
    config.explain.inversion.start = "origin"
    assert "keep_change is True" in refused(config)
    config.explain.inversion.keep_change = False
    check_explain(config)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("paths", ("linear", "curved"), "'curved'"),
        ("maps", ("latent", "deep_lift"), "'deep_lift'"),
        ("paths", ("linear", "linear_best"), "'linear_best'"),  # a row of the table, not a path
        ("paths", ("aligned",), "'linear'"),
        ("paths", ("linear", "chord"), "'aligned'"),
        ("maps", ("latent", "pixel"), "'pixel'"),
        ("maps", ("residual",), "'latent'"),
    ],
)
def test_a_wrong_name_is_refused_by_its_field(config, field, value, named):
    config.explain[field] = value
    text = refused(config)
    # Map `pixel` is fine in itself: the path that it is read from is missing.
    field = "paths" if "pixel" in value else field
    assert f"config.explain.{field}" in text and named in text


def test_an_unknown_name_is_answered_with_the_known_ones(config):
    section = config.explain
    section.paths = ("linear", "curved")
    assert ", ".join(paths.NAMES) in refused(config)
    section.paths, section.maps = ("linear",), ("latent", "curved")
    assert ", ".join(maps.NAMES) in refused(config)


# Films.


def test_choose_takes_the_first_of_each_decision():
    margin = np.array([-1.0, 2.0, 3.0, -2.0, 0.0, 1.0, 4.0, -5.0])
    np.testing.assert_array_equal(choose(margin, 4), [0, 1, 2, 3])
    np.testing.assert_array_equal(choose(margin, 5), [0, 1, 2, 3])
    np.testing.assert_array_equal(choose(margin, 100), np.arange(8))
    np.testing.assert_array_equal(choose(margin, 4, skip=2), [4, 5, 6, 7])  # 0 is negative
    np.testing.assert_array_equal(choose(margin, 4, skip=3), [6, 7])


def test_named_films_are_chosen_first_and_count():
    margin = np.array([-1.0, 2.0, 3.0, -2.0, 0.0, 1.0, 4.0, -5.0])
    np.testing.assert_array_equal(choose(margin, 4, named=[7, 6]), [7, 6, 0, 1])
    np.testing.assert_array_equal(choose(margin, 4, named=[6], skip=1), [6, 2, 3, 4])
    # More than half of `count` of one decision: they all come, and of the other as many as ever.
    np.testing.assert_array_equal(choose(margin, 4, named=[6, 5, 2]), [6, 5, 2, 0, 3])
    np.testing.assert_array_equal(choose(margin, 4, named=[6, 0], skip=9), [6, 0])


def test_films_are_found_by_their_names():
    names = {"filename": np.array([b"a/1.png", b"a/2.png", b"b/1.png"])}
    np.testing.assert_array_equal(find_films(names, ("b/1.png", "a/1.png")), [2, 0])
    np.testing.assert_array_equal(find_films(names, ("a/2.png", "a/2.png")), [1])
    assert len(find_films(names, ())) == 0
    with pytest.raises(InputError, match="films has 'b/2.png'.* the nearest are .*b/1.png"):
        find_films(names, ("a/1.png", "b/2.png"))


def test_skipped_films_are_those_chosen_before():
    margin = np.random.default_rng(0).normal(size=60)
    parts = [choose(margin, 8, skip) for skip in (0, 4, 8)]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), choose(margin, 24))
    assert all((margin[rows] > 0).sum() == 4 for rows in parts)


@pytest.mark.parametrize(
    ("margin", "skip", "named"),
    [
        ([1.0, 2.0], 0, "2 of 2"),
        ([-1.0, -2.0, 0.0], 0, "0 of 3"),
        ([1.0, -1.0, -2.0, -3.0], 1, "skipping 1"),
    ],
)
def test_choose_needs_films_of_both_decisions(margin, skip, named):
    with pytest.raises(InputError, match=named):
        choose(np.array(margin), 4, skip)


def test_lungs_are_the_whole_film_where_none_are_known():
    masks = np.zeros((3, SIDE, SIDE, 1), np.uint8)
    masks[1, 2:4] = 255
    arrays = {"image": masks, "lung_mask": masks}
    lungs = lungs_of(make_tools(), arrays, np.array([2, 1]))
    assert lungs.dtype == bool and lungs[0].all()
    np.testing.assert_array_equal(lungs[1], masks[1] > 0)
    assert lungs_of(make_tools(), {"image": masks}, np.array([0, 1])).all()


def test_a_film_in_which_the_segmenter_finds_no_lungs_is_judged_whole():
    masks = np.zeros((2, SIDE, SIDE, 1), np.uint8)
    masks[1, 2:4] = 255
    arrays = {"image": masks, "has_lung_mask": np.zeros(2, bool)}
    lungs = lungs_of(make_tools(lungs=lambda image: image > 0), arrays, np.arange(2))
    assert lungs[0].all()
    np.testing.assert_array_equal(lungs[1], masks[1] > 0)


def test_truths_are_those_of_the_rows_and_twins_are_on_the_scale_of_films():
    twin = np.array([0, 255, 51], np.uint8).reshape(3, 1, 1, 1)
    arrays = {"twin": twin, "without_marker": twin, "severity": np.arange(3.0)}
    truth = truth_of(arrays, np.array([2, 0]))
    for name in ("twin", "without_marker"):
        np.testing.assert_allclose(truth[name].ravel(), [-0.6, -1.0], atol=1e-6)
    np.testing.assert_array_equal(truth["row"], [2, 0])
    np.testing.assert_array_equal(truth["severity"], [2, 0])
    assert "twin" not in truth_of({"severity": np.arange(3.0)}, np.array([0]))


def test_where_only_some_films_have_masks_one_segmenter_finds_all_lungs():
    masks = np.zeros((3, 4, 4, 1), np.uint8)
    masks[1, :2] = 255
    bright = lambda image: image > 0
    arrays = {"image": 255 - masks, "lung_mask": masks}
    mixed = arrays | {"has_lung_mask": np.array([False, True, False])}
    rows, tools = np.array([1, 2]), make_tools(lungs=bright)
    np.testing.assert_array_equal(lungs_of(tools, mixed, rows), arrays["image"][rows] > 0)
    np.testing.assert_array_equal(lungs_of(tools, arrays, rows)[0], masks[1] > 0)


def test_the_papers_figure_goes_from_no_class_latent_to_the_whole():
    """Frame by frame in tenths, each film's own; f is asked about what is drawn."""
    films = invert(make_split([1, 1, 0], seed=1)["image"])
    frames, margin = explain.interpolate(make_tools(), films)
    assert frames.shape == (3, 11, SIDE, SIDE, 1) and margin.shape == (3, 11)
    shares = np.arange(11) / 10
    drawn = np.tanh(shares * films.severity)
    np.testing.assert_allclose(frames[:, :, 0, 0, 0], drawn, atol=1e-6)
    np.testing.assert_allclose(margin, classify(frames.reshape(33, SIDE, SIDE, 1)).reshape(3, 11))


# A data set and tools for it.


def make_split(positive, seed: int) -> dict[str, np.ndarray]:
    """Films with a square that is bright in positives; each positive has another brightness."""
    rng = np.random.default_rng(seed)
    positive = np.asarray(positive, bool)
    rows = len(positive)
    twin = np.uint8(rng.integers(50, 70, (rows, SIDE, SIDE, 1)))
    twin[:, 2:4, 2:4] = DARK
    lesion = np.zeros_like(twin)
    lesion[positive, 2:4, 2:4] = 255
    image = twin + np.uint8(lesion > 0) * np.uint8(BRIGHT - DARK + np.arange(rows)).reshape(
        -1, 1, 1, 1
    )
    return {
        "image": image,
        "label": positive.astype(int),
        "twin": twin,
        "severity": positive * 1.0,
        "lesion_mask": lesion,
        "lung_mask": np.full_like(twin, 255),
        "lookalike_mask": np.zeros_like(twin),
        "marker_mask": np.zeros_like(twin),
        "without_marker": image,
        "without_both": twin,
        "patient_id": np.array([f"patient{i}".encode() for i in range(rows)]),
    }


def classify(image) -> np.ndarray:
    """From about -4 for a dark square to about 4 for a bright one."""
    return 10 * (image[:, 2:4, 2:4].mean(axis=(1, 2, 3)) + 0.135)


def without_square(image) -> np.ndarray:
    origin = image.copy()
    origin[:, 2:4, 2:4] = DARK / 127.5 - 1
    return origin


def invert(pixels) -> Films:
    """Perfect reconstructions; z_class is the margin of positives, and 0 for negatives."""
    image = pixels.astype(np.float32) / 127.5 - 1
    margin = classify(image)
    return Films(
        image=image,
        margin=margin,
        judged=margin / 2,
        structure=np.zeros((len(image), 3), np.float32),
        severity=np.float32(np.maximum(margin, 0))[:, None],
        drawn=image,
        drawn_margin=margin,
        drawn_judged=margin / 2,
        origin=without_square(image),
    )


def follow(image, end) -> Walk:
    t = np.linspace(0, 1, K + 1, dtype=np.float32).reshape(1, -1, 1, 1, 1)
    carried = image[:, None] + t * (end - image)[:, None]
    margin = np.stack([classify(frames) for frames in carried])
    return Walk(
        points=np.zeros((len(image), K + 1, 1)),
        drawn=carried,
        carried=carried,
        margin=margin,
        judged=margin / 2,
        drawn_margin=margin,
        distance=np.sqrt(np.square(carried - carried[:, :1]).mean(axis=(2, 3, 4))),
    )


def walk(guide, films, towards, thresholds) -> dict[str, list[Walk]]:
    """`linear` mends the square and brightens a corner, `aligned` overdoes it, `pixel` does it."""
    end = without_square(films.image)
    if towards > 0:
        end[:, 2:4, 2:4] = 0.4
    harmed, overdone = end.copy(), end.copy()
    harmed[:, 6:, 6:] += 0.5
    overdone[:, 2:4, 2:4] += 0.02 * towards
    return {
        "linear": [follow(films.image, harmed)],
        "aligned": [follow(films.image, overdone)],
        "pixel": [follow(films.image, end)],
    }


def make_tools(**fields) -> Tools:
    tools = Tools(
        margins=lambda pixels: (
            classify(pixels / 127.5 - 1),
            classify(pixels / 127.5 - 1) / 2,
        ),
        classify=classify,
        invert=invert,
        draw=lambda structure, severity: (
            np.tanh(severity)[:, :, None, None] * np.ones((1, SIDE, SIDE, 1), np.float32)
        ),
        walk=walk,
        unit_gradient=lambda films: np.ones_like(films.severity),
        baselines={
            "gradient": lambda image: 0 * image + 1.0,
            "grad_cam": lambda image: 0 * image + 2.0,
        },
        occlude=lambda film, other: 4 + 3 * film + other,
        along_walk=lambda walked, end: np.full_like(walked.carried[:, 0], -0.5),
        anogan=lambda films: 0 * films.image + 3.0,
        lungs=None,
        features=None,
        reasons={"segmenter": "none", "regressor": "none"},
    )
    return tools._replace(**fields)


@pytest.fixture
def splits() -> dict[str, dict[str, np.ndarray]]:
    return {
        "train": make_split(np.arange(100) % 2, seed=0),
        "validation": make_split([1, 0, 0, 1, 1, 0, 0, 1, 0, 1], seed=1),
        "test": make_split([0, 1, 0, 1, 0, 1, 1, 0, 0, 1], seed=2),
    }


def test_the_made_up_films_are_what_they_say(splits):
    test = splits["test"]
    margin, judged = make_tools().margins(test["image"])
    np.testing.assert_array_equal(margin > 0, test["label"] == 1)
    np.testing.assert_allclose(judged, margin / 2)
    assert len(np.unique(margin[margin > 0])) == 5


# What validation and training films decide.


def spoil(*rows: int):
    """An `invert` that draws some films far too bright, with origins far away."""

    def spoilt(pixels) -> Films:
        films = invert(pixels)
        for name in ("drawn_margin", "drawn"):
            array = getattr(films, name).copy()
            array[list(rows)] += 10
            films = films._replace(**{name: array})
        return films

    return spoilt


def test_calibration_by_hand(splits, section):
    known = calibrate(make_tools(), splits, section, seed=0)
    margin = classify(splits["validation"]["image"] / 127.5 - 1)
    label = splits["validation"]["label"]
    # All films set the margins; eight of them, four of each, are inverted.
    assert known.thresholds.gap == pytest.approx(
        margin[label == 1].mean() - margin[label == 0].mean()
    )
    assert known.thresholds.judged_gap == pytest.approx(known.thresholds.gap / 2)
    assert known.thresholds.positive == pytest.approx(np.median(margin[label == 1]))
    assert known.thresholds.negative == pytest.approx(np.median(margin[label == 0]))
    assert known.thresholds.lung_error == 0.0
    rows = np.flatnonzero(label)[:4]
    change = (
        splits["validation"]["image"][rows].astype(float) - splits["validation"]["twin"][rows]
    ) / 127.5
    assert known.reach == pytest.approx(np.median(rms(change)), rel=1e-5)
    assert known.guide.step_length == pytest.approx(section.aligned_reach * known.reach / K)
    # `linear` harms a corner; `pixel` is better than `aligned` but no path of the latent space.
    assert known.path == "aligned"


def test_rejected_validation_films_set_no_lengths(splits, section):
    plain = calibrate(make_tools(), splits, section, seed=0)
    # Row 7 of the chosen [0, 1, 2, 3, 4, 5, 6, 7] is a positive.
    spoilt = calibrate(make_tools(invert=spoil(7)), splits, section, seed=0)
    change = (
        splits["validation"]["image"][[0, 3, 4]] - 1.0 * splits["validation"]["twin"][[0, 3, 4]]
    )
    assert spoilt.reach == pytest.approx(np.median(rms(change / 127.5)), rel=1e-5)
    assert spoilt.reach != plain.reach


def test_a_gate_that_rejects_all_is_told_and_does_not_end_the_run(splits, section, caplog):
    section.gate_percentile = 0.0
    with caplog.at_level(logging.WARNING, "cxr_jax.explain"):
        known = calibrate(make_tools(invert=spoil(*range(8))), splits, section, seed=0)
    assert "rejects every validation positive" in caplog.text
    assert known.reach > 5  # the spoilt ones


def test_a_classifier_that_says_the_opposite_of_the_labels_is_told(splits, section, caplog):
    splits["validation"]["label"] = 1 - splits["validation"]["label"]
    with caplog.at_level(logging.WARNING, "cxr_jax.explain"):
        known = calibrate(make_tools(), splits, section, seed=0)
    assert "f says" in caplog.text and "h says" in caplog.text
    assert known.thresholds.gap > 0 and known.thresholds.judged_gap > 0


def test_ends_are_of_training_films_that_f_calls_positive(splits):
    train = splits["train"]
    doubtful = np.flatnonzero(train["label"])[::2]
    train["image"][doubtful] = train["twin"][doubtful]  # labelled positive, but f sees nothing
    seen = []

    def gradient(films):
        seen.append(films)
        return np.stack([films.margin, 0 * films.margin], axis=1)

    ends, direction = guide_films(make_tools(unit_gradient=gradient), train, seed=0)
    assert ends.shape == (NUM_ENDS, 1) and (ends > 0).all()
    assert len(np.unique(ends)) == NUM_ENDS
    positives, negatives = seen  # by label
    assert len(positives.margin) == NUM_GUIDES and (positives.margin <= 0).any()
    assert (negatives.margin <= 0).all()
    margin = np.concatenate([positives.margin, negatives.margin])
    np.testing.assert_allclose(direction, [margin.mean(), 0], rtol=1e-5)
    again, _ = guide_films(make_tools(unit_gradient=gradient), train, seed=0)
    other, _ = guide_films(make_tools(unit_gradient=gradient), train, seed=1)
    np.testing.assert_array_equal(again, ends)
    assert set(other.ravel()) != set(ends.ravel())


def test_no_training_positive_is_left_to_walk_to(splits):
    train = splits["train"]
    train["image"] = train["twin"]
    with pytest.raises(InputError, match="training"):
        guide_films(make_tools(), train, seed=0)


THRESHOLDS = Thresholds(gap=8.0, judged_gap=4.0, positive=3.0, negative=-1.0, lung_error=0.1)


def group_of(split, rows, truths=("twin", "lesion_mask", "lung_mask", "lookalike_mask")) -> Group:
    films = invert(split["image"][rows])
    truth = {name: a for name, a in truth_of(split, rows).items() if name in truths}
    return Group(films, truth, walk(None, films, -1, THRESHOLDS))


def test_without_twins_the_path_that_flips_most_is_taken(splits):
    rows = np.flatnonzero(splits["test"]["label"])
    group = group_of(splits["test"], rows, truths=())
    walks = dict(group.walks)
    idle = follow(group.films.image, group.films.image)
    walks["aligned"] = [idle]
    assert best_path(group._replace(walks=walks), THRESHOLDS, 1.0) == "linear"
    walks["linear"], walks["aligned"] = [idle], group.walks["aligned"]
    assert best_path(group._replace(walks=walks), THRESHOLDS, 1.0) == "aligned"


# The test films.


def test_films_are_walked_from_both_sides_and_only_those_that_pass(splits, section):
    known = calibrate(make_tools(), splits, section, seed=0)
    # Chosen are rows 0 to 7; of these 1, 3, 5 and 6 are positive.
    done = explain.explain_test(make_tools(invert=spoil(0, 3)), splits["test"], known, section)
    np.testing.assert_array_equal(done.rows, np.arange(8))
    assert [row for row, reason in enumerate(done.reasons) if reason] == [0, 3]
    assert done.shares == {"pos_to_neg": 0.75, "neg_to_pos": 0.75}
    for direction, rows in (("pos_to_neg", [1, 5, 6]), ("neg_to_pos", [2, 4, 7])):
        group = done.groups[direction]
        image = splits["test"]["image"][rows].astype(np.float32) / 127.5 - 1
        np.testing.assert_array_equal(group.films.image, image)
        np.testing.assert_array_equal(
            group.truth["lesion_mask"], splits["test"]["lesion_mask"][rows]
        )
        end = group.walks["aligned"][0].margin[:, -1]
        assert (end > 0).all() if direction == "neg_to_pos" else (end < 0).all()
    assert done.rmse[[0, 3]].min() > 5 and done.rmse[[1, 2, 4, 5, 6, 7]].max() == 0


def test_where_none_passes_all_are_walked_and_the_coverage_says_so(splits, section):
    known = calibrate(make_tools(), splits, section, seed=0)
    positives = np.flatnonzero(splits["test"]["label"][:8])
    done = explain.explain_test(
        make_tools(invert=spoil(*positives)), splits["test"], known, section
    )
    assert done.shares == {"pos_to_neg": 0.0, "neg_to_pos": 1.0}
    assert len(done.groups["pos_to_neg"].films.margin) == 4


def test_a_margin_of_zero_is_a_negative_and_walked_from_one_side(splits, section):
    known = calibrate(make_tools(), splits, section, seed=0)
    undecided = lambda pixels: invert(pixels)._replace(
        margin=np.maximum(invert(pixels).margin, 0), drawn_margin=0 * invert(pixels).margin
    )
    known = known._replace(thresholds=THRESHOLDS._replace(gap=1e9))
    done = explain.explain_test(make_tools(invert=undecided), splits["test"], known, section)
    walked = {name: group.truth["row"].tolist() for name, group in done.groups.items()}
    assert walked == {"pos_to_neg": [1, 3, 5, 6], "neg_to_pos": [0, 2, 4, 7]}


def test_other_films_are_those_not_walked_by_what_f_says_of_them(splits):
    test = splits["test"]
    margin = np.where(np.arange(len(test["label"])) % 3 == 0, 1.0, -1.0)
    positive, negative = other_films(test, margin, np.array([0, 1]))
    image = to_unit_range(test["image"])
    np.testing.assert_array_equal(positive, image[[3, 6, 9]])
    np.testing.assert_array_equal(negative, image[[2, 4, 5, 7, 8]])
    everything = other_films(test, margin, np.arange(len(test["label"])))
    assert [len(films) for films in everything] == [0, 0]


def test_what_f_says_of_every_test_film_is_kept(splits, section):
    known = calibrate(make_tools(), splits, section, seed=0)
    section.images = 4
    done = explain.explain_test(make_tools(), splits["test"], known, section)
    assert len(done.rows) == 4
    expected, _ = make_tools().margins(splits["test"]["image"])
    np.testing.assert_array_equal(done.margin, expected)


def test_skipped_films_are_not_explained(splits, section):
    known = calibrate(make_tools(), splits, section, seed=0)
    section.update(dict(images=4, skip=2))
    done = explain.explain_test(make_tools(), splits["test"], known, section)
    np.testing.assert_array_equal(done.rows, [4, 5, 6, 7])


# The maps.


@pytest.fixture
def made(splits, section):
    known = calibrate(make_tools(), splits, section, seed=0)._replace(
        thresholds=THRESHOLDS, path="linear"
    )
    rows = np.flatnonzero(splits["test"]["label"])
    group = group_of(splits["test"], rows)
    make = lambda names, tools=None, train=splits["train"]: explain.make_maps(
        group, known, tools or make_tools(), train, names
    )
    return make, group


def test_maps_come_in_their_order_and_only_those_asked_for(made):
    make, _ = made
    found, incomplete = make(maps.NAMES)
    have = [n for n in maps.NAMES if n not in ("integrated_gradients", "smoothgrad")]
    assert list(found) == have  # these tools make two baselines of four
    assert list(make(("oracle", "latent"))[0]) == ["latent", "oracle"]
    assert all(m.shape == found["latent"].shape and (m >= 0).all() for m in found.values())
    assert incomplete.shape == (len(found["latent"]),)


def test_each_map_is_what_its_name_says(made, splits):
    make, group = made
    found, incomplete = make(maps.NAMES)
    walked = group.walks["linear"][0]
    end = end_walk(walked, THRESHOLDS, -1).frame
    assert (end < K).all()  # it stops before its end
    stopped = walked.carried[np.arange(len(end)), end]
    np.testing.assert_allclose(found["latent"], np.abs(stopped - group.films.image))
    occluded = 4 + 3 * walked.carried[:, 0] + stopped
    np.testing.assert_allclose(found["latent_occlusion"], occluded, atol=1e-5)
    np.testing.assert_allclose(found["residual"], np.abs(group.films.image - stopped), atol=1e-6)
    np.testing.assert_allclose(found["oracle"], np.abs(group.films.image - group.truth["twin"]))
    np.testing.assert_allclose(found["gradient"], np.ones_like(found["latent"]))
    np.testing.assert_allclose(found["grad_cam"], np.full_like(found["latent"], 2))
    np.testing.assert_allclose(found["anogan"], np.full_like(found["latent"], 3))
    np.testing.assert_allclose(
        found["latent_integrated_gradients"], np.full_like(found["latent"], 0.5)
    )
    # Half of the training films have a lesion, always the square.
    expected = np.where(splits["train"]["lesion_mask"].any(axis=0), 0.5, 0.0)
    np.testing.assert_allclose(found["prior"], np.broadcast_to(expected, found["prior"].shape))
    attacked = group.walks["pixel"][0]
    stop = end_walk(attacked, THRESHOLDS, -1).frame
    change = attacked.carried[np.arange(len(stop)), stop] - group.films.image
    np.testing.assert_allclose(found["pixel"], np.abs(change))
    assert np.abs(found["pixel"] - found["latent"]).max() > 0.1  # the corner
    # The signed map sums to -0.5 a pixel, whatever f did up to the stop.
    moved = walked.margin[np.arange(len(end)), end] - walked.margin[:, 0]
    np.testing.assert_allclose(incomplete, np.abs(-0.5 * SIDE**2 - moved) / np.abs(moved))


def test_no_classifier_is_asked_for_a_map_that_is_not_wanted(made):
    make, _ = made

    def refuse(*arguments):
        raise AssertionError("not asked for")

    refusing = make_tools(anogan=refuse, occlude=refuse, along_walk=refuse)
    assert "anogan" not in make(("latent",), refusing)[0]


def test_without_truth_there_are_no_maps_of_it(made, splits):
    make, _ = made
    train = {name: a for name, a in splits["train"].items() if name != "lesion_mask"}
    found, _ = make(("latent", "prior", "oracle", "shuffled"), train=train)
    assert list(found) == ["latent", "shuffled"]


# All of it.


@pytest.fixture
def run(splits, tmp_path, monkeypatch):
    """A function that explains the made-up films; it returns how often it had to."""
    config = get_config("tiny")
    config.explain.update(
        dict(paths=("linear", "aligned", "pixel"), bootstrap=50, strips=1, walk_steps=K)
    )
    config.explain.maps = ("latent", "shuffled", "gradient", "prior", "oracle")
    made = []

    def count(*arguments):
        made.append(arguments)
        return make_tools(invert=spoil(0))

    figures = {"classifier": {"auroc": 0.9}, "judge": {"auroc": 0.8}}
    monkeypatch.setattr(explain, "make_tools", count)
    monkeypatch.setattr(explain.train_classifier, "test_figures", lambda workdir: figures)

    def explain_again() -> int:
        explain.run(config, tmp_path, splits)
        return len(made)

    return explain_again


def test_a_run_writes_tables_that_hold_together(run, tmp_path):
    for task in ("classifier", "gan"):
        (tmp_path / task).mkdir()
        workdir.mark_done(tmp_path / task)
    assert run() == 1
    directory = tmp_path / "explain"
    text = (directory / "metrics.json").read_text()
    report = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert report["images"] == 8 and report["coverage"] == 7 / 8
    assert [film["id"] for film in report["rejected"]] == ["patient0"]
    assert report["coverage_by_direction"] == {"pos_to_neg": 1.0, "neg_to_pos": 0.75}
    assert report["latent_path"] == "aligned"
    assert report["paths"].keys() == {"linear", "linear_best", "aligned", "pixel"}
    assert list(report["maps"]) == ["latent", "gradient", "prior", "shuffled", "oracle"]
    assert report["maps"]["latent"]["on_target"]["mean"] == pytest.approx(1.0)
    assert report["disentanglement"]["margin"].keys() == {"z_structure", "z_class", "both"}
    # f sees nothing but the square, and the walks that are audited change nothing else.
    audited = report["audit"]
    assert not audited["flagged"] and audited["outside_share"]["mean"] == pytest.approx(0)
    assert audited["evidence"]["lesions"]["mean"] > 1
    assert audited["agreement"]["rank_correlation"] > 0.9
    # What is kept film by film is what the tables are means of.
    with np.load(directory / "scores.npz") as kept:
        for name, map_table in report["maps"].items():
            mean = kept[f"maps/{name}/on_target"].mean()
            assert map_table["on_target"]["mean"] == pytest.approx(mean)
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
    assert (directory / "figures" / "interpolation.png").exists()
    with np.load(directory / "maps.npz") as kept:
        np.testing.assert_array_equal(kept["row"], [1, 3, 5, 6])
        assert kept["latent"].shape == (4, SIDE, SIDE, 1)
    # Nothing to do until something was trained anew.
    assert run() == 1
    os.utime(tmp_path / "gan" / "done.json", ns=(1, 1))
    assert run() == 2
