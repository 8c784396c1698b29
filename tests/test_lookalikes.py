"""What look-alikes are worth to a classifier, by hand, and the comparison of maps with that."""

import numpy as np
import pytest

from benchmarks import lookalikes
from benchmarks.lookalikes import Answers
from datasets.cxr_phantom.phantom import PhantomSpec, draw

SEED = 3


def make_answers(*margins: float) -> Answers:
    return Answers(*(np.array([margin]) for margin in margins))


def test_shapley_values_by_hand():
    """Both orders: the lesions bring 5 or 7, the look-alikes 1 or 3."""
    lesions, harmless = lookalikes.shapley(make_answers(4.0, -1.0, 3.0, -4.0))
    assert (lesions[0], harmless[0]) == (6.0, 2.0)


def test_shapley_values_share_out_all_that_both_bring():
    answers = Answers(*np.random.default_rng(0).normal(size=(4, 20)))
    np.testing.assert_allclose(
        sum(lookalikes.shapley(answers)), answers.film - answers.without_both
    )


def test_films_are_redrawn_in_their_order_without_their_lookalikes():
    spec = PhantomSpec(32)
    films = [draw(SEED, index, spec) for index in (7, 2, 11)]
    test = {"patient_id": np.array([film["patient_id"].encode() for film in films])}
    bare = lookalikes.redraw(test, 32, ("twin", "lung_mask", "lookalike_mask"))
    assert not bare["lookalike_mask"].any()
    np.testing.assert_array_equal(bare["lung_mask"], [film["lung_mask"] for film in films])
    has = [film["lookalike_mask"].any() for film in films]
    changed = [(bare["twin"][i] != film["twin"]).any() for i, film in enumerate(films)]
    assert changed == has and any(has)


def make_test_films() -> dict[str, np.ndarray]:
    """Row 0 has nothing harmless, rows 1-4 a quarter; row 4 is ill in half of that quarter."""
    harmless = np.zeros((5, 4, 4, 1), np.uint8)
    harmless[1:, :2, :2] = 255
    lesion = np.zeros_like(harmless)
    lesion[4, 0, :2] = 255
    return {
        "label": np.array([1, 1, 1, 0, 1]),
        "lookalike_mask": harmless,
        "lesion_mask": lesion,
    }


@pytest.fixture
def table() -> dict[str, dict]:
    # f(S) is additive, so a Shapley value is the gain itself: lesions 4, look-alikes as below.
    harmless, lesions = np.array([9.0, 1.0, 4.0, 3.0, 12.0]), np.array([4.0, 4.0, 4.0, 0.0, 4.0])
    answers = Answers(harmless + lesions - 2, harmless - 2, lesions - 2, np.full(5, -2.0))
    rows = np.array([4, 3, 2, 1, 0])
    shares = {"latent": np.array([0.5, 0.8, 0.3, 0.1, np.nan])}
    return lookalikes.summarise(make_test_films(), answers, rows, shares)


def test_the_classifiers_own_share_is_set_beside_the_maps(table):
    positives = table["true_positives"]
    assert positives["f"]["images"] == 3  # the film without look-alikes says nothing
    assert positives["f"]["mean"] == pytest.approx((12 / 16 + 4 / 8 + 1 / 5) / 3)
    assert positives["area"]["mean"] == pytest.approx((2 / 16 + 4 / 16 + 4 / 16) / 3)
    assert positives["latent"]["mean"] == pytest.approx((0.5 + 0.3 + 0.1) / 3)
    assert positives["latent"]["spearman_with_f"] == pytest.approx(1.0)


def test_false_positives_are_counted_where_a_lookalike_made_them(table):
    false = table["false_positives"]
    assert false["f"]["mean"] == 1.0 and false["f"]["images"] == 1
    assert false["negative_without_lookalikes"]["mean"] == 1.0
    assert false["latent"]["mean"] == 0.8
    assert table["true_positives"]["negative_without_lookalikes"]["mean"] == 0.0


def test_the_table_names_every_row(table):
    text = lookalikes.to_markdown(table)
    assert "| `f` | 0.483" in text and "| `latent` | 0.300" in text
    assert "`grad_cam`" not in text
    assert "False" not in text and "nan" not in text
