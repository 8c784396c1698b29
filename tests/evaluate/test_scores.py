"""What perfect, idle and random explanations score."""

import jax
import numpy as np
import pytest
from builders import fade, make_stopped, make_thresholds, make_walk

from cxr_jax.evaluate import scores
from cxr_jax.explain.traversal import Walk
from cxr_jax.metrics import Bootstrap

SIDE, K = 16, 5
BOOTSTRAP = Bootstrap(resamples=200, seed=0)
THRESHOLDS = make_thresholds()  # walks stop at -3 and 3; f's gap is 8 and h's 4
TOWARDS = -1
REACH = 10.0


@pytest.fixture
def films() -> dict[str, np.ndarray]:
    """Three films with a lesion each, their twins without it, and masks."""
    rng = np.random.default_rng(0)
    twin = rng.uniform(-0.5, 0, size=(3, SIDE, SIDE, 1))
    lesion = np.zeros(twin.shape, np.uint8)
    lookalike, lung = lesion.copy(), lesion.copy()
    for i in range(3):
        lesion[i, 4 + i : 8 + i, 3:6] = 255
        lookalike[i, 10:12, 10:12] = 255
        lung[i, 2:14, 2:14] = 255
    lookalike[2] = 0  # this film has none
    return {
        "image": twin + 0.4 * (lesion > 0),
        "twin": twin,
        "lesion_mask": lesion,
        "lookalike_mask": lookalike,
        "lung_mask": lung,
    }


def score(walk, twin=None, towards=TOWARDS, reach=REACH) -> dict[str, np.ndarray]:
    stopped = make_stopped(walk, towards)
    return scores.score_walk(stopped, THRESHOLDS, towards, reach=reach, twin=twin)


def falling_margin(last=-3.0) -> np.ndarray:
    return np.repeat(np.linspace(3.0, last, K + 1)[None], 3, axis=0)


def test_a_perfect_explanation_is_perfect(films):
    walk = make_walk(fade(films["image"], films["twin"], K), falling_margin())
    each = score(walk, films["twin"])
    np.testing.assert_allclose(each["twin_error"], np.zeros(3), atol=1e-12)
    for name in ("flip_rate", "flip_rate_f", "reached"):
        np.testing.assert_array_equal(each[name], np.ones(3))
    np.testing.assert_allclose(each["transfer"], np.ones(3))
    np.testing.assert_allclose(each["monotonicity"], np.zeros(3))
    np.testing.assert_allclose(each["length"], walk.distance[:, -1])
    np.testing.assert_allclose(each["flip_time"], walk.distance[:, 3])  # 3, 1.8, 0.6, -0.6
    stopped = make_stopped(walk)
    each = scores.score_map(np.abs(stopped.change), films)
    for name in ("on_target", "pixel_auroc", "pixel_auroc_lung"):
        np.testing.assert_allclose(each[name], np.ones(3))
    np.testing.assert_array_equal(each["lookalike"], [0.0, 0.0, np.nan])


def test_a_lesion_over_a_look_alike_is_a_lesion(films):
    """Half of the look-alike lies under the lesion: a map of all of it has half of itself there."""
    lookalike = films["lookalike_mask"].copy()
    lesion = np.zeros_like(lookalike)
    lesion[:, 10:11, 10:12] = 255
    each = scores.score_map((lookalike > 0) * 1.0, films | {"lesion_mask": lesion})
    np.testing.assert_array_equal(each["lookalike"], [0.5, 0.5, np.nan])
    np.testing.assert_array_equal(each["on_target"][:2], [0.5, 0.5])


def test_doing_nothing_scores_as_nothing(films):
    still = np.repeat(films["image"][:, None], K + 1, axis=1)
    walk = make_walk(still, np.full((3, K + 1), 3.0))
    each = score(walk, films["twin"])
    np.testing.assert_allclose(each["twin_error"], np.ones(3))
    for name in ("flip_rate", "flip_rate_f", "reached", "length", "flip_time"):
        np.testing.assert_array_equal(each[name], np.zeros(3))
    assert np.isnan(each["transfer"]).all() and np.isnan(each["monotonicity"]).all()
    each = scores.score_map(np.zeros_like(films["image"]), films)
    assert np.isnan(each["on_target"]).all()
    np.testing.assert_allclose(each["pixel_auroc"], np.full(3, 0.5))


