"""Lungs are taken apart within themselves: nothing of what lies beside them is in either part."""

import numpy as np
import pytest

from experiments.scales import SCALES, amount, lung_mean, shading


@pytest.fixture
def lungs() -> np.ndarray:
    """Left half of a film, and none of another."""
    mask = np.zeros((2, 64, 64, 1), bool)
    mask[0, :, :32] = True
    return mask


def checks(side: int) -> np.ndarray:
    """Squares of so many pixels of -1 and 1 [64, 64, 1]."""
    return 2.0 * ((np.indices((64, 64)) // side).sum(axis=0) % 2)[..., None] - 1


@pytest.mark.parametrize("scale", SCALES.values())
def test_evenly_lit_lungs_have_their_own_grey_up_to_their_edge(lungs, scale):
    image = np.where(lungs, 0.4, -1.0)
    shade = shading(image, lungs, scale)
    np.testing.assert_allclose(shade[lungs], 0.4, rtol=1e-5)
    assert not shade[~lungs].any()
    assert amount(image, lungs, scale)[0] == pytest.approx(0, abs=1e-6)


def test_a_pattern_is_detail_of_scales_coarser_than_itself(lungs):
    fine, coarse = (
        [amount(0.1 * checks(side)[None], lungs[:1], scale)[0] for scale in SCALES.values()]
        for side in (1, 16)
    )
    # At 1/16 a pixel in a hundred is a tenth of what it was; the squares of 16 keep their insides.
    np.testing.assert_allclose(fine[1:], 0.1, rtol=0.01)
    assert coarse[0] < coarse[1] < coarse[2] < 0.09
    assert coarse[0] < 0.03


def test_shading_is_a_normalised_gaussian_by_hand():
    image = np.zeros((1, 64, 64, 1))
    image[0, 20, 20] = 1
    shade = shading(image, np.ones(image.shape, bool), 1 / 32)
    weights = np.exp(-np.square(np.arange(-8, 9)) / (2 * 2.0**2))
    weights /= weights.sum()
    assert shade[0, 20, 20, 0] == pytest.approx(weights[8] ** 2, rel=1e-4)
    assert shade[0, 22, 19, 0] == pytest.approx(weights[10] * weights[7], rel=1e-4)


def test_without_lungs_nothing_is_known(lungs):
    image = np.ones(lungs.shape)
    assert np.isnan(lung_mean(image, lungs)[1]).all() and lung_mean(image, lungs)[0] == 1
    assert np.isnan(amount(image, lungs, 1 / 64)[1])
