"""The figures say what they show."""

import re

import matplotlib
import numpy as np
import pytest
from builders import make_walk, refused, stop_at
from PIL import Image

from cxr_jax import plots
from cxr_jax.configs import base
from cxr_jax.report.figures import make_style


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


@pytest.fixture
def strip():
    """Draws a strip of one film in a style."""
    carried = np.random.default_rng(0).uniform(-1, 1, (1, 2, 8, 8, 1)).astype(np.float32)
    stopped = stop_at(make_walk(carried, [1.0, -1.0]), [1])
    return lambda style: plots.traversal(stopped, ["a"], 2, style=style)


def test_the_config_says_how_figures_look():
    section = base.get_config().explain.figures
    assert make_style(section) == plots.PLAIN
    section.update(dict(font="DejaVu Serif", font_size=12.0, change_map="PuOr_r"))
    section.update(dict(heat_map="viridis", formats=("pdf", "png")))
    assert make_style(section) == plots.Style(
        font="DejaVu Serif", size=12.0, change="PuOr_r", heat="viridis", formats=("pdf", "png")
    )


def test_font_size_and_map_reach_the_letters_and_the_change(strip):
    style = plots.Style(font="DejaVu Serif", size=14.0, change="BrBG_r")
    for drawn, wanted in ((strip(style), style), (strip(plots.PLAIN), plots.PLAIN)):
        label = drawn.axes[0].xaxis.label
        assert label.get_fontname() == wanted.font
        assert label.get_fontsize() == pytest.approx(wanted.size * 5 / 6, rel=0.01)  # "small"
        assert drawn.axes[-1].images[0].get_cmap().name == wanted.change
    words = drawn.axes[-1].get_xlabel()
    assert words == "red: brighter, blue: darker"
    assert strip(style).axes[-1].get_xlabel() == "brown: brighter, teal: darker"
    assert matplotlib.rcParams["font.size"] == matplotlib.rcParamsDefault["font.size"]


def test_a_figure_is_saved_in_every_format_with_its_letters_as_letters(strip, tmp_path):
    style = plots.Style(font="DejaVu Serif", formats=("png", "pdf"))
    plots.save(strip(style), tmp_path / "strip.png", style)
    assert {path.name for path in tmp_path.iterdir()} == {"strip.png", "strip.pdf"}
    assert np.asarray(Image.open(tmp_path / "strip.png").convert("L")).std() > 10
    document = (tmp_path / "strip.pdf").read_bytes()
    assert document.startswith(b"%PDF") and b"DejaVuSerif" in document
    assert b"/CIDFontType2" in document and b"CreationDate" not in document
    plots.save(strip(style), tmp_path / "again.pdf", style)
    assert (tmp_path / "again.pdf").read_bytes() == document


def test_a_font_that_is_not_installed_is_refused():
    plots.check_font("DejaVu Sans")
    assert "'No Such Font' is not installed" in refused(plots.check_font, "No Such Font")


# Dichromats' views of linear RGB (Vienot, Brettel & Mollon, 1999).
DICHROMATS = {
    "protan": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deutan": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


def seen(rgb, kind: str) -> np.ndarray:
    """CIE Lab of a colour as a dichromat sees it."""
    share = np.asarray(rgb) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(DICHROMATS[kind]) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    ratio = np.array(to_xyz) @ linear / [0.9505, 1.0, 1.089]
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def of_css(colour: str) -> list[int]:
    return [int(part, 16) for part in re.findall("..", colour[1:])]


@pytest.mark.parametrize("kind", DICHROMATS)
def test_what_is_added_and_removed_looks_different_to_anybody(kind):
    """Colours 20 apart in Lab are told apart at a glance; red and dark green may be 10."""
    pairs = [[tint.rgb for tint in plots.change_tints(name)] for name in plots.CHANGE_MAPS]
    pairs.append([of_css(plots.POSITIVE), of_css(plots.NEGATIVE)])
    for one, other in pairs:
        assert np.linalg.norm(seen(one, kind) - seen(other, kind)) > 20


def test_a_tints_colour_is_the_one_on_its_side_of_the_map():
    for name in plots.CHANGE_MAPS:
        added, removed = plots.change_tints(name)
        above, below = (matplotlib.colormaps[name](share, bytes=True)[:3] for share in (0.9, 0.1))
        for tint, near, far in ((added, above, below), (removed, below, above)):
            apart = [np.abs(np.subtract(tint.rgb, other, dtype=int)).sum() for other in (near, far)]
            assert apart[0] < apart[1]
        assert re.fullmatch("#[0-9a-f]{6}", added.css)
