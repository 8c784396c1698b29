"""The prior: its axes against NumPy's, its flow against a known one, and what it draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.configs import phantom
from cxr_jax.models.flow import VelocityField
from cxr_jax.models.model import Model
from cxr_jax.networks import prior
from cxr_jax.networks.grading import Scale
from cxr_jax.networks.prior import CodePrior, LatentPrior, carry_noise, fit_axes, slerp

SCALE = Scale(negative=np.float32(-2), strong=np.float32(4))
RNG = np.random.default_rng(0)
MIXING = RNG.standard_normal((4, 6))


def make_codes(count: int) -> np.ndarray:
    """[count, 6], along four axes."""
    return np.float32(3 + RNG.standard_normal((count, 4)) @ MIXING)


# The Gaussian.


@pytest.mark.parametrize("count", [5, 40])
def test_axes_have_the_codes_covariance(count):
    """Of fewer films than components and of more; the sixth and later axes are none."""
    codes = make_codes(count)
    mean, axes = fit_axes(codes, 8)
    np.testing.assert_allclose(mean, codes.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(axes.T @ axes, np.cov(codes, rowvar=False), atol=1e-3)
    assert not axes[4:].any() and axes[:4].any(axis=1).all()


def test_the_widest_axes_come_first_and_no_two_lean():
    _, axes = fit_axes(make_codes(40), 3)
    product = axes @ axes.T
    np.testing.assert_allclose(product, np.diag(np.diag(product)), atol=1e-3)
    assert (np.diff(np.diag(product)) < 0).all()
    values = np.linalg.eigvalsh(np.cov(make_codes(40), rowvar=False))
    assert np.diag(product)[0] == pytest.approx(values[-1], rel=0.8)


# The flow.


def test_noise_is_carried_by_a_known_field():
    """dx/dt = c x multiplies by e^c; Heun's sixteen steps are near."""
    field = lambda x, time, context: context * x
    noise, context = jnp.array([[1.0], [2.0]]), jnp.array([[1.0], [0.5]])
    found = carry_noise(field, noise, context, num_steps=16)
    np.testing.assert_allclose(found[:, 0], [np.e, 2 * np.exp(0.5)], rtol=1e-3)


def test_noise_is_carried_by_the_time():
    """dx/dt = 2 t adds one, which Heun's steps do exactly."""
    field = lambda x, time, context: 2 * time[:, None] + 0 * x
    found = carry_noise(field, jnp.zeros((1, 1)), jnp.zeros((1, 0)), num_steps=3)
    np.testing.assert_allclose(found, 1.0, rtol=1e-6)


def test_carried_noise_comes_back():
    field = lambda x, time, context: context * x + time[:, None]
    noise, context = jnp.array([[1.0], [-2.0]]), jnp.array([[1.0], [0.5]])
    there = carry_noise(field, noise, context, num_steps=16)
    back = carry_noise(field, there, context, num_steps=16, back=True)
    np.testing.assert_allclose(back, noise, atol=1e-2)


def test_halfway_on_the_sphere():
    """Of two rows at a right angle; those that are long stay so, and ends are ends."""
    one, other = jnp.array([[3.0, 0.0]]), jnp.array([[0.0, 3.0]])
    np.testing.assert_allclose(slerp(one, other, 0.5), [[3 / 2**0.5] * 2], rtol=1e-5)
    np.testing.assert_allclose(slerp(one, other, 0.0), one, atol=1e-6)
    np.testing.assert_allclose(slerp(one, one, 0.5), one, atol=1e-2)


# Drawing.


def make_code_prior(codes: np.ndarray, num_context: int) -> CodePrior:
    """Three axes, of which two are bent by a field at rest."""
    mean, axes = fit_axes(codes, 3)
    field = VelocityField(width=4, depth=1)
    inputs = jnp.zeros((1, 2)), jnp.zeros(1), jnp.zeros((1, num_context))
    params = field.init(jax.random.key(0), *inputs)["params"]
    return CodePrior(mean=mean, axes=axes, flow=Model(field, params), num_bent=2, num_steps=2)


@pytest.fixture(scope="module")
def drawn_by() -> LatentPrior:
    """Of made-up codes."""
    return LatentPrior(
        structure=make_code_prior(make_codes(40), 0), direction=make_code_prior(make_codes(40), 3)
    )


def test_a_field_at_rest_draws_the_gaussian(drawn_by):
    """Mean and covariance of many draws are the axes'."""
    keys = jax.random.split(jax.random.key(0), 20_000)
    drawn = np.asarray(drawn_by.draw_structure(keys))
    axes = drawn_by.structure.axes
    np.testing.assert_allclose(drawn.mean(axis=0), drawn_by.structure.mean, atol=0.1)
    np.testing.assert_allclose(np.cov(drawn, rowvar=False), axes.T @ axes, atol=0.6)


