"""Which frames, words and scales report.html shows of its films."""

import dataclasses

import numpy as np
import pytest
from pages import make_film, make_page, make_table

from cxr_jax import plots
from cxr_jax.report.page import view
from cxr_jax.report.page.content import Cell


def answer(film, margin, judge_margin, stop):
    """The film with other answers of f and h along its first path, stopped elsewhere."""
    path = dataclasses.replace(
        film.paths[0],
        margin=np.array(margin, float),
        judge_margin=np.array(judge_margin, float),
        stop=stop,
    )
    return dataclasses.replace(film, paths=[path])


@pytest.mark.parametrize(
    ("margin", "judge_margin", "stop", "flipped", "end"),
    [
        ([2, -1, -2], [1, 1, -1], 2, True, "both change their decision."),
        ([2, -1, -2], [1, 1, -1], 1, False, "f changes its decision, h does not go with it."),
        ([2, -1, -2], [-1, -1, -1], 2, False, "f changes its decision, h does not go with it."),
        ([2, 1, 0.5], [1, -1, -1], 2, False, "f does not change its decision."),
    ],
)
def test_the_sentence_says_who_changed_its_mind(margin, judge_margin, stop, flipped, end):
    film = answer(make_film(steps=2), margin, judge_margin, stop)
    path = film.paths[0]
    assert view.outcome(path, -1).endswith(end)
    assert view.flips(-1, stop, path.margin, path.judge_margin) == flipped


def test_the_sentence_has_the_answers_at_both_ends():
    path = answer(make_film(steps=2), [np.log(3), 0, -50], [0, 0, -np.log(3)], 2).paths[0]
    assert view.outcome(path, -1).startswith(
        "By frame 2 f goes from 75% to <1% and h from 50% to 25%"
    )


def test_all_frames_are_shown_of_a_walk_of_ordinary_length():
    film = make_film(steps=24)
    np.testing.assert_array_equal(view.shown_frames(film), np.arange(25))


def test_of_a_long_walk_some_frames_are_shown_and_every_stop():
    film = make_film(steps=999)
    film = dataclasses.replace(
        film,
        paths=[dataclasses.replace(p, stop=s) for p, s in zip(film.paths, (501, 3), strict=True)],
    )
    shown = view.shown_frames(film)
    assert len(shown) <= view.MOST_FRAMES and {0, 3, 501, 999} <= set(shown.tolist())
    seen = view.view_film(film, 1, view.scale_of([film], plots.PLAIN), heat="magma")
    assert (seen.last, seen.numbers) == (999, shown.tolist())
    for path, stop in zip(seen.paths, (501, 3), strict=True):
        assert seen.numbers[path.at_stop] == path.stop == stop
        assert len(path.f) == len(path.curve.x) == len(shown)


def test_all_overlays_have_one_scale():
    films = [make_film(seed) for seed in range(3)]
    sizes = [np.abs(film.paths[0].change).max() for film in films]
    expected = view.OPAQUE_FROM * np.median(sizes)
    assert view.scale_of(films, plots.PLAIN).limit == pytest.approx(expected)


def test_films_that_hardly_change_are_not_made_to_look_strong():
    film = make_film()
    faint = dataclasses.replace(film.paths[0], stop=0)
    film = dataclasses.replace(film, paths=[faint])
    assert view.scale_of([film], plots.PLAIN).limit == view.LEAST_LIMIT


def test_the_change_is_that_of_the_stop_on_the_scale_of_films():
    path = make_film().paths[1]
    difference = path.frames[path.stop].astype(float) - path.frames[0]
    np.testing.assert_allclose(path.change, difference / 127.5, rtol=1e-6)


def test_reasons_are_told_once_by_number():
    table = make_table(
        Cell(text="–", reason="no mask"),
        Cell(text="1.00"),
        Cell(text="–", reason="no twin"),
        Cell(text="–", reason="no mask"),
    )
    seen = view.view_table(table)
    assert [cell.mark for cell in seen.rows[0].cells] == ["1", "", "2", "1"]
    assert seen.notes == [("1", "no mask"), ("2", "no twin")]


def test_a_page_may_be_without_films():
    films, scale = view.view_films(make_page(), plots.PLAIN)
    assert films == [] and scale.limit == view.LEAST_LIMIT
