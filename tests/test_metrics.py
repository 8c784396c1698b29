"""Figures of merit against hand values and second implementations too simple to be wrong."""

import itertools

import numpy as np
import pytest
import scipy.linalg
from scipy import stats

from cxr_jax import metrics
from cxr_jax.metrics import Bootstrap


def auroc_by_pairs(score, positive) -> float:
    """P(a positive scores above a negative), a tie counting half, by looking at every pair."""
    pairs = score[positive][:, None] - score[~positive][None, :]
    return float(((pairs > 0) + 0.5 * (pairs == 0)).mean())


@pytest.mark.parametrize(
    ("score", "positive", "expected"),
    [
        ([1, 2, 3, 4], [0, 0, 1, 1], 1.0),
        ([4, 3, 2, 1], [0, 0, 1, 1], 0.0),
        ([1, 3, 2, 4], [0, 0, 1, 1], 0.75),
        ([5, 5, 5, 5], [0, 0, 1, 1], 0.5),
        ([1, 2, 2, 3], [0, 0, 1, 1], 0.875),
    ],
)
def test_auroc_by_hand(score, positive, expected):
    assert metrics.auroc(np.array(score), np.array(positive)) == expected


def test_auroc_counts_pairs():
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows = rng.integers(5, 60)
        positive = rng.permutation(np.arange(rows) % 3 == 0)
        score = rng.integers(0, 8, rows).astype(float)  # many ties
        assert metrics.auroc(score, positive) == pytest.approx(auroc_by_pairs(score, positive))


def test_auroc_of_one_class_is_undefined():
    assert np.isnan(metrics.auroc(np.arange(3.0), np.ones(3)))
    assert np.isnan(metrics.auroc(np.arange(3.0), np.zeros(3)))


def test_calibration_error_by_hand():
    probability = np.array([0.05, 0.05, 0.95, 0.95, 1.0])
    label = np.array([0, 1, 1, 1, 0])
    # First bin: |0.05 - 0.5| of two films; last bin: |2.9 / 3 - 2 / 3| of three.
    expected = 0.45 * 2 / 5 + 0.3 * 3 / 5
    assert metrics.calibration_error(probability, label) == pytest.approx(expected)


def test_honest_probabilities_are_calibrated():
    rng = np.random.default_rng(0)
    probability = rng.uniform(size=200_000)
    assert metrics.calibration_error(probability, rng.uniform(size=200_000) < probability) < 0.01
    assert metrics.calibration_error(np.full(10, 1.0), np.zeros(10)) == 1.0


def test_classification_by_hand():
    margin, label = np.array([2.0, -1.0, 1.0, -3.0, -2.0]), np.array([1, 1, 0, 0, 0])
    figures = metrics.classification(margin, label)
    assert figures["accuracy"] == pytest.approx(3 / 5)
    assert figures["sensitivity"] == pytest.approx(1 / 2)
    assert figures["specificity"] == pytest.approx(2 / 3)
    assert figures["auroc"] == pytest.approx(5 / 6)
    assert figures["images"] == 5


def test_dice_by_hand():
    mask, other = np.zeros((2, 4, 4, 1), bool)
    mask[:2], other[1:3] = True, True  # 8 pixels each, 4 in common
    assert metrics.dice(mask, other) == metrics.dice(other, mask) == 0.5
    other[3] = True
    assert metrics.dice(mask, other) == pytest.approx(2 * 4 / (8 + 12))
    assert metrics.dice(mask, mask) == 1.0 and metrics.dice(mask, ~mask) == 0.0
    assert np.isnan(metrics.dice(mask & ~mask, mask & ~mask))


def test_r_squared_by_hand():
    truth = np.array([1.0, 2.0, 3.0, 6.0])  # squared deviations from 3: 4 + 1 + 0 + 9
    assert metrics.r_squared(truth, truth) == 1.0
    assert metrics.r_squared(np.full(4, 3.0), truth) == 0.0
    assert metrics.r_squared(np.array([1.0, 2.0, 3.0, 5.0]), truth) == pytest.approx(1 - 1 / 14)
    assert metrics.r_squared(-truth, truth) < 0
    assert np.isnan(metrics.r_squared(truth, np.ones(4)))