def test_coordinates_undo_the_axes(drawn_by):
    """Of the bent axes alone; where there is none the coordinate is zero."""
    part = drawn_by.structure
    wanted = np.float32([[1.0, -2.0], [0.5, 0.0]])
    codes = part.mean + wanted @ part.axes[:2]
    np.testing.assert_allclose(part.coordinates(codes), wanted, atol=1e-4)
    none = part.replace(axes=part.axes * np.float32([[1], [0], [1]]))
    np.testing.assert_array_equal(none.coordinates(codes)[:, 1], 0)


def test_codes_come_from_their_noise(drawn_by):
    """As far as there are axes; midpoints of two are as far out as they."""
    part, nothing = drawn_by.structure, jnp.zeros((2, 0))
    noise = np.float32([[1.0, -2.0, 0.5], [2.0, 1.0, -0.5]])
    codes = part.from_noise(noise, nothing)
    np.testing.assert_allclose(part.to_noise(codes, nothing), noise, atol=1e-3)
    halfway = drawn_by.midpoints(codes[:1], codes[1:])
    found = part.to_noise(halfway, nothing[:1])
    np.testing.assert_allclose(found, slerp(noise[:1], noise[1:], 0.5), atol=1e-3)


def test_an_axis_counts_as_far_as_codes_spread(drawn_by):
    weights = np.asarray(drawn_by.structure.weights)
    spread = np.linalg.norm(drawn_by.structure.axes[:2], axis=1)
    np.testing.assert_allclose(weights, spread / spread.mean(), rtol=1e-5)


def draw(drawn_by, patient, finding, margin, seed=0):
    inputs = np.int32(patient), np.int32(finding), np.float32(margin)
    found = prior.draw_latents((drawn_by, SCALE, np.int32(seed)), inputs)
    return [np.asarray(each) for each in found]


def test_a_patient_keeps_the_lungs_whatever_the_finding(drawn_by):
    lungs, finding = draw(drawn_by, [3, 3, 3, 4], [0, 1, 0, 0], [4, 4, 1, 4])
    np.testing.assert_array_equal(lungs[0], lungs[1])
    np.testing.assert_array_equal(lungs[0], lungs[2])
    assert not np.allclose(lungs[0], lungs[3])
    assert not np.allclose(finding[0], finding[1])


def test_the_answer_sets_the_findings_size(drawn_by):
    """The radius is linear in the margin, from the median negative to a strong positive."""
    _, finding = draw(drawn_by, [1] * 4, [2] * 4, [-1, 1, 4, 40])
    np.testing.assert_array_equal(finding[0], 0)
    np.testing.assert_allclose(finding[1], finding[2] * 0.5, rtol=1e-4)
    np.testing.assert_allclose(finding[3], finding[2], rtol=1e-4)


def test_rows_and_seeds_name_a_population(drawn_by):
    """A patient is the same in any batch, and another in another population."""
    together = draw(drawn_by, [1, 2, 3], [1, 2, 3], [4, 4, 4])
    alone = draw(drawn_by, [2], [2], [4])
    other = draw(drawn_by, [2], [2], [4], seed=1)
    for one, each, elsewhere in zip(together, alone, other, strict=True):
        np.testing.assert_allclose(one[1], each[0], rtol=1e-5)
        assert not np.allclose(each, elsewhere)


def test_lungs_and_finding_are_of_other_streams(drawn_by):
    """Patient 1 with finding 1 does not draw the same numbers twice."""
    same = LatentPrior(structure=drawn_by.direction, direction=drawn_by.direction)
    keys = jax.random.split(jax.random.key(0), 1)
    assert prior.Stream.PATIENT != prior.Stream.FINDING
    one = prior.fold_keys(keys, prior.Stream.PATIENT)
    other = prior.fold_keys(keys, prior.Stream.FINDING)
    context = jnp.zeros((1, 3))
    assert not np.allclose(same.structure.draw(one, context), same.direction.draw(other, context))


def test_a_finding_is_as_strong_as_is_wanted():
    """f answers six times the length of each, which is halved, kept, and cut at its double."""
    z_class = jnp.array([[1.0], [-1.0], [1.0], [0.0]])
    answer = lambda z_class: 6 * jnp.abs(z_class[:, 0])
    found = prior.as_answered(answer, z_class, jnp.array([3.0, 6.0, 60.0, 3.0]))
    np.testing.assert_allclose(found[:, 0], [0.5, -1.0, 2.0, 0.0], atol=0.02)


# Keeping.


def test_arrays_come_back(drawn_by):
    doubled = jax.tree.map(lambda leaf: 2 * np.asarray(leaf), drawn_by.arrays)
    back = drawn_by.with_arrays(doubled)
    jax.tree.map(np.testing.assert_array_equal, back.arrays, doubled)
    assert back.structure.num_bent == drawn_by.structure.num_bent


def test_a_configs_prior_has_the_generators_sizes():
    made = prior.make_prior(phantom.get_config("tiny"), seed=0)
    assert made.structure.mean.shape == (1408,) and made.direction.mean.shape == (768,)
    assert made.structure.axes.shape == (256, 1408)
