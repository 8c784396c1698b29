"""Composites, regions and the rule."""

import json

import numpy as np
import pytest

from cxr_jax.evaluate import audit
from cxr_jax.metrics import Bootstrap

BOOTSTRAP = Bootstrap(resamples=200, seed=0)


def corners(side=4):
    """Regions: left column, right column, the rest."""
    left, right = np.zeros((2, 2, side, side, 1), bool)
    left[:, :, 0] = right[:, :, -1] = True
    return audit.partition({"left": left, "right": right}, "rest")


def test_evidence_is_what_a_region_adds():
    image, other = np.ones((2, 4, 4, 1)), np.zeros((2, 4, 4, 1))
    image[1] = 3.0

    # The left column counts by its sum, the right one only together with the rest.
    def classify(x):
        return x[:, :, 0].sum((1, 2)) + (x[:, 0, -1, 0] > 0) * (x[:, 0, 1, 0] > 0)

    found = audit.evidence(classify, image, other, regions=corners())
    np.testing.assert_allclose(found["left"], [4, 12])
    np.testing.assert_allclose(found["right"], 0.5)
    np.testing.assert_allclose(found["rest"], 0.5)


def test_regions_are_a_partition_in_which_the_first_come_first():
    shape = (1, 20, 20, 1)
    lesion, marker, lung = (np.zeros(shape, np.uint8) for _ in range(3))
    lesion[:, 8:10, 8:10] = lung[:, 5:15, 5:10] = 255
    marker[:, 0, 19] = 255
    truth = {"lesion_mask": lesion, "marker_mask": marker, "lung_mask": lung}
    regions = audit.phantom_regions(truth)
    assert list(regions) == ["lesions", "marker", "lungs", "elsewhere"]
    np.testing.assert_array_equal(sum(mask.astype(int) for mask in regions.values()), 1)
    assert [int(mask.sum()) for mask in regions.values()] == [4, 9, 46, 400 - 59]


def test_the_border_of_a_film_is_its_outer_tenth_beside_the_lungs():
    lungs = np.zeros((1, 20, 20, 1), bool)
    lungs[:, 1:10, 5:10] = True
    regions = audit.film_regions(lungs)
    assert list(regions) == ["lungs", "border", "rest"]
    np.testing.assert_array_equal(sum(mask.astype(int) for mask in regions.values()), 1)
    assert regions["lungs"].sum() == 45
    assert regions["border"].sum() == 400 - 256 - 5


def test_what_is_shown_around_lungs_is_no_shortcut():
    lungs = np.zeros((1, 20, 20, 1), bool)
    lungs[:, 5:15, 3:15] = True
    shown = audit.grow(lungs, 2)
    regions = audit.film_regions(lungs, shown)
    assert list(regions) == ["lungs", "rim", "border", "rest"]
    np.testing.assert_array_equal(regions["rim"], shown & ~lungs)
    np.testing.assert_array_equal(sum(mask.astype(int) for mask in regions.values()), 1)
    # Half of what this f reads lies in the rim.
    weight = lungs / lungs.sum() + regions["rim"] / regions["rim"].sum()
    classify = lambda image: (image * weight).sum(axis=(1, 2, 3))
    film = np.ones((1, 20, 20, 1))
    found = audit.evidence(classify, film, 0 * film, regions=regions)
    assert found["lungs"] == pytest.approx(1) and found["rim"] == pytest.approx(1)
    share = audit.outside_share(found, Bootstrap(resamples=10, seed=0))
    assert share["mean"] == pytest.approx(0)
    with_rest = audit.evidence(classify, film, 0 * film, regions=audit.film_regions(lungs))
    share = audit.outside_share(with_rest, Bootstrap(resamples=10, seed=0))
    assert share["mean"] == pytest.approx(0.5)


def test_grown_masks_reach_so_far_and_no_further():
    mask = np.zeros((1, 9, 9, 1), bool)
    mask[0, 4, 4] = mask[0, 0, 0] = True
    grown = audit.grow(mask, 2)[0, :, :, 0]
    expected = np.zeros((9, 9), bool)
    expected[2:7, 2:7] = expected[:3, :3] = True
    np.testing.assert_array_equal(grown, expected)


def test_true_evidence_of_a_marker_that_interacts():
    # f = 2 lesions + 3 marker + 4 both, on a film with both and on one with lesions alone.
    margin, twin = np.array([9.0, 2.0]), np.array([3.0, 0.0])
    without_marker, without_both = np.array([2.0, 2.0]), np.array([0.0, 0.0])
    truth = audit.true_evidence(
        margin, twin=twin, without_marker=without_marker, without_both=without_both
    )
    np.testing.assert_allclose(truth["lesions"], [4, 2])
    np.testing.assert_allclose(truth["marker"], [5, 0])
    assert not truth["lungs"].any() and not truth["elsewhere"].any()


def with_share(outside: float, films: int = 40, spread: float = 0.0):
    noise = np.random.default_rng(0).normal(size=films)
    noise = spread * (noise - noise.mean())
    return {"lungs": 4 * (1 - outside) + 0 * noise, "elsewhere": 4 * outside + noise}


