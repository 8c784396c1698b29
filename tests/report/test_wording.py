"""Numbers as people read them."""

import numpy as np
import pytest

from cxr_jax.report.wording import percent, percents


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0%"), (0.004, "<1%"), (0.43, "43%"), (0.994, "99%"), (0.996, ">99%"), (1.0, "100%")],
)
def test_what_is_not_quite_all_is_not_called_all(share, text):
    assert percent(share) == text


def test_a_margin_of_zero_is_a_half_and_a_large_one_no_overflow():
    assert percents(np.float32([0, np.log(3), -1e4, 20])) == ["50%", "75%", "0%", ">99%"]
