"""Maps against radiologists' marks: zones, masses, overlaps and intervals, by hand."""

import numpy as np
import pytest
from scipy import stats

from cxr_jax import metrics
from cxr_jax.evaluate import radiologists
from cxr_jax.metrics import Bootstrap

BOOTSTRAP = Bootstrap(resamples=300, seed=0)


def make_lungs() -> np.ndarray:
    """A right lung of six rows, left in the picture, and a left one of nine; two columns each."""
    lungs = np.zeros((12, 10, 1), bool)
    lungs[2:8, 1:3] = True
    lungs[1:10, 6:8] = True
    return lungs


# 1. Zones.


def test_zones_are_thirds_of_each_lungs_own_height():
    zones = radiologists.find_zones(make_lungs())
    rows = [np.flatnonzero(zone.any(axis=(1, 2))).tolist() for zone in zones]
    assert rows == [[2, 3], [4, 5], [6, 7], [1, 2, 3], [4, 5, 6], [7, 8, 9]]
    columns = [np.flatnonzero(zone.any(axis=(0, 2))).tolist() for zone in zones]
    assert columns == [[1, 2]] * 3 + [[6, 7]] * 3
    assert (zones.sum(axis=0) == make_lungs()).all()


def test_lungs_change_sides_with_the_picture():
    zones, mirrored = (radiologists.find_zones(m) for m in (make_lungs(), make_lungs()[:, ::-1]))
    np.testing.assert_array_equal(mirrored, zones[[3, 4, 5, 0, 1, 2]][:, :, ::-1])


def test_zones_need_two_lungs():
    one = make_lungs()
    one[:, 5:] = False
    assert radiologists.find_zones(one) is None
    assert radiologists.find_zones(np.zeros_like(one)) is None
    speck = one.copy()
    speck[1, 9] = True
    assert radiologists.find_zones(speck) is None


def test_a_speck_beside_two_lungs_is_in_no_zone():
    lungs = make_lungs()
    lungs[11, 9] = True
    zones = radiologists.find_zones(lungs)
    np.testing.assert_array_equal(zones, radiologists.find_zones(make_lungs()))


def test_a_zones_mass_is_the_sum_of_the_map_there():
    saliency = np.arange(120.0).reshape(12, 10, 1)
    mass = radiologists.zone_mass(saliency, radiologists.find_zones(make_lungs()))
    assert mass[0] == 21 + 22 + 31 + 32 and mass[3] == 16 + 17 + 26 + 27 + 36 + 37


def test_rank_agreement_counts_ties_by_mean_ranks():
    values, scores = np.array([3.0, 1, 4, 1, 5, 9]), np.array([1.0, 0, 2, 0, 2, 3])
    ranks = np.array([3, 1.5, 4, 1.5, 5, 6]), np.array([3, 1.5, 4.5, 1.5, 4.5, 6])
    by_hand = np.corrcoef(*ranks)[0, 1]
    assert radiologists.rank_agreement(values, scores) == pytest.approx(by_hand)
    assert by_hand == pytest.approx(stats.spearmanr(values, scores).statistic)


@pytest.mark.parametrize("scores", [np.full(6, 2.0), np.full(6, np.nan)])
def test_equal_or_missing_scores_have_no_ranks(scores):
    assert np.isnan(radiologists.rank_agreement(np.arange(6.0), scores))


# 2. Outlines and boxes.


def test_a_hit_is_the_largest_pixel_on_the_mask():
    saliency, mask = np.zeros((2, 3, 1)), np.zeros((2, 3, 1), bool)
    mask[0, 0] = True
    assert np.isnan(radiologists.hit(saliency, mask))
    saliency[1, 1] = 2.0
    assert radiologists.hit(saliency, mask) == 0
    saliency[0, 0] = 2.0
    assert radiologists.hit(saliency, mask) == 0.5
    assert np.isnan(radiologists.hit(saliency, np.zeros_like(mask)))


def test_boxes_hold_the_pixels_whose_centre_they_hold():
    # On four pixels a side, centres at 1/8, 3/8, 5/8, 7/8: x 1/4 to 3/4, y 1/2 to 1.
    mask = radiologists.fill_boxes(np.array([[0.25, 0.5, 0.5, 0.5]]), 4)
    expected = np.zeros((4, 4, 1), bool)
    expected[2:, 1:3] = True
    np.testing.assert_array_equal(mask, expected)
    both = np.array([[0.25, 0.5, 0.5, 0.5], [0, 0, 0.2, 0.2]])
    corner = radiologists.fill_boxes(both, 4)
    assert corner.sum() == 5 and corner[0, 0]


# 3. Controls and intervals.


def test_the_mean_of_the_others_leaves_out_all_films_of_the_patient():
    values = np.array([[1.0, 2], [3, 4], [5, 6], [np.nan, 0]])
    patients = np.array(["a", "a", "b", "c"])
    found = radiologists.others_mean(values, patients)
    np.testing.assert_allclose(found, [[5, 6], [5, 6], [2, 3], [3, 4]])


