"""What look-alikes are worth to a classifier, by hand, and the comparison of maps with that."""

import numpy as np
import pytest

from cxr_jax.datasets.cxr_phantom.phantom import PhantomSpec, draw
from experiments.studies import lookalikes
from experiments.studies.lookalikes import Answers

SEED = 3


def make_answers(film, without_lesions, without_lookalikes, without_both) -> Answers:
    """Of margins, one a film or of one film."""
    margins = dict(film=film, without_lesions=without_lesions)
    margins |= dict(without_lookalikes=without_lookalikes, without_both=without_both)
    return Answers(**{name: np.atleast_1d(margin) for name, margin in margins.items()})


def test_shapley_values_by_hand():
    """Both orders: the lesions bring 5 or 7, the look-alikes 1 or 3."""
    lesions, harmless = lookalikes.shapley(make_answers(4.0, -1.0, 3.0, -4.0))
    assert (lesions[0], harmless[0]) == (6.0, 2.0)


def test_shapley_values_share_out_all_that_both_bring():
    answers = make_answers(*np.random.default_rng(0).normal(size=(4, 20)))
    np.testing.assert_allclose(
        sum(lookalikes.shapley(answers)), answers.film - answers.without_both
    )


def test_films_are_redrawn_in_their_order_without_their_lookalikes():
    spec = PhantomSpec(32)
    films = [draw(SEED, index, spec) for index in (7, 2, 11)]
    test = {"patient_id": np.array([film["patient_id"].encode() for film in films])}
    bare = lookalikes.redraw(test, spec, ("twin", "lung_mask", "lookalike_mask"))
    assert not bare["lookalike_mask"].any()
    np.testing.assert_array_equal(bare["lung_mask"], [film["lung_mask"] for film in films])
    has = [film["lookalike_mask"].any() for film in films]
    changed = [(bare["twin"][i] != film["twin"]).any() for i, film in enumerate(films)]
    assert changed == has and any(has)


def test_a_marker_is_no_lookalike():
    spec = PhantomSpec(32, 1.0, 1.0)
    film = draw(SEED, 7, spec)
    test = {"patient_id": np.array([film["patient_id"].encode()])}
    bare = lookalikes.redraw(test, spec, ("marker_mask", "lookalike_mask"))
    assert not bare["lookalike_mask"].any()
    assert film["marker_mask"].any()
    np.testing.assert_array_equal(bare["marker_mask"][0], film["marker_mask"])


def make_test_films() -> dict[str, np.ndarray]:
    """Row 0 has nothing harmless, rows 1-4 a quarter; 4 is ill in half of it, 1 and 2 elsewhere."""
    harmless = np.zeros((5, 4, 4, 1), np.uint8)
    harmless[1:, :2, :2] = 255
    lesion = np.zeros_like(harmless)
    lesion[4, 0, :2] = 255
    lesion[1:3, 2:, 2:] = 255
    return {
        "label": np.array([1, 1, 1, 0, 1]),
        "lookalike_mask": harmless,
        "lesion_mask": lesion,
    }


@pytest.fixture
def table() -> dict[str, dict]:
    # f(S) is additive, so a Shapley value is the gain itself: lesions 4, look-alikes as below.
    harmless, lesions = np.array([9.0, 1.0, 4.0, 3.0, 12.0]), np.array([4.0, 4.0, 4.0, 0.0, 4.0])
    answers = make_answers(harmless + lesions - 2, harmless - 2, lesions - 2, np.full(5, -2.0))
    row = np.array([4, 3, 2, 1, 0])
    maps = {"row": row, "latent": make_maps(make_test_films(), row, [0.5, 0.8, 0.3, 0.1, 0.0])}
    maps["latent_occlusion"] = maps["latent"] * (row != 4)[:, None, None, None]
    return lookalikes.summarise(make_test_films(), answers, maps)


def make_maps(test: dict[str, np.ndarray], rows: np.ndarray, shares: list[float]) -> np.ndarray:
    """Maps that put such shares of themselves on the harmless pixels."""
    harmless = ((test["lookalike_mask"] > 0) & ~(test["lesion_mask"] > 0))[rows]
    count = harmless.sum(axis=(1, 2, 3), keepdims=True)
    share = np.reshape(shares, (-1, 1, 1, 1))
    return np.where(harmless, share / np.maximum(count, 1), (1 - share) / (16 - count))


def test_maps_of_several_runs_follow_each_other(tmp_path):
    for name, (row, extra) in {"a": (3, "lungs"), "b": (1, "grad_cam")}.items():
        (tmp_path / name / "explain").mkdir(parents=True)
        arrays = {"row": [row], "latent": np.full((1, 2, 2, 1), row), extra: np.ones((1, 2, 2, 1))}
        np.savez(tmp_path / name / "explain" / "maps.npz", **arrays)
    maps = lookalikes.load_maps([tmp_path / "a", tmp_path / "b"])
    assert set(maps) == {"row", "latent"}
    assert maps["row"].tolist() == [3, 1] and maps["latent"][:, 0, 0, 0].tolist() == [3, 1]


def test_the_classifiers_own_share_is_set_beside_the_maps(table):
    positives = table["true_positives"]
    assert positives["f"]["images"] == 3  # the film without look-alikes says nothing
    assert positives["f"]["mean"] == pytest.approx((12 / 16 + 4 / 8 + 1 / 5) / 3)
    assert positives["area"]["mean"] == pytest.approx((2 / 16 + 4 / 16 + 4 / 16) / 3)
    assert positives["latent"]["mean"] == pytest.approx((0.5 + 0.3 + 0.1) / 3)
    # The films in turn are of 2, 4 and 4 of 16 pixels; the map that is zero on the first has none.
    less = positives["latent"]["less_area"], positives["latent_occlusion"]["less_area"]
    assert less[0]["mean"] == pytest.approx(0.3 - 10 / 48)
    assert less[1]["mean"] == pytest.approx((0.3 + 0.1) / 2 - 0.25)
    # By hand: what is left of each map lies evenly on the pixels that are not harmless.
    of_both = [0.5 / (0.5 + 2 * 0.5 / 14), 0.3 / (0.3 + 4 * 0.7 / 12), 0.1 / (0.1 + 4 * 0.9 / 12)]
    assert positives["latent"]["of_both"]["mean"] == pytest.approx(np.mean(of_both))
    less = np.array(of_both) - [12 / 16, 4 / 8, 1 / 5]
    assert positives["latent"]["of_both_less_f"]["mean"] == pytest.approx(less.mean())
    assert positives["latent"]["spearman_with_f"] == pytest.approx(1.0)
    # A map that is zero everywhere on one film has a share on the two others.
    assert positives["latent_occlusion"]["images"] == 2
    assert positives["latent_occlusion"]["spearman_with_f"] is None


def test_false_positives_are_counted_where_a_lookalike_made_them(table):
    false = table["false_positives"]
    assert false["f"]["mean"] == 1.0 and false["f"]["images"] == 1
    assert false["negative_without_lookalikes"]["mean"] == 1.0
    assert false["latent"]["mean"] == pytest.approx(0.8)
    assert table["true_positives"]["negative_without_lookalikes"]["mean"] == 0.0


def test_the_table_names_every_row(table):
    text = lookalikes.to_markdown(table)
    assert "| `f` | 0.483" in text and "| `latent` | 0.562" in text and "| `latent` | 0.800" in text
    assert text.count(" | 0.092 [") == 1  # of `latent`, less the area's
    assert "`grad_cam`" not in text
    assert "False" not in text and "nan" not in text
