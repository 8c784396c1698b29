"""How alike the changes of different films are."""

import numpy as np
import pytest

from experiments.studies import ends

SIDE = 4


def make_changes(*columns: int) -> np.ndarray:
    """One film each, changed in one column of its picture."""
    change = np.zeros((len(columns), SIDE, SIDE, 1))
    for film, column in enumerate(columns):
        change[film, :, column] = film + 1.0
    return change


@pytest.mark.parametrize(
    ("columns", "expected"),
    [((1, 1, 1), 1.0), ((0, 1), -1 / 3), ((0, 0, 1), (1 - 2 / 3) / 3)],
)
def test_changes_are_alike_as_their_pictures_correlate(columns, expected):
    """Two columns of four correlate by -1/3, whatever their strengths."""
    assert ends.mean_correlation(make_changes(*columns)) == pytest.approx(expected)


def test_a_film_without_a_change_is_left_out():
    change = np.concatenate([make_changes(1, 1), np.zeros((1, SIDE, SIDE, 1))])
    assert ends.mean_correlation(change) == pytest.approx(1.0)


def test_a_change_is_read_at_its_stop(tmp_path):
    """The frame of the stop less the first, of walks towards positive alone."""
    (tmp_path / "explain").mkdir()
    carried = np.zeros((2, 3, SIDE, SIDE, 1), np.uint8)
    carried[0, 1, 0], carried[1, 2, 1], carried[:, 0] = 255, 255, 51
    arrays = {"carried": carried, "frame": np.array([1, 2])}
    np.savez(
        tmp_path / "explain" / "walks.npz",
        **{f"neg_to_pos/linear/{name}": array for name, array in arrays.items()},
        **{f"pos_to_neg/ray/{name}": array for name, array in arrays.items()},
    )
    (found,) = ends.changes(tmp_path).items()
    assert found[0] == "linear"
    np.testing.assert_allclose(found[1][0, 0], 1.6, rtol=1e-5)
    np.testing.assert_allclose(found[1][1, 1], 1.6, rtol=1e-5)
    np.testing.assert_allclose(found[1][1, 0], -0.4, rtol=1e-5)
