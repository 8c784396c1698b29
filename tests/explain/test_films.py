"""The gate and the thresholds, on films made up so that the answer is known."""

import jax
import numpy as np
import pytest
from builders import make_perfect_films, make_thresholds

from cxr_jax.explain import films
from cxr_jax.explain.films import Films

SIDE = 4
THRESHOLDS = make_thresholds(gap=4.0, judge_gap=8.0)  # of the lungs 0.1, of the film 0.2


def make_films(rows: int, **fields) -> Films:
    """Perfectly reconstructed films; `fields` spoil them."""
    margin = np.linspace(-3, 3, rows)
    perfect = make_perfect_films(
        np.zeros((rows, SIDE, SIDE, 1), np.float32),
        margin,
        judge_margin=2 * margin,
        drawn_judge_margin=2 * margin,
        z_class=np.arange(1.0 * rows)[:, None],
    )
    return perfect.replace(**fields)


def lungs_of(some: Films) -> np.ndarray:
    """The upper half."""
    lungs = np.zeros(some.image.shape, bool)
    lungs[:, : SIDE // 2] = True
    return lungs


def badly_drawn(errors, rows: slice = slice(SIDE)) -> Films:
    """Films whose reconstruction is off by `errors` in some rows of pixels."""
    drawn = np.zeros((len(errors), SIDE, SIDE, 1))
    drawn[:, rows] = np.asarray(errors).reshape(-1, 1, 1, 1)
    return make_films(len(errors), drawn=drawn)


def reasons(some: Films, lungs=None) -> list[str]:
    lungs = lungs_of(some) if lungs is None else lungs
    return films.reasons_to_reject(some, THRESHOLDS, 0.25, lungs=lungs)


def test_good_films_pass():
    assert reasons(make_films(4)) == [""] * 4


def test_each_reason_rejects_on_its_own():
    some = make_films(3)
    off_f = reasons(some.replace(drawn_margin=some.margin + [0.0, -1.1, 0.9]))
    assert off_f[0] == "" and off_f[2] == ""
    assert off_f[1].startswith("f differs") and "0.28" in off_f[1]
    off_h = reasons(some.replace(drawn_judge_margin=some.judge_margin + [1.9, 0.0, 2.4]))
    assert off_h[:2] == ["", ""]
    assert off_h[2].startswith("h differs") and "0.30" in off_h[2]
    off = reasons(badly_drawn([0.101, 0.1, 0.0]))
    assert off[1:] == ["", ""] and off[0] == "lung reconstruction error is 0.101"


def test_every_reason_is_told():
    some = badly_drawn([1.0])
    (reason,) = reasons(
        some.replace(drawn_margin=some.margin + 4, drawn_judge_margin=some.judge_margin + 4)
    )
    assert [part.split()[0] for part in reason.split("; ")] == ["f", "h", "lung"]


def test_where_nobody_knows_the_lungs_the_whole_film_has_its_own_bound():
    some = badly_drawn([0.3, 0.2], rows=slice(SIDE // 2, SIDE))  # outside the lungs alone
    assert reasons(some) == ["", ""]
    off = films.reasons_to_reject(some, make_thresholds(film_error=0.15), 0.25, lungs=None)
    # Over half of the pixels: 0.3 / sqrt(2) = 0.212, and 0.141.
    assert off == ["reconstruction error is 0.212", ""]


def test_a_film_on_which_no_lungs_are_found_has_the_whole_films_bound():
    some = badly_drawn([0.3, 0.3], rows=slice(SIDE // 2, SIDE))  # outside the lungs alone
    lungs = lungs_of(some)
    lungs[1] = True
    off = films.reasons_to_reject(some, make_thresholds(film_error=0.15), 0.25, lungs=lungs)
    assert off == ["", "reconstruction error is 0.212"]
    off = films.reasons_to_reject(some, make_thresholds(film_error=0.22), 0.25, lungs=lungs)
    assert off == ["", ""]


def test_a_classifier_of_another_question_is_measured_by_its_own_decisions():
    margin, label = np.array([-3.0, -1.0, 2.0, 4.0]), np.array([1, 1, 0, 0])
    nothing = np.zeros(4)
    found = films.set_thresholds(
        margin,
        margin[::-1],
        label,
        lung_errors=nothing,
        film_errors=nothing,
        percentile=99.0,
    )
    # f says the opposite of the labels; h, which says what they say, has its gap by them.
    assert (found.gap, found.judge_gap) == (5.0, 5.0)


def test_what_is_not_a_number_is_rejected():
    some = make_films(2)
    spoilt = some.replace(drawn_margin=np.array([np.nan, some.margin[1]]))
    assert [bool(reason) for reason in reasons(spoilt)] == [True, False]


def test_lung_error_looks_at_the_lungs_alone():
    drawn = np.zeros((2, SIDE, SIDE, 1))
    drawn[0, : SIDE // 2] = 0.3  # inside
    drawn[1, SIDE // 2 :] = 0.3  # outside
    some = make_films(2, drawn=drawn)
    np.testing.assert_allclose(films.lung_error(some, lungs_of(some)), [0.3, 0.0])


def test_thresholds_by_hand():
    margin = np.array([4.0, 2.0, -1.0, 3.0, -2.0, -6.0])
    label = np.array([1, 1, 1, 0, 0, 0])
    thresholds = films.set_thresholds(
        margin,
        3 * margin,
        label,
        lung_errors=np.arange(101.0),
        film_errors=2 * np.arange(101.0),
        percentile=99.0,
    )
    assert thresholds.gap == pytest.approx(5 / 3 + 5 / 3)
    assert thresholds.judge_gap == pytest.approx(3 * thresholds.gap)
    # What f calls so counts for the stops, whatever the label.
    assert (thresholds.positive, thresholds.negative) == (3.0, -2.0)
    assert (thresholds.lung_error, thresholds.film_error) == (99.0, 198.0)


def test_rows_picks_films_everywhere():
    picked = make_films(5).rows(np.array([False, True, False, False, True]))
    np.testing.assert_array_equal(picked.z_class, [[1], [4]])
    assert {len(array) for array in jax.tree.leaves(picked)} == {2}
