"""Every path by name on a GAN with random weights: where it starts and ends, whose walk it is."""

import dataclasses
import functools

import builders
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from builders import NUM_Z_CLASS, ToyGan

from cxr_jax.configs import base
from cxr_jax.errors import InputError
from cxr_jax.explain import paths, traversal
from cxr_jax.explain.explained import Calibration, Explained, Group
from cxr_jax.explain.explainer import make_explainer
from cxr_jax.explain.films import Films, Thresholds
from cxr_jax.explain.paths import DIRECTIONS, PATHS, GivenInputs, Guide, Path, PathInputs, Walker
from cxr_jax.explain.traversal import StoppedWalk
from cxr_jax.metrics import Bootstrap
from cxr_jax.pipeline.config_checks import check_explain, check_ranges
from cxr_jax.report import figures, tables

N, K, NUM_ENDS = 5, 4, 2
NAMES = (
    *("linear", "aligned", "natural", "ray", "global", "random", "chord"),
    *("geodesic", "geodesic_pixel", "pixel", "necessary"),
)
GEODESICS = ("geodesic", "geodesic_pixel")
ANYWHERE = builders.make_thresholds(positive=0.0, negative=0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """Paths bound to networks, films, and the walks of all by direction and path."""

    gan: ToyGan
    section: ml_collections.ConfigDict
    walker: Walker
    guide: Guide
    films: dict[str, Films]
    thresholds: Thresholds
    walks: dict[str, dict[str, StoppedWalk]]

    def walk(self, direction: str, name: str) -> traversal.Walk:
        """The walks of a path, as far as they go."""
        return self.walks[direction][name].walk


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


def only(walker: Walker, name: str) -> Walker:
    """The same with one path, which is not compiled anew."""
    return dataclasses.replace(walker, walks={name: walker.walks[name]})


@pytest.fixture(scope="module")
def world() -> World:
    gan, section = builders.make_gan(), make_section()
    films = {
        d: alike(builders.make_films(gan, 60, towards < 0)) for d, towards in DIRECTIONS.items()
    }
    alike_films = films["neg_to_pos"].z_structure[[3, 1]]  # to which others are nearer or not
    guide = builders.make_guide(NUM_ENDS, end_structures=alike_films)
    walker = paths.make_walker(gan.models, section, seed=0)
    # A margin that some walks reach before their end.
    median = {}
    for d, towards in DIRECTIONS.items():
        aligned = only(walker, "aligned")(films[d], guide, ANYWHERE, towards=towards)["aligned"]
        median[d] = float(np.median(aligned.walk.margin[:, K // 2]))
    thresholds = builders.make_thresholds(
        positive=median["neg_to_pos"], negative=median["pos_to_neg"]
    )
    walks = {
        d: walker(films[d], guide, thresholds, towards=towards) for d, towards in DIRECTIONS.items()
    }
    return World(
        gan=gan,
        section=section,
        walker=walker,
        guide=guide,
        films=films,
        thresholds=thresholds,
        walks=walks,
    )


def each_walk(world):
    for direction, by_path in world.walks.items():
        for name, stopped in by_path.items():
            yield direction, name, stopped.walk


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
    assert tuple(PATHS) == tuple(world.walker.walks) == NAMES
    section = make_section(("pixel", "aligned", "linear"))
    some = paths.make_walker(world.gan.models.replace(robust=None), section, seed=0)
    assert tuple(some.walks) == ("linear", "aligned", "pixel")


def test_what_paths_need_is_asked_of_the_paths():
    assert paths.needed_evaluators(("linear", "geodesic_pixel")) == set()
    assert paths.needed_evaluators(("linear", "geodesic")) == {"robust"}


def test_every_path_is_walked_by_every_film(world):
    assert tuple(world.walks["pos_to_neg"]) == NAMES
    for direction, name, walked in each_walk(world):
        films = world.films[direction]
        num_class = 0 if name == "pixel" else NUM_Z_CLASS
        assert walked.points.shape == (N, K + 1, num_class), name
        assert walked.drawn.shape == walked.carried.shape == (N, K + 1, *films.image.shape[1:])
        for array in (walked.margin, walked.judge_margin, walked.distance):
            assert array.shape == (N, K + 1), name
        assert all(np.isfinite(array).all() for array in jax.tree.leaves(walked)), name
        assert (walked.distance[:, -1] > 1e-3).all(), name  # it goes somewhere


def test_a_walk_sets_out_from_the_film_itself(world):
    for direction, name, walked in each_walk(world):
        films = world.films[direction]
        np.testing.assert_allclose(walked.carried[:, 0], films.image, atol=1e-6)
        if name == "pixel":
            np.testing.assert_array_equal(walked.drawn[:, 0], films.image)
        else:
            np.testing.assert_allclose(walked.points[:, 0], films.z_class, atol=1e-6)
            np.testing.assert_allclose(walked.drawn[:, 0], films.drawn, atol=1e-5)
        np.testing.assert_allclose(walked.distance[:, 0], np.zeros(N), atol=1e-6)


def test_frames_and_answers_are_those_of_the_networks(world):
    gan = world.gan
    for direction, name, walked in each_walk(world):
        z_structure = world.films[direction].z_structure
        for k in (1, K):
            carried, drawn = walked.carried[:, k], walked.drawn[:, k]
            np.testing.assert_allclose(walked.margin[:, k], gan.classify(carried), atol=1e-5)
            np.testing.assert_allclose(
                walked.judge_margin[:, k], gan.judge_films(carried), atol=1e-5
            )
            if not PATHS[name].frames:
                again = gan.draw(z_structure, walked.points[:, k])
                np.testing.assert_allclose(drawn, again, atol=1e-5)


def test_linear_goes_from_a_positive_to_the_origin(world):
    walked = world.walk("pos_to_neg", "linear")
    np.testing.assert_allclose(walked.points[:, -1], np.zeros_like(walked.points[:, 0]), atol=1e-6)
    assert_straight(walked.points)


def test_linear_goes_from_a_negative_to_the_training_positive_most_like_it(world):
    points, films = world.walk("neg_to_pos", "linear").points, world.films["neg_to_pos"]
    assert_straight(points)
    taken = []
    for film, last in zip(films.z_structure, points[:, -1], strict=True):
        apart = [np.linalg.norm(film - other) for other in world.guide.end_structures]
        taken.append(apart.index(min(apart)))
        np.testing.assert_allclose(last, world.guide.ends[taken[-1]], atol=1e-5)
    assert set(taken) == set(range(NUM_ENDS))


@pytest.mark.parametrize("name", ["linear", "necessary", *GEODESICS])
def test_the_end_of_a_walk_by_hand(name):
    """Of three training positives the nearest in z_structure, whatever their class latents."""
    z_structure = np.float32([[0, 0], [3, 4], [0, 10], [6, 1]])
    rows = len(z_structure)
    image = np.zeros((rows, 8, 8, 1), np.float32)
    z_class = np.zeros((rows, 2), np.float32)
    films = builders.make_perfect_films(
        image, np.full(rows, -1.0), z_structure=z_structure, z_class=z_class
    )
    # Squared distances of the films: 4, 13 and 100; 17, 1 and 45; 104, 73, 0; 17, 13, 117.
    guide = Guide(
        step_length=0.1,
        ends=np.float32([[1, 0], [0, 9], [5, 5]]),
        end_structures=np.float32([[2, 0], [3, 3], [0, 10]]),
        direction=np.zeros(2, np.float32),
    )
    given = functools.partial(GivenInputs, films=films, guide=guide, walks={}, seed=0)
    found = PATHS[name].given(given(towards=1))
    np.testing.assert_array_equal(found, [[1, 0], [0, 9], [5, 5], [0, 9]])
    np.testing.assert_array_equal(PATHS[name].given(given(towards=-1)), z_class)


def test_a_guide_without_a_direction_is_not_followed(world):
    guide = world.guide.replace(direction=np.zeros_like(world.guide.direction))
    walker = only(world.walker, "global")
    for direction, towards in DIRECTIONS.items():
        with pytest.raises(ValueError, match="without path `global`"):
            walker(world.films[direction], guide, ANYWHERE, towards=towards)


def test_every_walk_is_stopped_by_the_threshold_of_its_direction(world):
    reached = []
    for direction, towards in DIRECTIONS.items():
        target = world.thresholds.target(towards)
        for found in world.walks[direction].values():
            again = traversal.stop_walk(found.walk, target, towards)
            jax.tree.map(np.testing.assert_array_equal, found, again)
            reached += list(found.reached)
    assert any(reached) and not all(reached)


@pytest.mark.parametrize("name", GEODESICS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_geodesics_have_the_ends_of_linear(world, name, direction):
    walked, straight = (world.walk(direction, path) for path in (name, "linear"))
    np.testing.assert_allclose(walked.points[:, -1], straight.points[:, -1], atol=1e-5)
    assert np.abs(walked.points[:, 1:-1] - straight.points[:, 1:-1]).max() > 1e-3


def test_the_two_geodesics_measure_differently(world):
    for direction in world.walks:
        robust, pixel = (world.walk(direction, name).points for name in GEODESICS)
        assert np.abs(robust - pixel).max() > 1e-3


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_chord_goes_straight_to_where_aligned_stopped(world, direction):
    aligned, chord = (world.walk(direction, name) for name in ("aligned", "chord"))
    towards = DIRECTIONS[direction]
    frame, _ = traversal.first_reached(aligned.margin, world.thresholds.target(towards), towards)
    assert len(set(frame)) > 1 and (frame > 0).all()
    end = aligned.points[np.arange(N), frame]
    np.testing.assert_allclose(chord.points[:, -1], end, atol=1e-5)
    assert_straight(chord.points)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_ray_leaves_as_aligned_does_and_keeps_its_direction(world, direction):
    ray, aligned = (world.walk(direction, name).points for name in ("ray", "aligned"))
    np.testing.assert_allclose(ray[:, 1], aligned[:, 1], atol=1e-5)
    assert_straight(ray)
    assert np.abs(ray[:, -1] - aligned[:, -1]).max() > 1e-4


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_fields_lead_the_margin_the_way_they_are_told(world, direction):
    towards = DIRECTIONS[direction]
    for name in ("aligned", "natural", "ray"):
        walked = world.walk(direction, name)
        before, after = (world.gan.classify(walked.drawn[:, k]) for k in (0, 1))
        assert (towards * (after - before) > 0).all(), name
    walked = world.walk(direction, "pixel")
    assert (towards * np.diff(walked.margin[:, :2], axis=1) > 0).all()


def test_paths_without_an_end_have_the_step_length_that_they_are_given(world):
    for _, name, walked in each_walk(world):
        if name in ("aligned", "natural", "ray", "global", "random"):
            steps = np.sqrt(np.square(np.diff(walked.drawn, axis=1)).mean(axis=(2, 3, 4)))
            np.testing.assert_allclose(
                steps, np.full((N, K), world.guide.step_length), rtol=0.1, err_msg=name
            )


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_necessary_draws_a_part_of_what_linear_draws(world, direction):
    linear, necessary = (world.walk(direction, name) for name in ("linear", "necessary"))
    np.testing.assert_allclose(necessary.points, linear.points, rtol=1e-4, atol=1e-5)
    whole, part = (walk.drawn - walk.drawn[:, :1] for walk in (linear, necessary))
    gain = world.section.necessary.gain
    assert (np.abs(part) <= gain * np.abs(whole) + 1e-4).all()
    told = (np.abs(whole[:, 1:]) > 0.01).all(axis=1)
    share = np.moveaxis(part[:, 1:] / np.where(whole[:, 1:] == 0, 1, whole[:, 1:]), 1, -1)[told]
    # The same share of every frame's change, and not all of it everywhere.
    assert np.ptp(share, axis=-1).max() < 0.05
    assert share.min() < 0.7 * gain and share.max() > 0.95 * gain


def test_random_is_absent_from_negatives(world):
    assert "random" in world.walks["pos_to_neg"]
    assert set(NAMES) - set(world.walks["neg_to_pos"]) == {"random"}


def test_random_is_each_films_own_direction_and_repeats_with_its_seed(world):
    walked = world.walk("pos_to_neg", "random")
    assert_straight(walked.points)
    directions = np.asarray(traversal.unit(jnp.asarray(moves(walked.points)[:, -1])))
    cosine = directions @ directions.T
    assert np.abs(cosine - np.eye(N)).max() < 0.99

    def again(seed):
        walker = dataclasses.replace(only(world.walker, "random"), seed=seed)
        walks = walker(world.films["pos_to_neg"], world.guide, world.thresholds, towards=-1)
        return walks["random"].walk.points

    np.testing.assert_array_equal(again(0), walked.points)
    assert np.abs(again(1) - walked.points).max() > 1e-2


def test_global_is_one_direction_for_all_films(world):
    expected = world.guide.direction / np.linalg.norm(world.guide.direction)
    for direction, towards in DIRECTIONS.items():
        walked = world.walk(direction, "global")
        moved = moves(walked.points)
        unit = moved / np.linalg.norm(moved, axis=-1, keepdims=True)
        np.testing.assert_allclose(unit, np.broadcast_to(towards * expected, unit.shape), atol=1e-3)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_films_walk_is_its_own_whatever_batch_it_sits_in(world, direction):
    """Other mates on its device, another device, and a batch that is not full."""
    rows = np.array([4, 1, 2])
    towards = DIRECTIONS[direction]
    films = world.films[direction].rows(rows)
    some = world.walker(films, world.guide, world.thresholds, towards=towards)
    for name, found in some.items():
        if name == "random":
            continue  # drawn by a film's place among those walked
        check = functools.partial(np.testing.assert_allclose, atol=2e-3, err_msg=name)
        whole = world.walks[direction][name].rows(rows)
        jax.tree.map(check, found.walk, whole.walk)


@pytest.mark.parametrize("name", ["natural", "global", "geodesic"])
def test_one_device_walks_as_four_do(world, name):
    films, towards = world.films["pos_to_neg"], -np.ones(N, np.float32)
    given = np.zeros_like(films.z_class)
    if name == "global":
        given = given - world.guide.direction
    frozen = world.gan.models, jnp.float32(world.guide.step_length)
    alone = jax.jit(paths.make_walk(PATHS[name], world.section))(frozen, (films, towards, given))
    np.testing.assert_allclose(world.walk("pos_to_neg", name).points, alone.points, atol=2e-3)


def test_the_mean_gradient_is_of_unit_gradients_towards_positive(world):
    gan, films = world.gan, world.films["pos_to_neg"]
    found = jax.jit(paths.unit_gradient)(gan.models, films)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.ones(N), rtol=1e-4)
    # `ray` towards negative sets out against it.
    moved = moves(world.walk("pos_to_neg", "ray").points)[:, 0]
    unit = moved / np.linalg.norm(moved, axis=-1, keepdims=True)
    np.testing.assert_allclose(unit, -found, atol=1e-3)


# A path of one's own.


def half_way(inputs: PathInputs) -> traversal.Points:
    """The first half of the straight line to the given end."""
    start = inputs.films.z_class
    end = (start + inputs.given) / 2
    return traversal.linear(start, end, inputs.section.walk_steps)


def to_first_stop(inputs: GivenInputs) -> np.ndarray:
    """Where `linear` stopped."""
    stopped = inputs.walks["linear"]
    return stopped.at_stop(stopped.walk.points)


@pytest.fixture
def half_path(monkeypatch) -> Path:
    """Registered as a new file of the package would do it."""
    path = Path(
        name="half",
        title="half of the way",
        points=half_way,
        given=to_first_stop,
        straight="linear",
        after=("linear",),
        evaluators=("segmenter",),
        directions=("pos_to_neg",),
    )
    monkeypatch.setitem(PATHS, path.name, path)
    return path


def test_a_new_path_is_accepted_by_the_checks_of_a_config(half_path):
    config = base.get_config()
    config.explain.paths = ("linear", "half")
    with pytest.raises(InputError, match="'half' needs 'segmenter' among config.evaluators"):
        check_explain(config)
    config.evaluators.names = ("segmenter",)
    check_explain(config)
    config.explain.paths = ("linear", "halves")
    with pytest.raises(InputError, match="has 'halves'; each must be one of .*'half'"):
        check_ranges(config)


def test_a_new_path_is_walked_and_scored(half_path, world):
    explainer = make_explainer(world.gan.models, make_section(("half", "linear")), seed=0)
    groups = {}
    for direction, towards in DIRECTIONS.items():
        films = world.films[direction]
        walks = explainer.walk(films, world.guide, world.thresholds, towards=towards)
        groups[direction] = Group(towards=towards, films=films, truth={}, walks=walks)
    assert list(groups["pos_to_neg"].walks) == ["linear", "half"]
    assert list(groups["neg_to_pos"].walks) == ["linear"]
    linear, half = groups["pos_to_neg"].walks.values()
    start, end = linear.walk.points[:, 0], linear.at_stop(linear.walk.points)
    np.testing.assert_allclose(half.walk.points[:, -1], (start + end) / 2, atol=1e-5)
    assert_straight(half.walk.points)
    calibration = Calibration(
        thresholds=world.thresholds, guide=world.guide, reach=1.0, path="linear"
    )
    explained = Explained(
        rows=np.arange(2 * N),
        reasons=[""] * 2 * N,
        looked_at=np.ones(2 * N),
        groups=groups,
        coverage=dict.fromkeys(DIRECTIONS, 1.0),
        rmse=np.zeros(2 * N),
        lung_rmse=np.zeros(2 * N),
        margin=np.zeros(2 * N),
    )
    each, table = tables.score_paths(
        explainer, explained, calibration, real=(), bootstrap=Bootstrap(resamples=20, seed=0)
    )
    scores = each["pos_to_neg"]["half"]
    np.testing.assert_array_equal(scores["flip_rate"], half.flip >= 0)
    gain = table["half"]["pos_to_neg"]["length_gain"]["mean"]
    assert 0 < gain == pytest.approx(scores["length_gain"].mean())  # it is shorter than `linear`
    for entry in table["half"]["neg_to_pos"].values():
        assert entry == {"mean": None, "reason": tables.NOT_WALKED}
    assert figures.title("half") == "half of the way"
