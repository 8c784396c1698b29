"""The share of a change where f is blind: by hand, and of the worst frame of a walk."""

import numpy as np
import pytest

from cxr_jax.configs import base, covid, half_blind
from cxr_jax.evaluate import blind

SIDE = 4


def change(left: float, right: float) -> np.ndarray:
    image = np.zeros((SIDE, SIDE, 1))
    image[:, : SIDE // 2], image[:, SIDE // 2 :] = left, right
    return image


def test_the_half_that_is_not_used_is_counted():
    maps = np.stack([change(3.0, 1.0), change(0.0, 1.0)])
    for half, wanted in {"left": [0.25, 1.0], "right": [0.75, 0.0], "upper": [0.5, 0.5]}.items():
        masks = blind.blind_pixels(half, maps, None)
        np.testing.assert_allclose(blind.blind_shares(maps, masks), wanted)


def test_a_classifier_of_lungs_is_blind_beyond_what_it_sees_of_each_film():
    films = np.zeros((2, 32, 32, 1))
    films[0, 10:20, 10:20], films[1, 4:8, 4:8] = 1.0, 1.0
    masks = blind.blind_pixels("lungs", films, lambda image: image > 0)
    np.testing.assert_array_equal(masks.sum(axis=(1, 2, 3)), [32**2 - 10**2, 32**2 - 4**2])
    # Film by film: what is lung on one of them is not on the other.
    maps = np.zeros_like(films)
    maps[:, 12, 12], maps[:, 5, 5] = 3.0, 1.0
    np.testing.assert_allclose(blind.blind_shares(maps, masks), [0.25, 0.75])


def test_the_worst_frame_up_to_the_stop_counts():
    frames = np.stack(
        [change(0, 0), change(0.01, 0.02), change(0.5, 0.5), change(1.0, 0.0), change(0, 9.0)]
    )
    # The first change is a rounding of the third, and the last lies beyond the stop.
    right = blind.blind_pixels("left", frames, None)
    assert blind.worst_frame(frames[:4], right[:4]) == pytest.approx(0.5)
    assert blind.worst_frame(frames, right) == 1.0
    assert np.isnan(blind.worst_frame(frames[:1], right[:1]))


def test_what_comes_to_be_seen_is_no_longer_blind():
    """Both frames change both halves; of the second f sees the right one too."""
    frames = np.stack([change(0, 0), change(0.5, 0.5), change(1.0, 1.0)])
    right = blind.blind_pixels("left", frames, None).copy()
    right[2] = False
    assert blind.worst_frame(frames, right) == pytest.approx(0.5)
    right[1] = False
    assert blind.worst_frame(frames, right) == 0.0


def test_what_is_used_is_read_off_the_config():
    assert blind.used_part(half_blind.get_config("upper")) == "upper"
    assert blind.used_part(half_blind.get_config("right_alone")) == "right"
    assert blind.used_part(half_blind.get_config()) == "left"
    assert blind.used_part(base.get_config()) == ""
    assert blind.used_part(covid.get_config("lungs128")) == "lungs"
