"""Margins to radii and grades: the negative class is the origin, distance from it is severity."""

import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.networks import grading
from cxr_jax.networks.grading import Scale

SCALE = Scale(negative=jnp.float32(-2.0), strong=jnp.float32(6.0))
MARGINS = jnp.linspace(-5.0, 10.0, 301)


def test_scale_is_the_median_negative_and_the_strong_positive():
    margin = np.concatenate([[-4.0, -2.0, 0.0], np.arange(1, 12)])
    scale = grading.fit_scale(margin)
    assert (scale.negative, scale.strong) == (-2.0, 10.0)  # 90th percentile of 1 ... 11
    assert scale.span == 12.0


@pytest.mark.parametrize("margin", [[-1.0, -2.0], [1.0, 2.0], [0.0]])
def test_a_classifier_with_one_answer_has_no_scale(margin):
    with pytest.raises(ValueError, match="same answer"):
        grading.fit_scale(np.array(margin))


def test_radius_by_hand():
    margin = jnp.array([-9.0, -2.0, 0.0, 2.0, 6.0, 9.0])
    np.testing.assert_allclose(grading.radius(SCALE, margin), [0, 0, 0.25, 0.5, 1, 1])


def test_radius_never_falls_and_grows_between_the_scale_s_ends():
    radius = np.asarray(grading.radius(SCALE, MARGINS))
    assert radius.min() == 0 and radius.max() == 1
    inside = np.asarray((MARGINS > SCALE.negative) & (MARGINS < SCALE.strong))
    assert (np.diff(radius) >= 0).all()
    assert (np.diff(radius[inside]) > 0).all()


def test_a_negative_film_is_the_origin():
    radius = np.asarray(grading.film_radius(SCALE, MARGINS))
    positive = np.asarray(MARGINS > 0)
    assert (radius[~positive] == 0).all()
    assert (radius[positive] > 0).all()
    np.testing.assert_array_equal(radius[positive], grading.radius(SCALE, MARGINS)[positive])


def test_grades_by_hand():
    margin = jnp.array([-3.0, 0.0, 0.1, 1.4, 1.6, 3.1, 4.6, 6.0, 60.0])
    grade = grading.grade(SCALE, margin, 5)
    np.testing.assert_array_equal(grade, [0, 0, 1, 1, 2, 3, 4, 4, 4])
    assert grade.dtype == jnp.int32


@pytest.mark.parametrize("num_grades", [2, 3, 7])
def test_every_grade_is_used_in_order(num_grades):
    grade = np.asarray(grading.grade(SCALE, MARGINS, num_grades))
    assert (np.diff(grade) >= 0).all()
    assert set(grade) == set(range(num_grades))
    assert ((grade > 0) == np.asarray(MARGINS > 0)).all()


UNGRADED = SCALE.replace(graded=jnp.float32(0))


def test_a_film_is_asked_for_its_own_margin_or_for_that_of_its_decision():
    margin = jnp.array([-9.0, 0.0, 1.0, 9.0])
    np.testing.assert_array_equal(grading.target_logit(SCALE, margin), [-2, -2, 1, 9])
    np.testing.assert_array_equal(grading.target_logit(UNGRADED, margin), [-2, -2, 6, 6])


def test_an_ungraded_scale_knows_two_answers():
    margin = jnp.array([-9.0, 0.0, 0.1, 9.0])
    np.testing.assert_array_equal(grading.film_radius(UNGRADED, margin), [0, 0, 1, 1])
    np.testing.assert_array_equal(grading.grade(UNGRADED, margin, 5), [0, 0, 4, 4])
    np.testing.assert_array_equal(grading.grade(UNGRADED, margin, 2), [0, 0, 1, 1])


def test_labels_may_speak_in_f_s_stead():
    said = grading.by_label(SCALE, jnp.array([0, 1]))
    np.testing.assert_array_equal(said, [-2, 6])
    np.testing.assert_array_equal(grading.film_radius(SCALE, said), [0, 1])


def test_one_grade_is_no_condition():
    assert not np.asarray(grading.grade(SCALE, MARGINS, 1)).any()