def test_a_change_that_fools_only_f_is_no_flip(films):
    walk = make_walk(
        fade(films["image"], films["twin"], K),
        falling_margin(),
        judge_margin=np.full((3, K + 1), 2.0),
    )
    each = score(walk, films["twin"])
    np.testing.assert_array_equal(each["flip_rate"], np.zeros(3))
    np.testing.assert_array_equal(each["flip_rate_f"], np.ones(3))
    np.testing.assert_array_equal(each["transfer"], np.zeros(3))


def test_a_walk_is_judged_where_it_stops(films):
    # Two steps reach the threshold; what comes after, harm included, does not count.
    margin = np.repeat(np.array([[3.0, -1.0, -3.0, 5.0, 5.0, 5.0]]), 3, axis=0)
    frames = fade(films["image"], films["twin"], 2)
    frames = np.concatenate([frames, np.ones((3, 3, SIDE, SIDE, 1))], axis=1)
    walk = make_walk(frames, margin)
    stopped = make_stopped(walk)
    np.testing.assert_array_equal(stopped.frame, [2, 2, 2])
    np.testing.assert_array_equal(stopped.flip, [1, 1, 1])
    np.testing.assert_allclose(stopped.change, films["twin"] - films["image"], atol=1e-12)
    each = score(walk, films["twin"])
    np.testing.assert_allclose(each["twin_error"], np.zeros(3), atol=1e-12)
    np.testing.assert_allclose(each["monotonicity"], np.zeros(3))


def test_the_other_direction_mirrors(films):
    walk = make_walk(fade(films["twin"], films["image"], K), -falling_margin())
    each = score(walk, towards=1)
    np.testing.assert_array_equal(each["flip_rate"], np.ones(3))
    np.testing.assert_allclose(each["monotonicity"], np.zeros(3))
    assert "twin_error" not in each


def test_flip_auc_by_hand(films):
    # The flip, of f and h, is three fifths of the way; nothing flips beyond the reach.
    walk = make_walk(fade(films["image"], films["twin"], K), falling_margin())
    whole = walk.distance[:, -1]
    for reach, expected in ((1.2, 1 - 0.6 / 1.2), (0.5, 0.0)):
        walks = [score(walk, reach=reach * length)["flip_auc"] for length in whole]
        np.testing.assert_allclose(np.diag(walks), np.full(3, expected), atol=1e-9)
    fooled = walk.replace(judge_margin=np.full((3, K + 1), 2.0))
    each = score(fooled)
    np.testing.assert_array_equal(each["flip_auc"], np.zeros(3))


def brightness(*frames: float) -> Walk:
    """One film that is drawn ever differently, evenly bright."""
    images = np.array(frames).reshape(1, -1, 1, 1, 1) * np.ones((1, 1, SIDE, SIDE, 1))
    return make_walk(images, np.zeros((1, len(frames))))


def test_length_gain_by_hand():
    straight = brightness(0.0, 0.1, 0.2, 0.3)
    there_and_back = brightness(0.0, 0.3, -0.1, 0.2, 0.9)  # 0.3 + 0.4 + 0.3 up to frame 3
    for walk, end, expected in (
        (straight, 3, 0.0),
        (straight, 1, 2 / 3),
        (there_and_back, 3, 1 - 1.0 / 0.3),
        (there_and_back, 0, np.nan),  # it has gone nowhere, and nor has the straight one
    ):
        gain = scores.length_gain(walk, np.array([end]), straight)
        np.testing.assert_allclose(gain, [expected], atol=1e-9)
    # What is measured is what the generator draws, and that is undefined for a walk on the spot.
    carried = straight.replace(carried=np.zeros_like(straight.carried))
    np.testing.assert_allclose(scores.length_gain(carried, np.array([3]), carried), [0.0])
    standing = brightness(0.1, 0.1, 0.1)
    assert np.isnan(scores.length_gain(straight, np.array([3]), standing)).all()


def test_length_gain_is_each_films_own():
    walks = [brightness(0.0, 0.3, -0.1, 0.2), brightness(0.0, 0.1, 0.2, 0.3)]
    walk, straight = (
        jax.tree.map(lambda *both: np.concatenate(both), *pair) for pair in (walks, walks[::-1])
    )
    gain = scores.length_gain(walk, np.array([3, 2]), straight)
    # The second is compared at as many frames as it has: 0.0, -0.1 and 0.2 of the straight walk.
    np.testing.assert_allclose(gain, [1 - 1.0 / 0.3, 1 - 0.2 / 0.4])


