"""Paths on generators and classifiers simple enough to know the answer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from builders import make_walk

from cxr_jax.explain import traversal

pytestmark = pytest.mark.usefixtures("optimised")

B, N, SIDE, K = 3, 5, 4, 8


@pytest.fixture
def basis(key) -> jax.Array:
    """J [n, pixels]: a linear generator's Jacobian."""
    return jax.random.normal(key, (N, SIDE * SIDE))


@pytest.fixture
def draw(basis):
    return lambda z: (z @ basis).reshape(-1, SIDE, SIDE, 1)


@pytest.fixture
def classify(key):
    weights = jax.random.normal(jax.random.fold_in(key, 1), (SIDE, SIDE, 1))
    return lambda image: (image * weights[None]).sum(axis=(1, 2, 3))


@pytest.fixture
def start(key) -> jax.Array:
    return jax.random.normal(jax.random.fold_in(key, 2), (B, N))


def spacing(points, draw) -> np.ndarray:
    """Distances [k, b] between neighbouring frames."""
    frames = jnp.stack([draw(z) for z in points])
    return np.asarray(traversal.distance(frames[1:], frames[:-1]))


def test_distance_is_the_root_mean_square():
    image = jnp.stack([jnp.zeros((4, 4, 1)), jnp.ones((4, 4, 1)).at[:2].set(3.0)])
    np.testing.assert_allclose(traversal.distance(image, 0 * image), [0.0, 5**0.5], rtol=1e-6)


def test_linear_goes_from_start_to_end_in_equal_steps(start):
    end = -2 * start + 1
    points = traversal.linear(start, end, K)
    assert points.shape == (K + 1, B, N)
    np.testing.assert_allclose(points[0], start, rtol=1e-6)
    np.testing.assert_allclose(points[-1], end, rtol=1e-5, atol=1e-6)
    steps = np.diff(points, axis=0)
    np.testing.assert_allclose(steps, np.broadcast_to(steps[:1], steps.shape), atol=1e-5)


def test_unit_speed_spreads_the_frames_of_a_curved_generator():
    # |dG/dz| = 3 z^2: even steps in z are uneven in the image, by a factor of hundreds.
    draw = lambda z: jnp.broadcast_to(z[:, :1, None, None] ** 3, (len(z), SIDE, SIDE, 1))
    ends = jnp.array([[1.0], [2.0], [-1.5]])
    points = traversal.linear(jnp.zeros((B, 1)), ends, 200)
    assert spacing(points, draw).max() > 50 * np.median(spacing(points, draw)[:20])
    even = traversal.at_unit_speed(points, draw, 200)
    np.testing.assert_allclose(even[0], points[0], atol=1e-6)
    np.testing.assert_allclose(even[-1], points[-1], rtol=1e-5)
    expected = np.broadcast_to(np.abs(ends[:, 0]) ** 3 / 200, (200, B))
    np.testing.assert_allclose(spacing(even, draw), expected, rtol=0.02)


def test_unit_speed_leaves_even_walks_and_standing_ones_alone(start, draw):
    straight = traversal.linear(start, -start, K)
    np.testing.assert_allclose(traversal.at_unit_speed(straight, draw, K), straight, atol=1e-5)
    standing = traversal.linear(start, start, K)
    np.testing.assert_allclose(traversal.at_unit_speed(standing, draw, K), standing, atol=1e-5)


def aligned(start, towards, draw, classify, step_length):
    field = traversal.margin_gradient(draw, classify, towards)
    return traversal.march(start, field, draw, step_length=step_length, num_steps=K)


