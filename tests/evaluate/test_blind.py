"""The share of a change where f is blind: by hand, and of the worst frame of a walk."""

import numpy as np
import pytest

from cxr_jax.configs import base, half_blind
from cxr_jax.evaluate import blind

SIDE = 4


def change(left: float, right: float) -> np.ndarray:
    image = np.zeros((SIDE, SIDE, 1))
    image[:, : SIDE // 2], image[:, SIDE // 2 :] = left, right
    return image


def test_the_half_that_is_not_used_is_counted():
    maps = np.stack([change(3.0, 1.0), change(0.0, 1.0)])
    np.testing.assert_allclose(blind.blind_shares(maps, "left"), [0.25, 1.0])
    np.testing.assert_allclose(blind.blind_shares(maps, "right"), [0.75, 0.0])
    np.testing.assert_allclose(blind.blind_shares(maps, "upper"), [0.5, 0.5])


def test_the_worst_frame_up_to_the_stop_counts():
    frames = np.stack(
        [change(0, 0), change(0.01, 0.02), change(0.5, 0.5), change(1.0, 0.0), change(0, 9.0)]
    )
    # The first change is a rounding of the third, and the last lies beyond the stop.
    assert blind.worst_frame(frames, 3, "left") == pytest.approx(0.5)
    assert np.isnan(blind.worst_frame(frames, 0, "left"))


def test_what_is_used_is_read_off_the_config():
    assert blind.used_half(half_blind.get_config("upper")) == "upper"
    assert blind.used_half(half_blind.get_config("right_alone")) == "right"
    assert blind.used_half(half_blind.get_config()) == "left"
    assert blind.used_half(base.get_config()) == ""
