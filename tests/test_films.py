"""The gate and the thresholds, on films made up so that the answer is known."""

import numpy as np
import pytest

from cxr_jax.explain import films
from cxr_jax.explain.films import Films
from cxr_jax.explain.films import Thresholds

SIDE = 4
THRESHOLDS = Thresholds(gap=4.0, judged_gap=8.0, positive=3.0, negative=-3.0, lung_error=0.1)


def make_films(rows: int, **fields) -> Films:
    """Perfectly reconstructed films; `fields` spoil them."""
    image = np.zeros((rows, SIDE, SIDE, 1), np.float32)
    margin = np.linspace(-3, 3, rows)
    perfect = Films(
        image=image,
        margin=margin,
        judged=2 * margin,
        structure=np.zeros((rows, 2)),
        severity=np.arange(rows)[:, None],
        drawn=image,
        drawn_margin=margin,
        drawn_judged=2 * margin,
        origin=image,
    )
    return perfect._replace(**fields)


def reasons(some: Films, errors=None) -> list[str]:
    errors = np.zeros(len(some.margin)) if errors is None else np.asarray(errors)
    return films.reasons_to_reject(some, errors, THRESHOLDS, 0.25)


def test_good_films_pass():
    assert reasons(make_films(4)) == [""] * 4


def test_each_reason_rejects_on_its_own():
    some = make_films(3)
    off_f = reasons(some._replace(drawn_margin=some.margin + [0.0, -1.1, 0.9]))
    assert off_f[0] == "" and off_f[2] == ""
    assert off_f[1].startswith("f differs") and "0.28" in off_f[1]
    off_h = reasons(some._replace(drawn_judged=some.judged + [1.9, 0.0, 2.4]))
    assert off_h[:2] == ["", ""]
    assert off_h[2].startswith("h differs") and "0.30" in off_h[2]
    badly_drawn = reasons(some, [0.101, 0.1, 0.0])
    assert badly_drawn[1:] == ["", ""] and badly_drawn[0].startswith("lung reconstruction")


def test_every_reason_is_told():
    some = make_films(1)
    (reason,) = reasons(
        some._replace(drawn_margin=some.margin + 4, drawn_judged=some.judged + 4), [1.0]
    )
    assert [part.split()[0] for part in reason.split("; ")] == ["f", "h", "lung"]


def test_a_classifier_of_another_question_is_measured_by_its_own_decisions():
    margin, label = np.array([-3.0, -1.0, 2.0, 4.0]), np.array([1, 1, 0, 0])
    found = films.set_thresholds(margin, margin[::-1], label, np.zeros(4), 99.0)
    # f says the opposite of the labels; h, which says what they say, has its gap by them.
    assert (found.gap, found.judged_gap) == (5.0, 5.0)


def test_what_is_not_a_number_is_rejected():
    some = make_films(2)
    spoilt = some._replace(drawn_margin=np.array([np.nan, some.margin[1]]))
    assert [bool(reason) for reason in reasons(spoilt)] == [True, False]


def test_lung_error_looks_at_the_lungs_alone():
    drawn = np.zeros((2, SIDE, SIDE, 1))
    drawn[0, :2] = 0.3  # inside
    drawn[1, 2:] = 0.3  # outside
    lungs = np.zeros(drawn.shape, bool)
    lungs[:, :2] = True
    np.testing.assert_allclose(films.lung_error(make_films(2, drawn=drawn), lungs), [0.3, 0.0])


def test_thresholds_by_hand():
    margin = np.array([4.0, 2.0, -1.0, 3.0, -2.0, -6.0])
    label = np.array([1, 1, 1, 0, 0, 0])
    thresholds = films.set_thresholds(margin, 3 * margin, label, np.arange(101.0), 99.0)
    assert thresholds.gap == pytest.approx(5 / 3 + 5 / 3)
    assert thresholds.judged_gap == pytest.approx(3 * thresholds.gap)
    # What f calls so counts for the stops, whatever the label.
    assert (thresholds.positive, thresholds.negative) == (3.0, -2.0)
    assert thresholds.lung_error == 99.0


def test_rows_picks_films_everywhere():
    picked = make_films(5).rows(np.array([False, True, False, False, True]))
    np.testing.assert_array_equal(picked.severity, [[1], [4]])
    assert {len(array) for array in picked} == {2}
