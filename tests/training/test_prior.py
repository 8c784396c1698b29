"""The prior's training: what it is fitted to, its loss by hand, and that it learns a ring."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cxr_jax.models.flow import VelocityField
from cxr_jax.models.model import Model
from cxr_jax.networks.grading import Scale
from cxr_jax.networks.prior import CodePrior, LatentPrior
from cxr_jax.runtime import parallel
from cxr_jax.training import ema, prior, supervised
from cxr_jax.training.prior import Codes

SCALE = Scale(negative=np.float32(-2), strong=np.float32(4))
RNG = np.random.default_rng(0)


def make_part(size: int, num_context: int, width: int = 4) -> CodePrior:
    """As `make_prior` makes one, of two axes that are both bent."""
    field = VelocityField(width=width, depth=2)
    inputs = jnp.zeros((1, 2)), jnp.zeros(1), jnp.zeros((1, num_context))
    return CodePrior(
        mean=np.zeros(size, np.float32),
        axes=np.zeros((2, size), np.float32),
        flow=Model(field, field.init(jax.random.key(0), *inputs)["params"]),
        num_bent=2,
        num_steps=8,
    )


def make_empty(width: int = 4) -> LatentPrior:
    return LatentPrior(structure=make_part(2, 0, width), direction=make_part(2, 3, width))


def make_ring(count: int) -> Codes:
    """Lungs on a circle where f finds nothing, elsewhere where it does; directions likewise."""
    angle = RNG.uniform(0, 2 * np.pi, count)
    ring = np.float32(np.stack([3 + 2 * np.cos(angle), 2 * np.sin(angle)], axis=1))
    margin = np.float32(np.where(np.arange(count) % 2, 4.0, -2.0))
    positive = (margin > 0)[:, None]
    return Codes(
        z_structure=np.where(positive, 100, ring),
        direction=np.where(positive, ring, -100),
        margin=margin,
    )


# What it is fitted to.


def test_lungs_are_of_negative_films_and_directions_of_positive_ones():
    codes = make_ring(200)
    fitted = prior.fit_gaussians(make_empty(), codes)
    for part in (fitted.structure, fitted.direction):
        np.testing.assert_allclose(part.mean, [3, 0], atol=0.6)
        np.testing.assert_allclose(np.linalg.norm(part.axes, axis=1), 2**0.5, atol=0.3)


def test_each_film_teaches_its_own_coordinates():
    codes = make_ring(6)
    fitted = prior.fit_gaussians(make_empty(), codes)
    arrays = prior.flow_arrays(fitted, codes, SCALE)
    np.testing.assert_array_equal(arrays["positive"], [0, 1] * 3)
    np.testing.assert_allclose(arrays["context"][:, -1], [-0.5, 1.0] * 3)  # of a strong answer
    taught = fitted.structure.mean + arrays["structure"] @ fitted.structure.axes
    np.testing.assert_allclose(taught[::2], codes.z_structure[::2], atol=1e-4)
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}


# Its loss.


@pytest.mark.parametrize(("part", "teaches"), [("structure", 0.0), ("direction", 1.0)])
def test_each_field_is_taught_by_the_films_of_its_decision_alone(part, teaches):
    codes = make_ring(8)
    fitted = prior.fit_gaussians(make_empty(), codes)
    arrays = prior.flow_arrays(fitted, codes, SCALE)
    flows = {name: each["flow"] for name, each in fitted.arrays.items()}
    keys = jax.random.split(jax.random.key(1), 8)
    loss = jax.pmap(
        lambda batch: prior.flow_loss(fitted)(flows, batch, keys, jnp.int32(0)),
        axis_name=parallel.AXIS,
    )
    value = loss({name: array[None] for name, array in arrays.items()})
    for decision in (0.0, 1.0):
        is_other = (arrays["positive"] == decision)[:, None]
        moved = arrays | {part: np.where(is_other, 7.0, arrays[part])}
        changed = loss({name: array[None] for name, array in moved.items()}) != value
        assert changed == (decision == teaches)


def test_the_error_of_a_field_at_rest_is_the_velocity():
    """Of noise 1 and coordinates (3, 1) it is (2, 0): squares 4 and 0, weighed 1.5 and .5."""
    at_rest = lambda x, time, context: 0 * x
    found = prior.velocity_error(
        at_rest,
        jnp.array([[3.0, 1.0]]),
        jnp.zeros((1, 0)),
        noise=jnp.array([[1.0, 1.0, 0.3]]),
        weights=jnp.array([1.5, 0.5]),
    )
    np.testing.assert_allclose(found, [1.5 * 4 / 2], rtol=1e-6)


@pytest.mark.parametrize(("drawn", "share"), [(0.0, 0.5), (-50.0, 0.0), (50.0, 1.0)])
def test_the_field_is_asked_on_the_straight_way(drawn, share):
    """At the time that the last number says, between the noise and the coordinates."""
    asked = []

    def field(x, time, context):
        asked.append((np.asarray(x), np.asarray(time)))
        return 0 * x

    prior.velocity_error(
        field,
        jnp.array([[4.0]]),
        jnp.zeros((1, 0)),
        noise=jnp.array([[2.0, drawn]]),
        weights=jnp.ones(1),
    )
    ((point, time),) = asked
    np.testing.assert_allclose(time, [share], atol=1e-6)
    np.testing.assert_allclose(point, [[2 + 2 * share]], atol=1e-5)


def test_a_mean_is_over_the_films_that_are_meant():
    values = jnp.array([1.0, 5.0, 3.0, 100.0])
    taken = lambda films: jax.pmap(
        lambda films: prior.mean_over(films, values), axis_name=parallel.AXIS
    )(films[None])
    np.testing.assert_allclose(taken(jnp.array([1.0, 0.0, 1.0, 0.0])), 2.0)
    np.testing.assert_allclose(taken(jnp.zeros(4)), 0.0)


# Its training.


@pytest.mark.slow
def test_it_learns_a_ring_that_no_gaussian_draws():
    """Distances to the middle: a Gaussian of the same covariance often draws the middle itself."""
    codes = make_ring(512)
    fitted = prior.fit_gaussians(make_empty(width=32), codes)
    arrays = prior.flow_arrays(fitted, codes, SCALE)
    optimizer = optax.adam(1e-2)
    loss = prior.flow_loss(fitted)
    step = parallel.pmap_step(supervised.make_train_step(loss, optimizer, ema_decay=0.98, seed=0))
    flows = {name: each["flow"] for name, each in fitted.arrays.items()}
    state = parallel.replicate(ema.init_state(flows, optimizer))
    batch = arrays | {"index": np.arange(512, dtype=np.int32)}
    for _ in range(150):
        state, _ = step(state, parallel.shard(batch), None)
    arrays = {name: each | {"flow": state.ema[name]} for name, each in fitted.arrays.items()}
    taught = fitted.with_arrays(parallel.to_local(arrays))
    keys = jax.random.split(jax.random.key(3), 1000)
    for drawn in (fitted, taught):
        apart = np.linalg.norm(np.asarray(drawn.draw_structure(keys)) - [3, 0], axis=1)
        close = (apart < 1.0).mean()
        assert (close > 0.15) == (drawn is fitted), close