def test_a_patient_alone_has_no_others():
    found = radiologists.others_mean(np.ones((2, 3)), np.array(["a", "a"]))
    assert np.isnan(found).all()


def test_with_one_film_a_patient_intervals_are_those_of_films():
    values = np.random.default_rng(1).normal(size=20)
    values[3] = np.nan
    found = radiologists.summarise(values, np.array([f"p{i:02d}" for i in range(20)]), BOOTSTRAP)
    expected = metrics.summarise(values, BOOTSTRAP)
    assert found["mean"] == pytest.approx(expected["mean"])
    assert found["ci95"] == pytest.approx(expected["ci95"])
    assert (found["images"], found["patients"]) == (19, 19)


def test_films_of_one_patient_tell_less_than_films_of_many():
    rng = np.random.default_rng(2)
    values = np.repeat(rng.normal(size=10), 5)
    few, many = (
        radiologists.summarise(values, of, BOOTSTRAP)
        for of in (np.repeat(np.arange(10), 5), np.arange(50))
    )
    width = lambda found: found["ci95"][1] - found["ci95"][0]
    assert few["mean"] == many["mean"] and few["patients"] == 10
    assert width(few) > 1.7 * width(many)  # the square root of 5, but for chance


def test_nothing_known_has_a_reason():
    found = radiologists.summarise(np.full(3, np.nan), np.arange(3), BOOTSTRAP)
    assert found["mean"] is None and found["reason"]


def test_a_correlation_over_films_is_spearmans_and_its_interval_that_of_patients():
    rng = np.random.default_rng(3)
    score = np.repeat(rng.normal(size=30), 4)
    margin = score + np.repeat(rng.normal(size=30), 4)
    few, many = (
        radiologists.correlate(margin, score, of, bootstrap=BOOTSTRAP)
        for of in (np.repeat(np.arange(30), 4), np.arange(120))
    )
    wanted = stats.spearmanr(margin, score).statistic
    assert few["mean"] == many["mean"] == pytest.approx(wanted)
    assert (few["images"], few["patients"], many["patients"]) == (120, 30, 120)
    width = lambda found: found["ci95"][1] - found["ci95"][0]
    assert few["ci95"][0] < wanted < few["ci95"][1]
    assert width(few) > 1.5 * width(many)  # the square root of 4, but for chance


def test_films_without_a_score_are_in_no_correlation():
    margin, score = np.array([1.0, 2, 3, 9, -9]), np.array([10.0, 20, 30, np.nan, np.nan])
    found = radiologists.correlate(margin, score, np.arange(5), bootstrap=BOOTSTRAP)
    assert found["mean"] == 1.0 and found["images"] == 3
    alike = radiologists.correlate(margin, np.ones(5), np.arange(5), bootstrap=BOOTSTRAP)
    assert alike["mean"] is None and alike["reason"]


def test_a_gain_over_a_rival_is_paired():
    """Two that say nearly the same: each correlation is uncertain, what lies between is not."""
    rng = np.random.default_rng(2)
    score, noise = rng.normal(size=(2, 60))
    rival, margin = score + 2 * noise, score + 1.6 * noise
    score, films = np.append(score, np.nan), np.arange(61)
    margin, rival = np.append(margin, 0), np.append(rival, 0)
    found = radiologists.correlation_gain(margin, score, films, rival=rival, bootstrap=BOOTSTRAP)
    own, theirs = (stats.spearmanr(each[:60], score[:60]).statistic for each in (margin, rival))
    assert found["mean"] == pytest.approx(own - theirs) and found["images"] == 60
    assert 0 < found["ci95"][0] < own - theirs < found["ci95"][1]
    alone = radiologists.correlate(margin, score, films, bootstrap=BOOTSTRAP)
    assert np.ptp(found["ci95"]) < np.ptp(alone["ci95"]) / 2
    flat = np.zeros(61)
    found = radiologists.correlation_gain(margin, score, films, rival=flat, bootstrap=BOOTSTRAP)
    assert found["mean"] is None and found["reason"]


def test_what_both_owe_to_a_third_is_taken_away():
    """Against the correlation of what is left of the ranks by linear regression."""
    rng = np.random.default_rng(1)
    given = rng.normal(size=200)
    score, margin = given + rng.normal(size=(2, 200))
    found = radiologists.correlate(margin, score, np.arange(200), bootstrap=BOOTSTRAP, given=given)
    of, by, ranks = (stats.rankdata(each) for each in (margin, score, given))
    left = [each - np.polyval(np.polyfit(ranks, each, 1), ranks) for each in (of, by)]
    assert found["mean"] == pytest.approx(np.corrcoef(*left)[0, 1], abs=1e-9)
    assert abs(found["mean"]) < 0.15 < 0.3 < stats.spearmanr(margin, score).statistic
    same = radiologists.correlate(score, score, np.arange(200), bootstrap=BOOTSTRAP, given=score)
    assert same["mean"] is None
