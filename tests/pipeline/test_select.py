"""Which films are explained, and what is known of them."""

import numpy as np
import pytest
from builders import make_square_explainer, make_square_split

from cxr_jax.data.arrays import to_unit_range
from cxr_jax.errors import InputError
from cxr_jax.pipeline.select import (
    accepted,
    choose,
    find_films,
    looked_at,
    lungs_of,
    other_films,
    truth_of,
)

MARGIN = np.array([-1.0, 2.0, 3.0, -2.0, 0.0, 1.0, 4.0, -5.0])


def test_choose_takes_the_first_of_each_decision():
    np.testing.assert_array_equal(choose(MARGIN, 4), [0, 1, 2, 3])
    np.testing.assert_array_equal(choose(MARGIN, 5), [0, 1, 2, 3])
    np.testing.assert_array_equal(choose(MARGIN, 100), np.arange(8))
    np.testing.assert_array_equal(choose(MARGIN, 4, 2), [4, 5, 6, 7])  # 0 is negative
    np.testing.assert_array_equal(choose(MARGIN, 4, 3), [6, 7])


def test_named_films_are_chosen_first_and_count():
    np.testing.assert_array_equal(choose(MARGIN, 4, named=[7, 6]), [7, 6, 0, 1])
    np.testing.assert_array_equal(choose(MARGIN, 4, 1, named=[6]), [6, 2, 3, 4])
    # More than half of `count` of one decision: they all come, and of the other as many as ever.
    np.testing.assert_array_equal(choose(MARGIN, 4, named=[6, 5, 2]), [6, 5, 2, 0, 3])
    np.testing.assert_array_equal(choose(MARGIN, 4, 9, named=[6, 0]), [6, 0])


def test_of_each_patient_and_decision_there_is_one_film():
    patients = np.array([b"a", b"b", b"a", b"b", b"c", b"a", b"c", b"d"])
    called = (MARGIN > 0).tolist()
    chosen = choose(MARGIN, 100, patients=patients)
    for decision in (True, False):
        mine = [row for row in chosen if called[row] == decision]
        theirs = [row for row in range(8) if called[row] == decision]
        first = {patients[row]: row for row in reversed(theirs)}
        assert mine == sorted(first.values())
    np.testing.assert_array_equal(choose(MARGIN, 100, patients=np.full(8, b"")), np.arange(8))
    named = [row for row in range(8) if patients[row] == b"a"]  # who asks for them gets them
    again = choose(MARGIN, 100, named=named, patients=patients)
    assert set(again) - set(named) == {row for row in chosen if patients[row] != b"a"}


def test_films_are_found_by_their_names():
    names = {"filename": np.array([b"a/1.png", b"a/2.png", b"b/1.png"])}
    np.testing.assert_array_equal(find_films(names, ("b/1.png", "a/1.png")), [2, 0])
    np.testing.assert_array_equal(find_films(names, ("a/2.png", "a/2.png")), [1])
    assert len(find_films(names, ())) == 0
    with pytest.raises(InputError, match="films has 'b/2.png'.* the nearest are .*b/1.png"):
        find_films(names, ("a/1.png", "b/2.png"))


def test_skipped_films_are_those_chosen_before():
    margin = np.random.default_rng(0).normal(size=60)
    parts = [choose(margin, 8, num_skipped) for num_skipped in (0, 4, 8)]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), choose(margin, 24))
    assert all((margin[rows] > 0).sum() == 4 for rows in parts)


@pytest.mark.parametrize(
    ("margin", "num_skipped", "told"),
    [
        ([1.0, 2.0], 0, "2 of 2 films positive, .* from negative: train the classifier longer"),
        ([-1.0, -2.0, 0.0], 0, "0 of 3 films positive, .* from positive: train"),
        ([1.0, -1.0, -2.0, -3.0], 1, r"skip fewer than 1 \(config"),
    ],
)
def test_choose_needs_films_of_both_decisions(margin, num_skipped, told):
    with pytest.raises(InputError, match=told):
        choose(np.array(margin), 4, num_skipped)


