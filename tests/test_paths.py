"""Every path by name on a GAN with random weights: where it starts and ends, whose walk it is."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import toy_networks
from toy_networks import NUM_SEVERITY, ToyGan

from cxr_jax.configs import base
from cxr_jax.explain import paths
from cxr_jax.explain import traversal
from cxr_jax.explain.films import Films
from cxr_jax.explain.films import Thresholds
from cxr_jax.explain.paths import DIRECTIONS
from cxr_jax.explain.paths import NAMES
from cxr_jax.explain.paths import Guide

N, K, NUM_ENDS = 5, 4, 2


class World(NamedTuple):
    """Paths bound to networks, films, and the walks of all by direction and path."""

    gan: ToyGan
    section: ml_collections.ConfigDict
    paths: dict
    guide: Guide
    films: dict[str, Films]
    thresholds: Thresholds
    walks: dict[str, dict[str, list[traversal.Walk]]]


def make_section(names=NAMES) -> ml_collections.ConfigDict:
    section = base.get_config().explain
    section.update(dict(paths=names, walk_steps=K, batch_size=8))
    section.geodesic.update(dict(num_points=4, num_steps=3))
    section.natural.num_products = 3
    return section


def alike(films: Films) -> Films:
    """The N films whose margins are the closest, so that one threshold stops all on their way."""
    order = np.argsort(films.margin)
    margin = films.margin[order]
    first = int((margin[N - 1 :] - margin[: len(margin) - N + 1]).argmin())
    return films.rows(order[first : first + N])


def stop_midway(walked: traversal.Walk, towards: int) -> float:
    """A margin that some walks reach before their end."""
    return float(np.median(walked.margin[:, K // 2]))


@pytest.fixture(scope="module")
def world() -> World:
    gan = toy_networks.make_gan()
    section = make_section()
    named = paths.make_paths(gan.networks, gan.judge, gan.robust, section)
    films = {
        d: alike(toy_networks.make_films(gan, 60, towards < 0)) for d, towards in DIRECTIONS.items()
    }
    rng = np.random.default_rng(2)
    ends = np.float32(rng.normal(size=(NUM_ENDS, NUM_SEVERITY)))
    guide = Guide(0.02, ends, np.float32(rng.normal(size=NUM_SEVERITY)))

    def walk_all(only, thresholds):
        return {
            d: paths.walk_films(only, gan.trained, guide, films[d], towards, thresholds, seed=0)
            for d, towards in DIRECTIONS.items()
        }

    anywhere = Thresholds(1.0, 1.0, 0.0, 0.0, 1.0)
    first = walk_all({"aligned": named["aligned"]}, anywhere)
    median = {d: stop_midway(first[d]["aligned"][0], t) for d, t in DIRECTIONS.items()}
    thresholds = Thresholds(1.0, 1.0, median["neg_to_pos"], median["pos_to_neg"], 1.0)
    walks = walk_all(named, thresholds)
    return World(gan, section, named, guide, films, thresholds, walks)


def each_walk(world):
    for direction, by_path in world.walks.items():
        for name, walks in by_path.items():
            for walked in walks:
                yield direction, name, walked


def moves(points) -> np.ndarray:
    """From the start to each later point [N, K, n]."""
    return points[:, 1:] - points[:, :1]


def assert_straight(points, rtol=1e-3) -> None:
    """All points of a film lie on one ray from its first."""
    moved = moves(points)
    length = np.linalg.norm(moved, axis=-1)
    along = moved[:, -1] / length[:, -1:]
    np.testing.assert_allclose((moved * along[:, None]).sum(-1), length, rtol=rtol)


def test_every_path_is_made_in_order_and_only_those_asked_for(world):
    assert tuple(world.paths) == NAMES
    networks, judge = world.gan.networks, world.gan.judge
    some = paths.make_paths(networks, judge, None, make_section(("pixel", "aligned", "linear")))
    assert tuple(some) == ("linear", "aligned", "pixel")


def test_every_path_is_walked_by_every_film(world):
    assert tuple(world.walks["pos_to_neg"]) == NAMES
    for direction, name, walked in each_walk(world):
        films = world.films[direction]
        num_severity = 0 if name == "pixel" else NUM_SEVERITY
        assert walked.points.shape == (N, K + 1, num_severity), name
        assert walked.drawn.shape == walked.carried.shape == (N, K + 1, *films.image.shape[1:])
        for array in (walked.margin, walked.judged, walked.drawn_margin, walked.distance):
            assert array.shape == (N, K + 1), name
        assert all(np.isfinite(array).all() for array in walked), name
        assert (walked.distance[:, -1] > 1e-3).all(), name  # it goes somewhere


def test_a_walk_sets_out_from_the_film_itself(world):
    for direction, name, walked in each_walk(world):
        films = world.films[direction]
        np.testing.assert_allclose(walked.carried[:, 0], films.image, atol=1e-6)
        if name == "pixel":
            np.testing.assert_array_equal(walked.drawn[:, 0], films.image)
        else:
            np.testing.assert_allclose(walked.points[:, 0], films.severity, atol=1e-6)
            np.testing.assert_allclose(walked.drawn[:, 0], films.drawn, atol=1e-5)
        np.testing.assert_allclose(walked.distance[:, 0], np.zeros(N), atol=1e-6)


def test_frames_and_answers_are_those_of_the_networks(world):
    gan = world.gan
    for direction, _, walked in each_walk(world):
        structure = world.films[direction].structure
        for k in (1, K):
            carried, drawn = walked.carried[:, k], walked.drawn[:, k]
            np.testing.assert_allclose(walked.margin[:, k], gan.classify(carried), atol=1e-5)
            np.testing.assert_allclose(walked.judged[:, k], gan.judge_films(carried), atol=1e-5)
            np.testing.assert_allclose(walked.drawn_margin[:, k], gan.classify(drawn), atol=1e-5)
            if walked.points.shape[-1]:
                again = gan.draw(structure, walked.points[:, k])
                np.testing.assert_allclose(drawn, again, atol=1e-5)


def test_linear_goes_from_a_positive_to_the_origin(world):
    (walked,) = world.walks["pos_to_neg"]["linear"]
    np.testing.assert_allclose(walked.points[:, -1], np.zeros_like(walked.points[:, 0]), atol=1e-6)
    assert_straight(walked.points)


def test_linear_goes_from_a_negative_to_each_training_positive(world):
    walks = world.walks["neg_to_pos"]["linear"]
    assert len(walks) == NUM_ENDS
    for walked, end in zip(walks, world.guide.ends, strict=True):
        np.testing.assert_allclose(walked.points[:, -1], np.tile(end, (N, 1)), atol=1e-5)
        assert_straight(walked.points)


@pytest.mark.parametrize("name", paths.GEODESICS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_geodesics_have_the_ends_of_linear(world, name, direction):
    (walked,) = world.walks[direction][name]
    straight = world.walks[direction]["linear"][0]
    np.testing.assert_allclose(walked.points[:, -1], straight.points[:, -1], atol=1e-5)
    assert np.abs(walked.points[:, 1:-1] - straight.points[:, 1:-1]).max() > 1e-3


def test_the_two_geodesics_measure_differently(world):
    for walks in world.walks.values():
        robust, pixel = (walks[name][0].points for name in paths.GEODESICS)
        assert np.abs(robust - pixel).max() > 1e-3


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_chord_goes_straight_to_where_aligned_stopped(world, direction):
    aligned, chord = (world.walks[direction][name][0] for name in ("aligned", "chord"))
    towards = DIRECTIONS[direction]
    frame, _ = traversal.stop(aligned.margin, world.thresholds.target(towards), towards)
    assert len(set(frame)) > 1 and (frame > 0).all()
    end = aligned.points[np.arange(N), frame]
    np.testing.assert_allclose(chord.points[:, -1], end, atol=1e-5)
    assert_straight(chord.points)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_ray_leaves_as_aligned_does_and_keeps_its_direction(world, direction):
    ray, aligned = (world.walks[direction][name][0].points for name in ("ray", "aligned"))
    np.testing.assert_allclose(ray[:, 1], aligned[:, 1], atol=1e-5)
    assert_straight(ray)
    assert np.abs(ray[:, -1] - aligned[:, -1]).max() > 1e-4


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_fields_lead_the_margin_the_way_they_are_told(world, direction):
    towards = DIRECTIONS[direction]
    for name in ("aligned", "natural", "ray"):
        (walked,) = world.walks[direction][name]
        assert (towards * np.diff(walked.drawn_margin[:, :2], axis=1) > 0).all(), name
    (walked,) = world.walks[direction]["pixel"]
    assert (towards * np.diff(walked.margin[:, :2], axis=1) > 0).all()


def test_paths_without_an_end_have_the_step_length_that_they_are_given(world):
    for _, name, walked in each_walk(world):
        if name in ("aligned", "natural", "ray", "global", "random"):
            steps = np.sqrt(np.square(np.diff(walked.drawn, axis=1)).mean(axis=(2, 3, 4)))
            np.testing.assert_allclose(
                steps, np.full((N, K), world.guide.step_length), rtol=0.1, err_msg=name
            )


def test_random_is_absent_from_negatives(world):
    assert "random" in world.walks["pos_to_neg"]
    assert set(NAMES) - set(world.walks["neg_to_pos"]) == {"random"}


def test_random_is_each_films_own_direction_and_repeats_with_its_seed(world):
    (walked,) = world.walks["pos_to_neg"]["random"]
    assert_straight(walked.points)
    directions = np.asarray(traversal.unit(jnp.asarray(moves(walked.points)[:, -1])))
    cosine = directions @ directions.T
    assert np.abs(cosine - np.eye(N)).max() < 0.99
    only = {"random": world.paths["random"]}

    def again(seed):
        films, thresholds = world.films["pos_to_neg"], world.thresholds
        arguments = world.gan.trained, world.guide, films, -1, thresholds, seed
        return paths.walk_films(only, *arguments)["random"][0].points

    np.testing.assert_array_equal(again(0), walked.points)
    assert np.abs(again(1) - walked.points).max() > 1e-2


def test_global_is_one_direction_for_all_films(world):
    expected = world.guide.direction / np.linalg.norm(world.guide.direction)
    for direction, towards in DIRECTIONS.items():
        (walked,) = world.walks[direction]["global"]
        moved = moves(walked.points)
        unit = moved / np.linalg.norm(moved, axis=-1, keepdims=True)
        np.testing.assert_allclose(unit, np.broadcast_to(towards * expected, unit.shape), atol=1e-3)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_films_walk_is_its_own_whatever_batch_it_sits_in(world, direction):
    """Other mates on its device, another device, and a batch that is not full."""
    rows = np.array([4, 1, 2])
    towards = DIRECTIONS[direction]
    some = paths.walk_films(
        world.paths,
        world.gan.trained,
        world.guide,
        world.films[direction].rows(rows),
        towards,
        world.thresholds,
        seed=0,
    )
    for name, walks in some.items():
        if name == "random":
            continue  # drawn by a film's place among those walked
        for found, whole in zip(walks, world.walks[direction][name], strict=True):
            for field in traversal.Walk._fields:
                np.testing.assert_allclose(
                    getattr(found, field),
                    getattr(whole, field)[rows],
                    atol=2e-3,
                    err_msg=f"{name}: {field}",
                )


@pytest.mark.parametrize("name", ["natural", "global", "geodesic"])
def test_one_device_walks_as_four_do(world, name):
    films, towards = world.films["pos_to_neg"], -np.ones(N, np.float32)
    given = np.zeros_like(films.severity)
    if name == "global":
        given = given - world.guide.direction

    @jax.jit
    def points(films, towards, given):
        gan = world.gan
        bound = paths.bind(gan.networks, gan.judge, gan.robust, gan.trained, films)
        step_length = jnp.float32(world.guide.step_length)
        return paths.latent_path(
            name, bound, films.severity, towards, given, step_length, world.section
        )

    expected = np.moveaxis(points(films, towards, given), 0, 1)
    (walked,) = world.walks["pos_to_neg"][name]
    np.testing.assert_allclose(walked.points, expected, atol=2e-3)


def test_the_mean_gradient_is_of_unit_gradients_towards_positive(world):
    gan, films = world.gan, world.films["pos_to_neg"]
    found = jax.jit(paths.unit_gradient(gan.networks, gan.judge))(gan.trained, films)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.ones(N), rtol=1e-4)
    # `ray` towards negative sets out against it.
    moved = moves(world.walks["pos_to_neg"]["ray"][0].points)[:, 0]
    unit = moved / np.linalg.norm(moved, axis=-1, keepdims=True)
    np.testing.assert_allclose(unit, -found, atol=1e-3)