def test_aligned_follows_the_gradient_of_a_linear_model(start, draw, classify):
    gradient = jax.grad(lambda z: classify(draw(z)).sum())(start)
    towards, step_length = jnp.array([1.0, -1.0, 1.0]), jnp.float32(0.05)
    points = aligned(start, towards, draw, classify, step_length)
    assert points.shape == (K + 1, B, N)
    np.testing.assert_array_equal(points[0], start)
    moves = np.diff(points, axis=0)
    for move in moves:
        cosine = (move * gradient).sum(-1) / (
            np.linalg.norm(move, axis=-1) * np.linalg.norm(gradient, axis=-1)
        )
        np.testing.assert_allclose(cosine, towards, atol=1e-5)
    np.testing.assert_allclose(spacing(points, draw), np.full((K, B), 0.05), rtol=1e-3)


def test_aligned_moves_the_margin_the_way_it_is_told(start, key):
    basis = jax.random.normal(key, (N, SIDE * SIDE)) / 4
    draw = lambda z: jnp.tanh(z @ basis).reshape(-1, SIDE, SIDE, 1)
    classify = lambda image: 5 * jnp.sin(image).sum(axis=(1, 2, 3))
    for towards in (1.0, -1.0):
        points = aligned(start, jnp.full(B, towards), draw, classify, jnp.float32(0.02))
        margins = np.stack([classify(draw(z)) for z in points])
        assert (towards * np.diff(margins, axis=0) > 0).all()


def test_aligned_stands_still_where_there_is_no_gradient(start, draw):
    flat = lambda image: 0 * image.sum(axis=(1, 2, 3))
    points = aligned(start, jnp.ones(B), draw, flat, jnp.float32(0.1))
    np.testing.assert_array_equal(points, jnp.broadcast_to(start[None], points.shape))


def march(field, start, draw):
    return traversal.march(start, field, draw, step_length=jnp.float32(0.05), num_steps=K)


def test_a_constant_field_is_a_straight_line_at_unit_speed(start, draw):
    direction = jnp.flip(start, axis=1)
    points = march(traversal.constant(direction), start, draw)
    moves = np.diff(points, axis=0)
    expected = np.broadcast_to(traversal.unit(direction), moves.shape)
    np.testing.assert_allclose(
        moves / np.linalg.norm(moves, axis=-1, keepdims=True), expected, atol=1e-4
    )
    np.testing.assert_allclose(spacing(points, draw), np.full((K, B), 0.05), rtol=1e-3)


def test_the_natural_gradient_solves_the_normal_equations(start, basis, draw, classify):
    gradient = traversal.margin_gradient(draw, classify, jnp.ones(B))
    field = traversal.natural_gradient(gradient, draw, damping=0.5, num_products=50)
    g = np.asarray(traversal.unit(gradient(start)), np.float64)
    metric = np.asarray(basis, np.float64) @ np.asarray(basis, np.float64).T
    for i, found in enumerate(field(start)):
        relative = metric / (g[i] @ metric @ g[i]) + 0.5 * np.eye(N)
        np.testing.assert_allclose(found, np.linalg.solve(relative, g[i]), rtol=2e-2, atol=2e-3)


def test_the_natural_gradient_of_a_film_is_its_own(start, draw, classify):
    """Also where conjugate gradients are not yet at the solution."""

    def field(z, num_products):
        gradient = traversal.margin_gradient(draw, classify, jnp.ones(len(z)))
        return traversal.natural_gradient(gradient, draw, damping=0.1, num_products=num_products)(z)

    start = start.at[1].multiply(100.0)
    for num_products in (1, 2):
        together = field(start, num_products)
        for i in range(B):
            np.testing.assert_allclose(
                field(start[i : i + 1], num_products)[0], together[i], rtol=1e-3, atol=1e-4
            )


def test_the_natural_gradient_climbs_f_faster_than_the_plain_one_for_the_same_change(
    start, draw, classify
):
    gradient = traversal.margin_gradient(draw, classify, jnp.ones(B))
    natural = traversal.natural_gradient(gradient, draw, damping=1e-3, num_products=50)
    gains = [
        classify(draw(march(field, start, draw)[-1])) - classify(draw(start))
        for field in (gradient, natural)
    ]
    assert (gains[1] > 1.01 * gains[0]).all()


