"""How near each way of carrying a change comes to the twin."""

import numpy as np
import pytest

from cxr_jax import metrics
from experiments.command import parse
from experiments.studies import carrying


def picture(seed: int = 0) -> np.ndarray:
    """A smooth picture [64, 64] of values of about 0.3."""
    noise = np.random.default_rng(seed).normal(size=(64, 64))
    smooth = carrying.blur(noise, 4.0)
    return 0.3 * smooth / smooth.std()


def error(way: str, film: np.ndarray, twin: np.ndarray, pixels: float = 0.8) -> float:
    frame = carrying.carry(film, twin, pixels=pixels)[way]
    return metrics.relative_error(frame, twin, film)


def test_a_generator_without_blur_needs_no_film():
    film, twin = picture(0), picture(1)
    for way in ("drawn", "additive"):
        assert error(way, film, twin, pixels=1e-3) == pytest.approx(0.0, abs=1e-6)


def test_what_is_smooth_can_be_added_whatever_else_the_film_shows():
    grain = np.random.default_rng(2).normal(size=(64, 64)) * 0.2
    twin = picture(0) + grain
    film = twin + np.maximum(picture(1), 0)
    assert error("additive", film, twin) < 0.1 < error("drawn", film, twin)


def test_texture_goes_by_less_detail_and_not_by_a_blurred_difference():
    grain = np.random.default_rng(2).normal(size=(64, 64))
    smooth = picture(0)
    film, twin = smooth + 0.2 * grain, smooth + 0.05 * grain
    assert error("detail", film, twin) < 0.1
    assert error("additive", film, twin) > 0.5


def test_what_has_moved_is_moved_back():
    twin = picture(0) + 0.05 * np.random.default_rng(2).normal(size=(64, 64))
    film = np.roll(twin, 2, axis=1)
    assert error("warp, added", film, twin) < 0.7 * error("additive", film, twin)


def test_every_finding_and_way_has_a_row():
    options = parse(carrying.STUDY, ["--films=2", "--out="])
    *_, found = carrying.run(options)
    assert list(found) == list(carrying.FINDINGS)
    assert all(0 < entry["additive"]["mean"] < 1 for entry in found.values())
    assert "| `reticular` |" in carrying.to_markdown(found)
