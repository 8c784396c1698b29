"""Figures and tables of maps against marks, on films where it is known what they must be."""

import dataclasses

import numpy as np
import pytest
from truth_films import LUNGS, SIDE, make_truth

from cxr_jax.errors import InputError
from experiments import truth_figures
from experiments.truth import read_truth


@pytest.fixture
def covid(tmp_path):
    return read_truth(make_truth(tmp_path))["covid"]


@pytest.fixture
def nih(tmp_path):
    return read_truth(make_truth(tmp_path))["nih"]


def paint(scores) -> np.ndarray:
    """A map [SIDE, SIDE, 1] whose mass in each zone goes by its score."""
    saliency = np.zeros((SIDE, SIDE, 1))
    for (rows, columns), of_lung in zip(LUNGS, np.reshape(scores, (2, 3)), strict=True):
        for third, score in enumerate(of_lung):
            saliency[rows.start + 8 * third : rows.start + 8 * third + 8, columns] = score
    return saliency


def maps_of(covid, **made) -> dict[str, np.ndarray]:
    """A map that is right, one that is upside down, and others."""
    right = np.stack([paint(scores.mean(axis=0)) for scores in covid.scores])
    wrong = np.stack([paint(3 - scores.mean(axis=0)) for scores in covid.scores])
    return {"latent": right, "grad_cam": wrong, **made}


def test_zones_of_a_right_map_agree_and_the_reader_is_a_row_of_its_own(covid):
    each = truth_figures.zone_figures(maps_of(covid), covid, truth_figures.profile(covid))
    np.testing.assert_allclose(each["latent"]["spearman"], 1)
    np.testing.assert_allclose(each["grad_cam"]["spearman"], -1)
    # 0,1,2,3,0,1 and 1,2,3,3,0,0 by hand: ranks 1.5,3.5,5,6,1.5,3.5 and 3,4,5.5,5.5,1.5,1.5.
    ranks = [1.5, 3.5, 5, 6, 1.5, 3.5], [3, 4, 5.5, 5.5, 1.5, 1.5]
    between = np.corrcoef(*ranks)[0, 1]
    for reader in ("senior", "junior"):
        np.testing.assert_allclose(each["other reader"][reader], between)
    assert np.isnan(each["other reader"]["spearman"]).all()


def test_a_small_zone_may_be_the_densest(covid):
    lungs, scores = covid.lungs.copy(), np.zeros_like(covid.scores)
    lungs[:, 4:12, 3:11] = False  # a fifth of the upper right zone is left
    scores[..., 0] = 3
    small = dataclasses.replace(covid, lungs=lungs, scores=scores)
    saliency = np.ones(covid.lungs.shape)
    saliency[:, 4:12, 3:13] = 3
    each = truth_figures.zone_figures({"latent": saliency}, small, scores.mean(axis=1))
    np.testing.assert_allclose(each["latent"]["density"], 1)
    np.testing.assert_allclose(each["latent"]["spearman"], -1)
    np.testing.assert_allclose(each["profile"]["density"], 1)


def test_a_map_is_exchanged_for_the_next_one_of_another_patient(covid):
    maps = np.arange(4.0).reshape(4, 1, 1, 1)
    shuffled = truth_figures.shuffle(maps, covid.patients)  # a, a, b, c
    assert shuffled.ravel().tolist() == [2, 2, 3, 0]
    assert truth_figures.shuffle(maps, np.array(["a"] * 4)) is None


def test_the_profile_is_everybody_elses(covid):
    scores = covid.scores.copy()
    scores[3] = 3 - scores[3]  # patient c's, upside down
    other = dataclasses.replace(covid, scores=scores)
    profile = truth_figures.profile(other)
    np.testing.assert_allclose(profile[3], covid.scores[0].mean(axis=0))
    each = truth_figures.zone_figures(maps_of(other), other, profile)
    assert each["profile"]["spearman"][3] == pytest.approx(-1)
    # a's two films are left out of what is said of a.
    np.testing.assert_allclose(profile[0], (covid.scores[2] + scores[3]).mean(axis=0) / 2)


