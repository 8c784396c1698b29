"""The picture of how rates grow."""

import json

import numpy as np
import pytest

from benchmarks import growth_plot
from cxr_jax.errors import InputError


def rows(*medians: float) -> dict[str, dict]:
    return {
        str(2**power): {"images_per_second": {"median": each, "least": each / 2, "most": each * 2}}
        for power, each in enumerate(medians, start=3)
    }


def test_a_panel_a_group_shows_median_and_range():
    figure = growth_plot.draw_figure({"gan_batch": rows(4, 6, 8), "gan_size": rows(8, 2)})
    assert [axes.get_title() for axes in figure.axes] == [
        growth_plot.TITLES["gan_size"],
        growth_plot.TITLES["gan_batch"],
    ]
    median, dotted = (
        line.get_xydata() for line in figure.axes[0].lines[:1] + figure.axes[0].lines[-1:]
    )
    np.testing.assert_allclose(median, [[8, 8], [16, 2]])
    np.testing.assert_allclose(dotted, median)  # four times the pixels, a fourth of the images
    (bars,) = figure.axes[1].collections
    np.testing.assert_allclose(
        [bar[:, 1] for bar in bars.get_segments()], [[2, 8], [3, 12], [4, 16]]
    )


def test_it_is_drawn_from_the_result_file(tmp_path, capsys):
    with pytest.raises(InputError, match="no growth.json"):
        growth_plot.run(tmp_path)
    document = {"study": "growth", "measured": {}, "results": {"gan_batch": rows(4, 6)}}
    (tmp_path / "growth.json").write_text(json.dumps(document))
    growth_plot.run(tmp_path)
    assert (tmp_path / "growth.png").stat().st_size > 5000
    assert "growth.png" in capsys.readouterr().out