def test_share_on():
    saliency, mask = np.array([1.0, 2.0, 5.0]), np.array([True, False, True])
    assert metrics.share_on(saliency, mask) == pytest.approx(6 / 8)
    assert metrics.share_on(saliency, ~mask) == pytest.approx(2 / 8)
    assert np.isnan(metrics.share_on(np.zeros(3), mask))


def test_pixel_auroc_within_a_region():
    saliency = np.array([[9.0, 1.0], [2.0, 3.0]])[..., None]
    mask = np.array([[False, False], [False, True]])[..., None]
    lungs = np.array([[False, True], [True, True]])[..., None]
    assert metrics.pixel_auroc(saliency, mask) == pytest.approx(2 / 3)
    assert metrics.pixel_auroc(saliency, mask, lungs) == 1.0  # the bright corner is outside


def test_iou_at_equal_area_by_hand():
    saliency = np.array([[5.0, 4, 3], [2, 1, 0]])[..., None]
    mask = np.array([[1, 0, 1], [0, 1, 0]], bool)[..., None]
    # The three largest share two pixels with the mask: 2 of 4.
    assert metrics.iou_at_equal_area(saliency, mask) == pytest.approx(0.5)
    assert np.isnan(metrics.iou_at_equal_area(saliency, np.zeros_like(mask)))


def test_without_ties_iou_is_that_of_the_largest_pixels():
    rng = np.random.default_rng(0)
    for count in (1, 7, 30):
        saliency, mask = rng.permutation(64).reshape(8, 8, 1) * 1.0, np.zeros(64, bool)
        mask[rng.permutation(64)[:count]] = True
        mask = mask.reshape(8, 8, 1)
        largest = saliency >= 64 - count
        expected = (largest & mask).sum() / (largest | mask).sum()
        assert metrics.iou_at_equal_area(saliency, mask) == pytest.approx(expected)


def test_ties_are_worth_to_iou_the_mean_over_all_choices():
    saliency = np.array([2.0, 1, 1, 1, 0])
    mask = np.array([False, True, True, True, False])
    picks = itertools.combinations([1, 2, 3], 2)  # beside the largest pixel
    shared = np.mean([mask[[0, *pick]].sum() for pick in picks])
    found = metrics.iou_at_equal_area(saliency.reshape(1, 5, 1), mask.reshape(1, 5, 1))
    assert found == pytest.approx(shared / (2 * 3 - shared))


def test_completeness():
    attribution = np.array([[1.0, -2.0], [4.0, 0.0]])[..., None]
    assert metrics.completeness(attribution, 3.0) == 0.0
    assert metrics.completeness(attribution, 4.0) == pytest.approx(1 / 4)
    assert metrics.completeness(attribution, -3.0) == pytest.approx(2.0)
    assert metrics.completeness(-attribution, -2.0) == pytest.approx(1 / 2)
    assert np.isnan(metrics.completeness(attribution, 0.0))
    assert np.isnan(metrics.completeness(attribution, -1e-7))


def test_relative_error():
    rng = np.random.default_rng(0)
    truth, before = rng.normal(size=(2, 8, 8, 1))
    assert metrics.relative_error(truth, truth, before) == 0.0
    assert metrics.relative_error(before, truth, before) == 1.0
    assert metrics.relative_error((truth + before) / 2, truth, before) == pytest.approx(0.5)
    assert metrics.relative_error(2 * before - truth, truth, before) == pytest.approx(2.0)
    assert np.isnan(metrics.relative_error(truth, before, before))


def test_wrong_way():
    assert metrics.wrong_way(np.array([0.0, 1.0, 3.0]), 1) == 0.0
    assert metrics.wrong_way(np.array([0.0, 1.0, 3.0]), -1) == 1.0
    assert metrics.wrong_way(np.array([0.0, 3.0, 2.0]), 1) == pytest.approx(1 / 4)
    assert np.isnan(metrics.wrong_way(np.zeros(3), 1))