def test_rows_are_of_the_films_with_scores_and_two_lungs(covid):
    scores, lungs = covid.scores.copy(), covid.lungs.copy()
    scores[0], lungs[1, :, SIDE // 2 :] = np.nan, False
    some = dataclasses.replace(covid, scores=scores, lungs=lungs)
    each = truth_figures.zone_figures(maps_of(covid), some, truth_figures.profile(covid))
    for name, columns in each.items():
        known = np.isfinite(columns["senior"])
        assert known.tolist() == [False, False, True, True], name


def test_opacities_are_found_by_a_map_of_them_and_not_by_even_lungs(covid):
    made = {**truth_figures.controls(covid), "latent": covid.marked + 0.5 * covid.lungs}
    each = truth_figures.opacity_figures(made, covid)
    assert (each["latent"]["lung_auroc"] == 1).all() and (each["latent"]["iou"] == 1).all()
    assert (each["lungs"]["lung_auroc"] == 0.5).all()
    np.testing.assert_allclose(each["lungs"]["share"], [1 / 6, 1 / 3, 1 / 6, 1 / 3])
    # Of 480 pixels 80 evenly: 80/6 are shared.
    assert each["lungs"]["iou"][0] == pytest.approx((80 / 6) / (160 - 80 / 6))


def test_the_prior_knows_the_others_alone(covid):
    prior = truth_figures.controls(covid)["prior"]
    np.testing.assert_allclose(prior[0], (covid.marked[2] * 1.0 + covid.marked[3]) / 2)
    np.testing.assert_allclose(prior[3], (covid.marked[:3] * 1.0).mean(axis=0))
    without = dataclasses.replace(covid, has_mark=np.array([True, True, False, True]))
    prior = truth_figures.controls(without)["prior"]
    np.testing.assert_allclose(prior[0], covid.marked[3])


def test_faint_films_have_less_than_a_quarter_of_the_lungs_covered(covid):
    assert truth_figures.is_faint(covid).tolist() == [True, False, True, False]


def test_boxes_are_hit_by_the_largest_pixel(nih):
    saliency = np.zeros((2, SIDE, SIDE, 1))
    saliency[0, 16, 16], saliency[1, 0, 0] = 1, 1
    each = truth_figures.box_figures({"latent": saliency}, nih)["latent"]
    assert each["hit"].tolist() == [1, 0]
    # The one pixel is above all others: half of what it gains over a tie, of a quarter of pixels.
    assert each["auroc"][0] == pytest.approx(0.5 + 0.5 / (SIDE**2 / 4))
    assert each["auroc"][1] == pytest.approx(0.5 - 0.5 / (3 * SIDE**2 / 4))


# Tables.


def test_the_best_of_ours_is_compared_with_all_by_the_first_figure(covid):
    worse = np.stack([paint([0, 1, 2, 3, 1, 0])] * 4)
    made = {**maps_of(covid), "residual": worse, "path ray": worse, "layer_cam": worse}
    each = truth_figures.zone_figures(made, covid, truth_figures.profile(covid))
    found = truth_figures.tabulate(each, covid, kind="zones")
    assert (found["ours"], found["best_rival"]) == ("latent", "layer_cam")
    assert found["maps"]["latent"]["spearman"]["mean"] == pytest.approx(1)
    assert "minus" not in found["maps"]["latent"]
    assert found["maps"]["grad_cam"]["minus"]["mean"] == pytest.approx(2)
    assert found["minus_best_rival"] == found["maps"]["layer_cam"]["minus"]
    assert found["minus_profile"]["mean"] == pytest.approx(0, abs=1e-9)
    assert found["maps"]["latent"]["spearman"]["patients"] == 3
    chosen = truth_figures.tabulate(each, covid, kind="zones", chosen="residual")
    assert chosen["ours"] == "residual" and chosen["minus_profile"]["mean"] < 0
    with pytest.raises(InputError, match="--ours=lattent"):
        truth_figures.tabulate(each, covid, kind="zones", chosen="lattent")


def test_the_distance_to_readers_is_taken_from_both(covid):
    as_senior = np.stack([paint(scores[0]) for scores in covid.scores])
    each = truth_figures.zone_figures({"latent": as_senior}, covid, truth_figures.profile(covid))
    between = each["other reader"]["senior"][0]
    found = truth_figures.reader_distance(each, "latent", covid)
    # One with the senior, as the readers with each other with the junior.
    assert found["mean"] == pytest.approx((1 + between) / 2 - between)


def test_no_films_give_no_figures(covid):
    none = covid.rows(np.zeros(4, bool))
    each = truth_figures.zone_figures(
        {"latent": np.zeros((0, SIDE, SIDE, 1))}, none, np.zeros((0, 6))
    )
    found = truth_figures.tabulate(each, none, kind="zones")
    assert found["ours"] == "" and found["minus_profile"]["mean"] is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(
            ("latent, darkened", True),
            ("latent", True),
            ("path necessary", True),
            ("path linear", True),
        ),
        *(("path ray", False), ("path pixel", False), ("latent_shift", False), ("prior", False)),
    ],
)
def test_ours_are_maps_of_our_walks(name, expected):
    assert truth_figures.is_ours(name) is expected


def test_what_is_known_without_a_map(covid, nih):
    alone = truth_figures.measure_alone(covid)
    assert alone["readers"]["images"] == 4 and alone["profile_spearman"]["mean"] == pytest.approx(1)
    assert alone["lungs_share"]["mean"] == pytest.approx(0.25)
    assert alone["prior_lung_auroc_faint"]["images"] == 2
    assert truth_figures.measure_alone(nih)["prior_auroc"]["mean"] == 1
    assert alone["readers_say_the_same"]["mean"] == pytest.approx(2 / 6)


def test_mirrored_films_are_told_by_the_other_side(covid):
    scores = np.zeros_like(covid.scores)
    scores[:, :, 0] = 3  # the opacities are in the upper right third, and in every other film below
    alone = truth_figures.measure_alone(dataclasses.replace(covid, scores=scores))
    assert alone["cover_and_score"]["mean"] > 0.6 > 0 > alone["cover_and_other_side"]["mean"]
    mirrored = dataclasses.replace(covid, scores=scores[:, :, [3, 4, 5, 0, 1, 2]])
    other = truth_figures.measure_alone(mirrored)
    assert other["cover_and_other_side"]["mean"] == alone["cover_and_score"]["mean"]


def test_scores_alone_are_enough(covid):
    nothing = np.zeros_like(covid.lungs)
    bare = dataclasses.replace(
        covid, lungs=nothing, marked=nothing, has_mark=np.zeros(len(covid.films), bool)
    )
    alone = truth_figures.measure_alone(bare)
    assert alone["readers"]["images"] == 4
    for name in ("prior_lung_auroc", "lungs_share", "cover_and_score"):
        assert alone[name]["mean"] is None