def test_lungs_are_two_and_gas_is_none():
    lungs = np.zeros((1, 20, 20, 1), bool)
    lungs[0, 3:12, 3:8] = lungs[0, 3:12, 12:17] = True
    found = np.copy(lungs)
    found[0, 15:17, 5:8] = True  # gas, apart from both
    regions = audit.film_regions(found)
    np.testing.assert_array_equal(regions["lungs"], lungs)
    assert sum(mask.astype(int) for mask in regions.values()).max() == 1
    assert not audit.film_regions(0 * found > 0)["lungs"].any()
    np.testing.assert_array_equal(audit.largest_parts(found[0], 3), found[0])


@pytest.mark.parametrize(("outside", "flagged"), [(0.1, False), (0.19, False), (0.21, True)])
def test_the_rule(outside, flagged):
    share = audit.outside_share(with_share(outside), BOOTSTRAP)
    assert share["mean"] == pytest.approx(outside)
    assert audit.is_flagged(share) == flagged
    text = audit.verdict(share, with_share(outside))
    assert text.startswith("Shortcut:" if flagged else "No shortcut found outside the lungs:")
    assert text.endswith("most of that in the rest of the film.") == flagged


def test_what_may_be_chance_is_not_flagged():
    share = audit.outside_share(with_share(0.25, films=8, spread=2.0), BOOTSTRAP)
    assert share["mean"] > audit.OUTSIDE_SHARE > share["ci95"][0]
    assert not audit.is_flagged(share)


def test_counterfactuals_that_do_not_lower_f_give_no_verdict():
    share = audit.outside_share({"lungs": np.zeros(3), "rest": np.zeros(3)}, BOOTSTRAP)
    assert share["mean"] is None and not audit.is_flagged(share)
    assert audit.verdict(share, {}).startswith("No verdict")


def test_a_few_counterfactuals_that_lower_f_by_chance_give_no_verdict():
    # Their sum is above zero, but in many a resample it is not.
    found = {"lungs": np.array([-2.0, -1.0, 1.5, 2.0]), "elsewhere": np.full(4, 0.01)}
    share = audit.outside_share(found, BOOTSTRAP)
    assert share["mean"] is None and not audit.is_flagged(share)
    assert "too few counterfactuals" in audit.verdict(share, found)


def test_what_is_negligible_has_no_order():
    rng = np.random.default_rng(0)
    lesions = rng.normal(4, 1, 50)
    found = {"lesions": lesions, "marker": np.zeros(50)}
    truth = {"lesions": 0.8 * lesions, "marker": rng.uniform(-0.04, 0.04, 50)}
    told = audit.agreement(found, truth)
    assert told["rank_correlation"] == pytest.approx(1.0)
    assert 0.7 < told["untied_rank_correlation"] < 0.95
    truth["marker"] *= 100
    assert audit.agreement(found, truth)["rank_correlation"] < 0.8


def test_where_no_film_has_a_marker_a_constant_agrees_nearly_as_well():
    rng = np.random.default_rng(0)
    truth = {"lesions": rng.uniform(3, 5, 60), "marker": np.zeros(60)}
    found = {"lesions": rng.permutation(truth["lesions"]), "marker": np.zeros(60)}
    told = audit.agreement(found, truth)
    # By hand: the lesions' ranks 61 to 120 against their mean, 60 markers that share a rank.
    within, between = (60**3 - 60) / 12, 60 * 2 * 30**2
    expected = between / np.sqrt(between * (between + within))
    assert told["constant_rank_correlation"] == pytest.approx(expected)
    assert 0.8 < told["rank_correlation"] < expected
    # Region by region it shows: the lesions' order is that of other films.
    assert abs(told["rank_correlation_of"]["lesions"]) < 0.3
    assert told["rank_correlation_of"]["marker"] is None
    # A marker that some films have is judged on these.
    truth["marker"][:10] = np.arange(1, 11)
    found["marker"][:10] = np.arange(1, 11) ** 2
    assert audit.agreement(found, truth)["rank_correlation_of"]["marker"] == pytest.approx(1.0)


def test_the_entry_of_metrics_json():
    rng = np.random.default_rng(0)
    truth = {"lesions": rng.normal(3, 1, 30), "marker": np.zeros(30)}
    each = {
        name: {"evidence": 0.5 * values, "truth": values, "grad_cam": np.full(30, 0.5)}
        for name, values in truth.items()
    }
    table = json.loads(json.dumps(audit.summarise(each, BOOTSTRAP), allow_nan=False))
    assert table["agreement"]["rank_correlation"] == pytest.approx(1.0)
    assert table["agreement"]["slope"] == pytest.approx(0.5)
    expected = 0.5 * np.abs(truth["lesions"]).mean() / 2
    assert table["agreement"]["error"] == pytest.approx(expected)
    assert table["map_shares"]["grad_cam"]["marker"]["mean"] == 0.5
    assert not table["flagged"] and table["outside_share"]["mean"] == 0.0