def test_a_geodesic_keeps_its_ends_and_is_shorter_where_space_is_curved(key):
    # Features (z1, z2, h) on a steep ridge h: the way round is shorter than the way over.
    def draw(z):
        height = 4 * jnp.exp(-8 * jnp.square(z).sum(axis=-1))
        return jnp.stack([z[:, 0], z[:, 1], height, 0 * height], axis=-1).reshape(-1, 2, 2, 1)

    start, end = jnp.array([[-1.0, 0.05]]), jnp.array([[1.0, 0.05]])
    straight = traversal.linear(start, end, 16)
    embed = lambda image: image.reshape(len(image), -1)
    points = traversal.geodesic(straight, draw, embed, num_steps=400, learning_rate=0.05)
    np.testing.assert_array_equal(points[0], start)
    np.testing.assert_allclose(points[-1], end, atol=1e-6)
    assert spacing(points, draw).sum() < 0.6 * spacing(straight, draw).sum()
    unmoved = traversal.geodesic(straight, draw, embed, num_steps=0, learning_rate=0.05)
    np.testing.assert_allclose(unmoved, straight, atol=1e-6)


def test_pixel_steps_follow_f_and_stay_in_range(key, classify):
    image = jax.random.uniform(key, (B, SIDE, SIDE, 1), minval=-1)
    towards = jnp.array([1.0, -1.0, 1.0])
    frames = traversal.pixel(
        0.1 * image, towards, classify, step_length=jnp.float32(0.03), num_steps=K
    )
    np.testing.assert_array_equal(frames[0], 0.1 * image)
    np.testing.assert_allclose(
        traversal.distance(frames[1:], frames[:-1]), np.full((K, B), 0.03), rtol=1e-3
    )
    margins = np.stack([classify(x) for x in frames])
    assert (np.asarray(towards) * np.diff(margins, axis=0) > 0).all()
    far = traversal.pixel(image, towards, classify, step_length=jnp.float32(10.0), num_steps=3)
    assert float(jnp.abs(far).max()) <= 1.0


def test_carry_keeps_the_film_at_frame_zero(key):
    image = jax.random.uniform(key, (B, SIDE, SIDE, 1), minval=-1)
    drawn = jax.random.uniform(jax.random.fold_in(key, 1), (K, B, SIDE, SIDE, 1), minval=-1)
    carried = traversal.carry(image, drawn)
    np.testing.assert_allclose(carried[0], image, atol=1e-6)
    np.testing.assert_allclose(carried[3], np.clip(image + drawn[3] - drawn[0], -1, 1), atol=1e-6)
    assert float(jnp.abs(carried).max()) <= 1.0