def test_summarise_leaves_out_what_is_undefined():
    summary = metrics.summarise(np.array([1.0, np.nan, 3.0]), Bootstrap(resamples=200, seed=0))
    assert summary["mean"] == 2.0 and summary["images"] == 2
    low, high = summary["ci95"]
    assert 1.0 <= low <= 2.0 <= high <= 3.0


def test_summarise_says_why_nothing_is_known():
    assert metrics.summarise(np.full(3, np.nan), Bootstrap(resamples=10, seed=0), "no masks") == {
        "mean": None,
        "reason": "no masks",
    }
    assert metrics.summarise(np.zeros(0), Bootstrap(resamples=10, seed=0))["reason"]


def test_summarise_is_repeatable():
    values = np.random.default_rng(0).normal(size=50)
    assert metrics.summarise(values, Bootstrap(resamples=100, seed=3)) == metrics.summarise(
        values, Bootstrap(resamples=100, seed=3)
    )
    assert (
        metrics.summarise(values, Bootstrap(resamples=100, seed=3))["ci95"]
        != metrics.summarise(values, Bootstrap(resamples=100, seed=4))["ci95"]
    )


def test_bootstrap_intervals_cover_the_mean_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        low, high = metrics.summarise(
            rng.normal(1.0, 2.0, 40), Bootstrap(resamples=300, seed=trial)
        )["ci95"]
        covered += low <= 1.0 <= high
    assert 0.88 < covered / 200 < 0.99


def test_a_median_by_hand():
    bootstrap = Bootstrap(resamples=200, seed=0)
    summary = metrics.summarise_median(np.array([1.0, 3.0, 2.0]), bootstrap, "never")
    assert summary == {"mean": 2.0, "ci95": [1.0, 3.0], "images": 3}
    half = metrics.summarise_median(np.array([1.0, np.inf, 2.0, np.inf]), bootstrap, "never")
    assert half["mean"] == 2.0  # of an even number the lower one
    most = metrics.summarise_median(np.array([1.0, np.inf, np.inf]), bootstrap, "never")
    assert most == {"mean": None, "reason": "never"}


def test_a_median_that_many_resamples_lack_has_no_interval():
    values = np.array([1.0, 2.0, 3.0, 4.0] + 4 * [np.inf])
    summary = metrics.summarise_median(values, Bootstrap(resamples=400, seed=0), "never")
    assert summary["mean"] == 4.0
    assert summary["ci95"] is None


def test_a_median_that_one_resample_in_twenty_never_reaches_has_no_interval():
    """Of twelve walks eight flip: in some resamples, by chance, more than half do not."""
    values, bootstrap = np.array([*range(8)] + 4 * [np.inf]), Bootstrap(resamples=400, seed=0)
    never = np.mean([np.isinf(values[pick]).sum() > 6 for pick in bootstrap.rows(12)])
    assert 0.025 < never < 0.1
    assert metrics.summarise_median(values, bootstrap, "never")["ci95"] is None
    # Where fewer are, they stand at the upper end and are not left out.
    assert metrics.interval(np.array([*range(198), np.inf, np.inf])) == [4.0, 194.0]


def test_kernel_distance_by_hand():
    one, other = np.array([[1.0], [2.0]]), np.array([[0.0], [1.0], [3.0]])
    k = lambda a, b: (a * b + 1) ** 3
    within = k(1, 2)
    others = (k(0, 1) + k(0, 3) + k(1, 3)) / 3
    between = sum(k(a, b) for a in (1, 2) for b in (0, 1, 3)) / 6
    assert metrics.kernel_distance(one, other) == pytest.approx(within + others - 2 * between)


def test_kernel_distance_is_unbiased_and_sees_a_shift():
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((300, 8))
    same = [metrics.kernel_distance(rng.standard_normal((40, 8)), reference) for _ in range(60)]
    assert abs(np.mean(same)) < 4 * np.std(same) / 60**0.5
    assert metrics.kernel_distance(rng.standard_normal((40, 8)) + 1, reference) > max(same)


