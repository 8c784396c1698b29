"""The picture of what training is worth."""

import json

import numpy as np
import pytest

from cxr_jax.errors import InputError
from experiments import quality_plot


def entry(mean: float) -> dict:
    return {"mean": mean, "ci95": [mean - 0.1, mean + 0.2]}


def training(gan: float, mean: float) -> dict:
    figures = {name: entry(mean) for name in quality_plot.PANELS}
    return {
        "seconds": {"gan": gan, "encoder": 10.0},
        "figures": {"linear": figures, "necessary": figures},
    }


FOUND = {"700x32": training(200.0, 0.7), "350x32": training(100.0, 0.5)}


def test_figures_lie_over_the_seconds_of_both_trainings():
    figure = quality_plot.draw_figure(FOUND)
    assert [axes.get_title() for axes in figure.axes] == list(quality_plot.PANELS.values())
    line = figure.axes[0].containers[0].lines[0]
    np.testing.assert_allclose(line.get_xydata(), [[110, 0.5], [210, 0.7]])
    (bars,) = figure.axes[0].containers[0].lines[2]
    np.testing.assert_allclose([bar[:, 1] for bar in bars.get_segments()], [[0.4, 0.7], [0.6, 0.9]])


def test_it_is_drawn_from_the_result_file(tmp_path, capsys):
    with pytest.raises(InputError, match=r"no time_to_quality\.json"):
        quality_plot.run(tmp_path)
    document = {"study": "time_to_quality", "measured": {}, "results": FOUND}
    (tmp_path / "time_to_quality.json").write_text(json.dumps(document))
    quality_plot.run(tmp_path)
    assert (tmp_path / "time_to_quality.png").stat().st_size > 5000
    assert "time_to_quality.png" in capsys.readouterr().out
