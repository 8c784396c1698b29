"""The figures say what they show."""

import numpy as np
import pytest

from cxr_jax import plots


def test_a_margin_of_zero_is_a_half():
    assert plots.probability(0.0) == 0.5
    assert plots.probability(np.log(3.0)) == pytest.approx(0.75)


def test_the_papers_figure_has_its_probabilities_above_and_positive_minus_negative_last():
    rng = np.random.default_rng(0)
    frames = rng.uniform(-1, 1, size=(2, 11, 8, 8, 1))
    margin = np.linspace(-4, 4, 11) + np.zeros((2, 1))
    panels = np.reshape(
        plots.interpolation(frames, margin, ["first", "a" * 40 + ".png"]).axes, (2, 12)
    )
    titles = [panel.get_title() for panel in panels[0]]
    assert [title.split("\n")[0] for title in titles[:-1]] == [
        f"α = {i / 10:.1f}" for i in range(11)
    ]
    assert titles[0].endswith("p = 0.02") and titles[5].endswith("p = 0.50")
    assert panels[1, 10].get_title() == "p = 0.98"
    assert titles[-1] == "positive − negative"
    # Which film a row shows; of a long name the end.
    assert panels[0, 0].get_ylabel() == "first"
    named = panels[1, 0].get_ylabel()
    assert named.startswith("…aaa") and named.endswith("a.png") and len(named) == plots.LONGEST
    for row in range(2):
        shown = panels[row, -1].images[0]
        change = frames[row, 10] - frames[row, 0]
        np.testing.assert_allclose(np.asarray(shown.get_array()), change[..., 0])
        limit = np.abs(change).max()
        assert shown.get_clim() == (pytest.approx(-limit), pytest.approx(limit))
        drawn = np.asarray(panels[row, 3].images[0].get_array())
        np.testing.assert_allclose(drawn, frames[row, 3, ..., 0])