def test_follow_asks_f_and_h_about_the_carried_film(start, draw, classify, key):
    image = 0.1 * jax.random.normal(key, (B, SIDE, SIDE, 1))
    points = traversal.linear(0.01 * start, 0 * start, K)
    judge = lambda image: 2 * classify(image) + 1
    drawn = traversal.each_frame(draw, points)
    walked = traversal.follow(points, drawn, image, classify=classify, judge=judge)
    assert {array.shape[:2] for array in jax.tree.leaves(walked)} == {(B, K + 1)}
    np.testing.assert_array_equal(walked.points, jnp.moveaxis(points, 0, 1))
    np.testing.assert_allclose(walked.margin[:, 0], classify(image), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(walked.judge_margin, 2 * walked.margin + 1, rtol=1e-4, atol=1e-5)
    for i in range(B):
        np.testing.assert_allclose(walked.drawn[i], draw(points[:, i]), atol=1e-5)
    np.testing.assert_allclose(walked.distance[:, 0], np.zeros(B), atol=1e-6)
    np.testing.assert_allclose(
        walked.distance[:, -1], traversal.distance(draw(0 * start), draw(0.01 * start)), rtol=1e-3
    )


def test_first_reached_by_hand():
    margin = np.array([[3.0, 1.0, -2.0, -1.0], [3.0, 2.0, 1.0, 0.5], [-4.0, 0.0, 0.0, 0.0]])
    frame, reached = traversal.first_reached(margin, -1.5, -1)
    np.testing.assert_array_equal(frame, [2, 3, 0])
    np.testing.assert_array_equal(reached, [True, False, True])
    frame, reached = traversal.first_reached(-margin, 1.5, 1)
    np.testing.assert_array_equal(frame, [2, 3, 0])
    np.testing.assert_array_equal(reached, [True, False, True])


def test_first_flip_needs_every_judge_and_must_come_in_time():
    f = np.array([[1.0, -1.0, -1.0, -1.0]] * 3)
    h = np.array([[1.0, 1.0, -1.0, 1.0], [1.0, 1.0, 1.0, -1.0], [1.0, 1.0, 1.0, 1.0]])
    last = np.array([3, 2, 3])
    np.testing.assert_array_equal(traversal.first_flip([f, h], last, -1), [2, -1, -1])
    np.testing.assert_array_equal(traversal.first_flip([f], last, -1), [1, 1, 1])
    np.testing.assert_array_equal(traversal.first_flip([-f], last, 1), [1, 1, 1])
    np.testing.assert_array_equal(traversal.first_flip([f], np.zeros(3, int), -1), [-1, -1, -1])
    assert traversal.first_flip([np.zeros((1, 2))], np.ones(1, int), -1) == -1  # 0 is not a flip


def test_what_has_the_sign_at_the_start_cannot_flip():
    f = np.array([[1.0, -1.0, -1.0]] * 2)
    h = np.array([[-0.5, 1.0, -1.0], [0.5, 1.0, -1.0]])  # of the first film h said so before
    last = np.array([2, 2])
    np.testing.assert_array_equal(traversal.first_flip([f, h], last, -1), [-1, 2])
    np.testing.assert_array_equal(traversal.first_flip([-f, -h], last, 1), [-1, 2])


@pytest.mark.parametrize("towards", [-1, 1])
def test_a_walk_is_stopped_by_hand(towards):
    """Three films: one that f and h follow, one that f alone does, one that never gets there."""
    f = -towards * np.array([[3.0, 1.0, -1.0, -4.0], [3.0, -3.0, -5.0, 5.0], [3.0, 2.0, 1.0, 0.5]])
    h = -towards * np.array([[2.0, 1.0, -1.0, -1.0], [2.0, 1.0, 1.0, 1.0], [2.0, 1.0, 1.0, 1.0]])
    frames = np.arange(12.0).reshape(3, 4, 1, 1, 1) ** 2 * np.ones((1, 1, SIDE, SIDE, 1))
    walk = make_walk(frames, f, judge_margin=h)
    stopped = traversal.stop_walk(walk, towards * 2.5, towards)
    np.testing.assert_array_equal(stopped.frame, [3, 1, 3])
    np.testing.assert_array_equal(stopped.reached, [True, True, False])
    np.testing.assert_array_equal(stopped.flip, [2, -1, -1])
    np.testing.assert_array_equal(stopped.flip_f, [2, 1, -1])
    # Squares of 0 to 11: 9 - 0, 25 - 16, 121 - 64.
    np.testing.assert_array_equal(stopped.change[:, 0, 0, 0], [9, 9, 57])
    np.testing.assert_array_equal(stopped.at_stop(walk.margin), f[[0, 1, 2], [3, 1, 3]])
    np.testing.assert_array_equal(stopped.at_stop(walk.carried)[:, 0, 0, 0], [9, 25, 121])
    some = stopped.rows(np.array([2, 0]))
    np.testing.assert_array_equal(some.frame, [3, 3])
    np.testing.assert_array_equal(some.walk.margin, f[[2, 0]])