def test_kernel_distance_counts_rows_as_a_resample_does_without_pairing_copies():
    rng = np.random.default_rng(1)
    features, reference = rng.standard_normal((6, 4)), rng.standard_normal((9, 4))
    ones = metrics.kernel_distance(features, reference, np.ones(6))
    assert ones == pytest.approx(metrics.kernel_distance(features, reference))
    left_out = metrics.kernel_distance(features, reference, np.array([1, 1, 1, 0, 1, 1]))
    assert left_out == pytest.approx(metrics.kernel_distance(features[[0, 1, 2, 4, 5]], reference))
    twice = metrics.kernel_distance(features, reference, 2 * np.ones(6))
    assert twice == pytest.approx(ones)


def test_kernel_distance_of_one_row_drawn_over_and_over_is_undefined():
    features, reference = np.ones((3, 2)), np.eye(2)
    assert np.isnan(metrics.kernel_distance(features, reference, np.array([0, 3, 0])))
    assert np.isnan(metrics.kernel_distance(features[:1], reference))


def test_variance_shares_of_sums_and_products():
    a, b = np.array([[-1.0], [1.0]]), np.array([[-2.0, 2.0]])
    assert metrics.variance_shares(a + b) == pytest.approx((0.2, 0.8, 0.0))
    assert metrics.variance_shares(a * b) == pytest.approx((0.0, 0.0, 1.0))
    assert np.isnan(metrics.variance_shares(np.ones((2, 3)))).all()


# Frechet distance.


def test_the_frechet_distance_of_equal_sets_is_zero():
    features = np.random.default_rng(0).normal(size=(50, 4))
    assert metrics.frechet_distance(features, features) == pytest.approx(0, abs=1e-9)


def test_the_frechet_distance_of_a_shift_is_its_square():
    features = np.random.default_rng(0).normal(size=(50, 3))
    shifted = features + np.array([1.0, -2.0, 0.5])
    assert metrics.frechet_distance(features, shifted) == pytest.approx(5.25, rel=1e-9)


def test_the_frechet_distance_of_a_stretch_compares_deviations():
    """For multiples of one set: sum of (sigma - k sigma)^2, with centres at zero."""
    features = np.random.default_rng(0).normal(size=(50, 3))
    features -= features.mean(axis=0)
    by_hand = 4 * np.trace(np.cov(features, rowvar=False))
    assert metrics.frechet_distance(features, 3 * features) == pytest.approx(by_hand, rel=1e-9)


def test_the_frechet_distance_is_the_published_formula():
    rng = np.random.default_rng(1)
    one = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4))
    other = rng.normal(size=(70, 4)) @ rng.normal(size=(4, 4)) + 0.3
    a, b = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    apart = np.square(one.mean(0) - other.mean(0)).sum()
    published = apart + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    assert metrics.frechet_distance(one, other) == pytest.approx(published, rel=1e-6)
    assert metrics.frechet_distance(other, one) == pytest.approx(published, rel=1e-6)


def test_proportions_have_exact_intervals():
    whole = metrics.summarise_proportion(np.ones(32, bool))
    # 32 of 32: the lower end is (alpha / 2)^(1 / n).
    assert whole["ci95"] == pytest.approx([0.025 ** (1 / 32), 1.0])
    part = metrics.summarise_proportion(np.arange(40) < 30)
    assert part["mean"] == 0.75
    low, high = part["ci95"]
    assert stats.binom.sf(29, 40, low) == pytest.approx(0.025, rel=1e-4)
    assert stats.binom.cdf(30, 40, high) == pytest.approx(0.025, rel=1e-4)
    some = metrics.summarise_proportion(np.array([1, 0, np.nan]))
    assert (some["mean"], some["images"]) == (0.5, 2)
    assert metrics.summarise_proportion(np.array([np.nan]))["mean"] is None