def test_a_chance_map_scores_chance():
    rng = np.random.default_rng(0)
    shape = (60, SIDE, SIDE, 1)
    lesion = (rng.uniform(size=shape) < 0.25).astype(np.uint8)
    truth = {"lesion_mask": lesion, "lung_mask": np.ones(shape), "lookalike_mask": 0 * lesion}
    each = scores.score_map(rng.uniform(size=shape), truth)
    assert each["pixel_auroc"].mean() == pytest.approx(0.5, abs=0.02)
    assert each["on_target"].mean() == pytest.approx(0.25, abs=0.02)


def test_the_table_counts_rejected_films_as_unflipped(films):
    walk = make_walk(fade(films["image"], films["twin"], K), falling_margin())
    each = score(walk, films["twin"])
    table = scores.summarise_paths(each, 2, BOOTSTRAP)
    assert table["flip_rate"]["mean"] == 1.0
    assert table["flip_rate_all"]["mean"] == pytest.approx(0.6)
    assert table["flip_distance"]["mean"] == pytest.approx(np.median(each["flip_time"]))
    assert "flip_time" not in table
    assert all("mean" in entry for entry in table.values())


def test_what_is_undefined_says_why(films):
    still = np.repeat(films["image"][:, None], K + 1, axis=1)
    each = score(make_walk(still, np.full((3, K + 1), 3.0)))
    table = scores.summarise_paths(each, 0, BOOTSTRAP)
    for name in ("twin_error", "flip_distance", "transfer", "monotonicity"):
        assert table[name]["mean"] is None and table[name]["reason"], name
    assert table["flip_rate"]["mean"] == 0.0


def test_maps_are_compared_film_by_film(films):
    change = np.abs(films["image"] - films["twin"])
    each = {
        "latent": scores.score_map(change, films),
        "shuffled": scores.score_map(np.roll(change, 1, axis=0), films),
        "even": scores.score_map(np.ones_like(change), films),
    }
    table = scores.summarise_maps(each, BOOTSTRAP)
    assert table["latent"]["on_target"]["mean"] == 1.0
    assert not [name for name in table["latent"] if "minus" in name]
    gained = table["shuffled"]["latent_minus_this_on_target"]
    assert gained["mean"] == pytest.approx(1.0 - table["shuffled"]["on_target"]["mean"])
    assert gained["ci95"][0] > 0
    assert table["even"]["latent_minus_this_lookalike"]["ci95"][1] < 0


def test_a_data_set_without_masks_has_the_same_table_with_reasons(films):
    change = np.abs(films["image"] - films["twin"])
    known = scores.summarise_maps({"latent": scores.score_map(change, films)}, BOOTSTRAP)
    unknown = scores.undefined_maps(["latent"], "no mask")
    assert unknown["latent"].keys() == known["latent"].keys()
    for entry in unknown["latent"].values():
        assert entry["mean"] is None and entry["reason"]


def test_stopping_early_without_a_flip_is_no_short_flip_distance():
    # Three films flip at 0.03; the rest stop at 0.02, f fooled and h not.
    each = {
        "flip_rate": np.array([1.0] * 3 + [0.0] * 7),
        "flip_time": np.array([0.03] * 3 + [0.02] * 7),
    }
    table = scores.summarise_paths(each, 0, BOOTSTRAP)
    assert (
        table["flip_distance"]["mean"] is None and "do not flip" in table["flip_distance"]["reason"]
    )
    each["flip_rate"][:7], each["flip_time"][:7] = 1.0, 0.03
    assert scores.summarise_paths(each, 0, BOOTSTRAP)["flip_distance"]["mean"] == 0.03


def test_rejected_films_widen_the_interval_of_the_rate_of_all():
    each = {"flip_rate": np.ones(30), "flip_time": np.full(30, 0.1)}
    table = scores.summarise_paths(each, 10, BOOTSTRAP)["flip_rate_all"]
    assert table["mean"] == pytest.approx(0.75) and table["images"] == 40
    assert 0.55 < table["ci95"][0] < 0.75 < table["ci95"][1] < 0.95


def test_rejected_films_are_counted_from_the_coverage():
    assert scores.count_rejected(3, 0.6) == 2
    assert scores.count_rejected(28, 28 / 29) == 1
    assert scores.count_rejected(7, 1.0) == 0
    assert scores.count_rejected(7, 0.0) == 0  # then the seven are the rejected ones


def test_a_share_of_films_has_an_exact_interval():
    each = {"flip_rate": np.ones(32), "flip_time": np.full(32, 0.1), "structure": np.ones(32)}
    table = scores.summarise_paths(each, 0, BOOTSTRAP)
    for name in ("flip_rate", "flip_rate_all"):
        assert table[name]["ci95"] == pytest.approx([0.025 ** (1 / 32), 1.0])
    assert table["structure"]["ci95"] == [1.0, 1.0]