@pytest.fixture
def masks() -> np.ndarray:
    """The lungs of the second film of three are its third and fourth row; the others have none."""
    masks = np.zeros((3, 8, 8, 1), np.uint8)
    masks[1, 2:4] = 255
    return masks


def test_lungs_are_those_that_the_segmenter_finds_and_the_whole_film_where_it_finds_none(masks):
    """Whatever the data set knows: a user's film comes without a mask."""
    arrays = {"image": masks, "lung_mask": 255 - masks}
    explainer = make_square_explainer(find_lungs=lambda image: image > 0)
    lungs = lungs_of(explainer, arrays, np.array([2, 1]))
    assert lungs.dtype == bool and lungs[0].all()
    np.testing.assert_array_equal(lungs[1], masks[1] > 0)


def test_a_speck_is_no_lung(masks):
    arrays = {"image": np.zeros((2, 16, 16, 1), np.uint8)}
    arrays["image"][0, 3, 4:9] = 255  # 5 of 256 pixels
    arrays["image"][1, 3, 4:10] = 255
    explainer = make_square_explainer(find_lungs=lambda image: image > 0)
    lungs = lungs_of(explainer, arrays, np.arange(2))
    assert lungs[0].all() and lungs[1].sum() == 6
    np.testing.assert_allclose(looked_at(lungs, 2), [1.0, 6 / lungs[1].size])
    np.testing.assert_array_equal(looked_at(None, 3), [1.0, 1.0, 1.0])


def test_the_gate_says_what_it_took_for_lungs(masks, caplog):
    caplog.set_level("INFO", "cxr_jax")
    explainer = make_square_explainer(find_lungs=lambda image: image > 0)
    lungs_of(explainer, {"image": masks}, np.arange(3))
    said, warned = caplog.records
    assert "the segmenter's lungs, 25% of a film (25 to 25%)" in said.getMessage()
    assert "the whole of 2 of 3 films" in warned.getMessage() and warned.levelname == "WARNING"


def test_nobody_knows_the_lungs_without_a_segmenter(masks, caplog):
    caplog.set_level("INFO", "cxr_jax")
    arrays = {"image": masks, "lung_mask": masks}
    assert lungs_of(make_square_explainer(), arrays, np.array([0, 1])) is None
    assert "whole films: there is no segmenter" in caplog.text


def test_truths_are_those_of_the_rows_and_twins_are_on_the_scale_of_films():
    twin = np.array([0, 255, 51], np.uint8).reshape(3, 1, 1, 1)
    arrays = {"twin": twin, "without_marker": twin, "severity": np.arange(3.0)}
    truth = truth_of(arrays, np.array([2, 0]))
    for name in ("twin", "without_marker"):
        np.testing.assert_allclose(truth[name].ravel(), [-0.6, -1.0], atol=1e-6)
    np.testing.assert_array_equal(truth["row"], [2, 0])
    np.testing.assert_array_equal(truth["severity"], [2, 0])
    assert "twin" not in truth_of({"severity": np.arange(3.0)}, np.array([0]))


def test_other_films_are_those_not_walked_by_what_f_says_of_them():
    test = make_square_split(np.arange(10) % 2, seed=2)
    margin = np.where(np.arange(10) % 3 == 0, 1.0, -1.0)
    positive, negative = other_films(test, margin, np.array([0, 1]))
    image = to_unit_range(test["image"])
    np.testing.assert_array_equal(positive, image[[3, 6, 9]])
    np.testing.assert_array_equal(negative, image[[2, 4, 5, 7, 8]])
    everything = other_films(test, margin, np.arange(10))
    assert [len(films) for films in everything] == [0, 0]


def test_films_without_a_reason_passed_the_gate():
    np.testing.assert_array_equal(accepted(["", "f differs", ""]), [True, False, True])
