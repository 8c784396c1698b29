"""Which latent governs f's answer and which the lungs, on numbers whose shares are known."""

import numpy as np
import pytest
from scipy import stats

from cxr_jax import metrics
from cxr_jax.data.film_parameters import LUNGS
from cxr_jax.evaluate.disentanglement import disentanglement, severity_ranks, variance_table


def test_variance_table_names_its_shares():
    a, b = np.array([[-1.0], [1.0]]), np.array([[-2.0, 2.0]])
    shares = {"z_structure": 0.2, "z_class": 0.8, "both": 0.0}
    assert variance_table(a + b) == pytest.approx(shares)
    assert variance_table(0 * a + 0 * b) == dict.fromkeys(shares)


@pytest.mark.parametrize("governor", ["z_structure", "z_class"])
def test_f_that_depends_on_one_latent_is_due_to_it_alone(governor):
    value = np.random.default_rng(0).normal(size=5)
    margin = np.repeat(value[:, None], 4, axis=1)
    margin = margin if governor == "z_structure" else margin.T
    table = disentanglement(margin, None)
    expected = {name: float(name == governor) for name in ("z_structure", "z_class", "both")}
    assert table == {"margin": pytest.approx(expected, abs=1e-12)}


def test_each_number_of_the_lungs_has_its_shares():
    # The class latent moves the lungs down, the structure makes them higher.
    masks = np.zeros((3, 2, 12, 12, 1), bool)
    for i in range(3):
        for j in range(2):
            masks[i, j, 2 + j : 4 + i + j + i, 2:5] = True
            masks[i, j, 2 + j : 4 + i + j + i, 7:10] = True
    table = disentanglement(np.zeros((3, 2)), masks)
    assert table.keys() == {"margin", *LUNGS}
    ours, theirs = table["lung_area"], table["left_lung_height"]
    assert ours == theirs == pytest.approx({"z_structure": 1, "z_class": 0, "both": 0})
    # Centre row 3 + i + j (in twelfths): variances 2/3 of i and 1/4 of j.
    expected = {"z_structure": 8 / 11, "z_class": 3 / 11, "both": 0.0}
    assert table["lung_row"] == pytest.approx(expected, abs=1e-9)
    assert table["lung_column"] == dict.fromkeys(expected)


def test_severity_is_compared_by_rank():
    severity = np.array([0.1, 0.4, 0.3, 0.9])
    assert metrics.spearman(severity**3, severity) == pytest.approx(1.0)
    assert metrics.spearman(-severity, severity) == pytest.approx(-1.0)
    # Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 (1 + 1) / (4 * 15).
    assert metrics.spearman(np.arange(4.0), severity) == pytest.approx(0.8)


@pytest.mark.parametrize("rise", [np.zeros(4), np.arange(2.0)], ids=["constant", "two films"])
def test_a_rank_correlation_that_is_undefined_is_null(rise):
    assert metrics.spearman(rise, np.linspace(0, 1, len(rise))) is None
    assert metrics.spearman(np.linspace(0, 1, len(rise)), 0 * rise) is None


def test_severity_ranks_are_of_all_films_and_of_those_called_positive():
    severity = np.array([0.0, 0.0, 0.2, 0.5, 0.9])
    margin = np.array([-2.0, -1.0, 3.0, 1.0, 2.0])
    rise = np.array([0.0, 0.0, 5.0, 4.0, 6.0])
    ranks = severity_ranks(rise, margin, severity)
    assert ranks["severity_spearman_among_positives"] == pytest.approx(0.5)
    assert ranks["severity_spearman_of_f_among_positives"] == pytest.approx(-0.5)
    # Ties share their rank: 1.5 1.5 4 3 5 against 1.5 1.5 3 4 5.
    assert ranks["severity_spearman"] == pytest.approx(8.5 / 9.5)
    assert ranks["severity_spearman_of_f"] == pytest.approx(stats.spearmanr(margin, severity)[0])
