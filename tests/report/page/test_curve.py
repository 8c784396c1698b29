"""The response curve: where frames and probabilities lie."""

import numpy as np
import pytest

from cxr_jax.report.page import curve


def test_frames_go_right_and_probabilities_up():
    numbers = np.array([0, 1, 2, 4])
    drawn = curve.draw_curve(
        np.array([-50.0, 0.0, np.log(3), 50.0]),
        np.array([0.0, 0.0, 0.0, -50.0]),
        numbers,
        stop=2,
        target=np.log(3),
    )
    width, height = curve.RIGHT - curve.LEFT, curve.BOTTOM - curve.TOP
    assert drawn.x == pytest.approx([curve.LEFT + width * n / 4 for n in numbers], abs=0.06)
    heights = [curve.BOTTOM - height * share for share in (0, 0.5, 0.75, 1)]
    assert drawn.f == pytest.approx(heights, abs=0.06)
    assert drawn.h == pytest.approx([heights[1]] * 3 + [curve.BOTTOM], abs=0.06)
    assert drawn.stop == drawn.x[2] and drawn.target == drawn.f[2]
    assert drawn.threshold == drawn.f[1]
    assert drawn.f_line.split()[1] == f"{drawn.x[1]},{drawn.f[1]}"
    assert [number for number, _ in drawn.ticks] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("last", [1, 7, 24, 1000])
def test_ticks_are_few_and_begin_at_the_film(last):
    margin = np.zeros(last + 1)
    ticks = curve.draw_curve(margin, margin, np.arange(last + 1), stop=0, target=0.0).ticks
    assert ticks[0] == (0, curve.LEFT) and 2 <= len(ticks) <= 7
