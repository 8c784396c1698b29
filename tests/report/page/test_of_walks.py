"""What the page is told of walks, and of the run that they come from."""

import re

import numpy as np
import pytest
from builders import fade, make_tiny_config, make_walk, stop_at

from cxr_jax import __version__
from cxr_jax.report.page import of_walks
from cxr_jax.report.page.of_walks import Beside, order_paths, page_films, run_facts, share_out


@pytest.mark.parametrize(
    ("counts", "most", "shown"),
    [
        ((31, 32), 24, [12, 12]),
        ((3, 40), 24, [3, 21]),
        ((40, 3), 24, [21, 3]),
        ((5, 4), 24, [5, 4]),
        ((10, 0), 4, [4, 0]),
        ((9, 9), 1, [0, 1]),
    ],
)
def test_both_directions_are_shown_alike_as_far_as_there_are_films(counts, most, shown):
    assert share_out(counts, most) == shown


def test_the_explaining_path_comes_first_and_a_row_has_no_more_than_fit():
    names = ["linear", "aligned", "ray", "necessary", "natural"]
    assert order_paths(names, "necessary") == ["necessary", "linear", "aligned", "ray"]
    assert order_paths(["linear"], "linear") == ["linear"]


def test_provenance_names_no_folder_and_nobody():
    config = make_tiny_config().to_dict()
    config["data"] |= {"name": "cxr_folder", "dir": "/home/somebody/films", "positive_class": "tb"}
    facts = run_facts(config, "/home/somebody/films/1.0.0")
    text = " ".join(facts.provenance.values())
    assert "/" not in text.replace("commit", "") and "somebody" not in text
    assert facts.provenance["cxr_jax"] == __version__ and facts.provenance["seed"].startswith("0")
    assert re.fullmatch("[0-9a-f]{16}", facts.provenance["config, SHA-256"])
    assert facts.finding == "“tb”" and not facts.is_phantom


def test_who_taught_the_classifier_is_told():
    facts = run_facts(make_tiny_config().to_dict(), "")
    assert facts.is_phantom and "synthetic" in facts.finding
    assert "synthetic" in facts.provenance["taught by"]


def test_films_are_shown_with_their_own_walk_masks_and_maps():
    image = np.random.default_rng(0).uniform(-1, 0, (3, 8, 8, 1)).astype(np.float32)
    walks = stop_at(make_walk(fade(image, image + 1, 4), np.linspace(2, -2, 5)), [1, 4, 2])
    masks = np.zeros((3, 8, 8, 1), np.uint8)
    masks[2, 1, 1] = 255
    maps = np.arange(-3.0, 0.0).reshape(3, 1, 1, 1) * np.ones((3, 8, 8, 1))
    films = page_films(
        walks,
        names=["a", "b", "c"],
        reasons=["", "too dark", ""],
        towards=[-1, -1, 1],
        path="geodesic",
        target=lambda towards: 3.0 * towards,
        beside=Beside(masks={"lesion_mask": masks, "twin": masks}, maps={"grad_cam": maps}),
        num_films=24,
    )
    assert [(film.name, film.reason, film.towards) for film in films] == [
        ("a", "", -1),
        ("b", "too dark", -1),
        ("c", "", 1),
    ]
    assert [list(film.masks) for film in films] == [[], [], ["lesion_mask"]]
    assert films[2].masks["lesion_mask"].sum() == 1
    for film, value in zip(films, (3, 2, 1), strict=True):
        np.testing.assert_array_equal(film.maps["Grad-CAM"], value)
    paths = [film.paths[0] for film in films]
    assert [(path.stop, path.target) for path in paths] == [(1, -3.0), (4, -3.0), (2, 3.0)]
    assert paths[0].name == "geodesic (robust features)"
    for path, film in zip(paths, image, strict=True):
        assert path.frames.dtype == np.uint8 and path.frames.shape == (5, 8, 8)
        np.testing.assert_allclose(path.frames[0] / 127.5 - 1, film[..., 0], atol=0.5 / 127.5)


def test_no_more_films_than_a_page_holds():
    many = 5
    image = np.zeros((many, 2, 2, 1), np.float32)
    walks = stop_at(make_walk(fade(image, image, 1), [1.0, -1.0]), np.ones(many, int))
    films = page_films(
        walks,
        names=[str(n) for n in range(many)],
        reasons=[""] * many,
        towards=[-1] * many,
        path="linear",
        target=float,
        beside=of_walks.NOTHING,
        num_films=3,
    )
    assert [film.name for film in films] == ["0", "1", "2"]
    page = of_walks.page_of_films(
        films, many, run_facts(make_tiny_config().to_dict(), ""), beside=of_walks.NOTHING
    )
    assert page.num_explained == many and page.tables == () and page.audit == ""
