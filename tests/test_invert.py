"""Inversion of a generator whose inverse is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.explain import inversion
from cxr_jax.explain.inversion import Latents
from cxr_jax.explain.inversion import Settings
from cxr_jax.explain.inversion import Target
from cxr_jax.explain.inversion import Weights

S, N, SIDE = 3, 2, 4
NOTHING = Weights(pixel=0.0, feature=0.0, margin=0.0, cross_entropy=0.0, prior=0.0)
PIXEL_ONLY = NOTHING._replace(pixel=1.0)
ALL = NOTHING._replace(pixel=10.0, feature=0.3, margin=0.5, prior=0.1)
SETTINGS = Settings(
    start="origin",
    corrections=0,
    num_steps=600,
    keep_change=False,
    learning_rate=0.1,
    beta1=0.9,
    beta2=0.999,
    severity_share=1.0,
    weights=PIXEL_ONLY,
)


@pytest.fixture
def render(key):
    basis = jax.random.normal(key, (S + N, SIDE * SIDE))
    return lambda s, c: (jnp.concatenate([s, c], -1) @ basis).reshape(-1, SIDE, SIDE, 1)


def classify(image):
    features = {"stage_1": jnp.tanh(image), "stage_2": image[:, ::2, ::2] ** 2}
    return image[:, :2].sum(axis=(1, 2, 3)), features


@pytest.fixture
def truth(key) -> Latents:
    rows = jax.random.normal(jax.random.fold_in(key, 1), (4, S + N))
    return Latents(rows[:, :S], rows[:, S:])


def target_of(image, radius) -> Target:
    margin, features = classify(image)
    return Target(image, margin, features, radius)


def origin_like(latents: Latents) -> Latents:
    return jax.tree.map(jnp.zeros_like, latents)


def refine(render, target, first, weights, num_steps=600, **more):
    settings = SETTINGS._replace(weights=weights, num_steps=num_steps, **more)

    def call(first, target):
        return inversion.refine(first, target, render, classify, jnp.float32(4.0), settings)

    return jax.jit(call)(first, target)


def test_a_negative_is_inverted_in_its_structure(render, truth):
    radius = jnp.zeros(4)
    image = render(truth.structure, truth.severity(radius))
    found, _ = refine(render, target_of(image, radius), origin_like(truth), PIXEL_ONLY)
    np.testing.assert_allclose(found.structure, truth.structure, atol=1e-2)


def test_the_structure_is_fitted_around_a_class_latent_that_is_held(render, truth):
    radius = jnp.array([1.0, 0.5, 0.2, 1.0])
    target = target_of(render(truth.structure, truth.severity(radius)), radius)
    first = Latents(jnp.zeros_like(truth.structure), truth.direction)
    found, history = refine(render, target, first, PIXEL_ONLY, severity_share=0.0)
    np.testing.assert_array_equal(found.direction, truth.direction)
    np.testing.assert_allclose(found.structure, truth.structure, atol=1e-2)
    assert history.shape == (600, 4)
    assert (history[-1] < 1e-3 * history[0]).all()


def test_a_share_slows_the_class_latent_alone(render, truth):
    radius = jnp.array([0.0, 1.0, 0.0, 1.0])
    target = target_of(render(truth.structure, truth.direction), radius)
    steps = {
        share: refine(render, target, origin_like(truth), ALL, 1, severity_share=share)[0]
        for share in (0.25, 1.0)
    }
    # The first step of Adam is as long as its rate, whatever the gradient; a negative has none.
    for share, step in steps.items():
        np.testing.assert_allclose(np.abs(step.structure), np.full((4, S), 0.1), rtol=1e-3)
        length = np.outer([0, 0.1 * share, 0, 0.1 * share], np.ones(N))
        np.testing.assert_allclose(np.abs(step.direction), length, rtol=1e-3)


def test_the_cross_entropy_is_least_where_the_probability_is_the_films(render, truth):
    """By hand: -p log q - (1 - p) log(1 - q)."""
    target = target_of(render(truth.structure, truth.direction), jnp.ones(4))
    weights = NOTHING._replace(cross_entropy=3.0)
    drawn = jax.tree.map(lambda a: 0.9 * a, truth)
    margin, _ = classify(render(drawn.structure, drawn.severity(jnp.ones(4))))
    p, q = (1 / (1 + np.exp(-np.asarray(m, np.float64))) for m in (target.margin, margin))
    found = inversion.error(drawn, target, render, classify, jnp.float32(4.0), weights)
    by_hand = -3 * (p * np.log(q) + (1 - p) * np.log1p(-q))
    np.testing.assert_allclose(found, by_hand, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("bias", [0.0, 0.7])
def test_corrections_halve_what_an_encoder_that_sees_half_leaves(render, truth, bias):
    """By hand: E(G(z)) = 0.5 z + bias, so z_k - z = 0.5^k (z_0 - z) whatever the bias, as E sees
    its own in the film and in what is drawn."""
    radius = jnp.array([1.0, 0.5, 0.2, 1.0])
    target = target_of(render(truth.structure, truth.severity(radius)), radius)
    basis = np.concatenate([render(*pair).reshape(-1, SIDE * SIDE) for pair in unit_latents()])
    inverse = jnp.linalg.pinv(basis)

    def encode(image):
        z = 0.5 * image.reshape(len(image), -1) @ inverse
        return Latents(z[:, :S] + bias, z[:, S:] / radius[:, None])

    first = inversion.guess(encode, target, render, 0)
    np.testing.assert_allclose(first.structure, 0.5 * truth.structure + bias, atol=1e-4)
    for times in (1, 3):
        found = inversion.guess(encode, target, render, times)
        left = 0.5**times * (first.structure - truth.structure)
        np.testing.assert_allclose(found.structure - truth.structure, left, atol=1e-4)
        left = 0.5**times * (first.direction - truth.direction)
        np.testing.assert_allclose(found.direction - truth.direction, left, atol=1e-4)


def unit_latents():
    """Each component alone: what `render` draws of them are the rows of its basis."""
    rows = jnp.eye(S + N)
    return [(row[None, :S], row[None, S:]) for row in rows]


def test_a_negative_keeps_the_origin(render, truth):
    radius = jnp.array([0.0, 1.0, 0.0, 1.0])
    image = render(truth.structure, truth.direction)  # drawn with a class latent all the same
    found, _ = refine(render, target_of(image, radius), origin_like(truth), ALL, 20)
    severity = np.asarray(found.severity(radius))
    assert (severity[[0, 2]] == 0).all()
    assert (np.abs(severity[[1, 3]]).max(axis=1) > 0.05).all()
    # Nor does anything pull on its unit latent.
    np.testing.assert_array_equal(found.direction[jnp.array([0, 2])], np.zeros((2, N)))


def test_films_do_not_depend_on_their_batch_mates(render, truth):
    radius = jnp.array([1.0, 0.0, 0.5, 1.0])
    image = render(truth.structure, truth.severity(radius)) * jnp.array([1, 5, 0.1, 1]).reshape(
        -1, 1, 1, 1
    )
    together, _ = refine(render, target_of(image, radius), origin_like(truth), ALL, 30)
    for i in range(4):
        row = slice(i, i + 1)
        first = jax.tree.map(lambda a, row=row: a[row], origin_like(truth))
        alone, _ = refine(render, target_of(image[row], radius[row]), first, ALL, 30)
        np.testing.assert_allclose(alone.structure, together.structure[row], atol=1e-4)
        np.testing.assert_allclose(alone.direction, together.direction[row], atol=1e-4)


def test_the_error_counts_what_its_weights_say(render, truth):
    radius = jnp.array([1.0, 0.0, 0.5, 1.0])
    target = target_of(render(truth.structure, truth.severity(radius)), radius)
    prior = NOTHING._replace(prior=2.0)
    each = lambda weights, latents: np.asarray(
        inversion.error(latents, target, render, classify, jnp.float32(4.0), weights)
    )
    # At the truth only the prior is left: half the squared norm a pixel; none for a free direction.
    squared = (truth.structure**2).sum(-1) + (radius > 0) * (truth.direction**2).sum(-1)
    np.testing.assert_allclose(each(prior, truth), squared / SIDE**2, rtol=1e-5)
    np.testing.assert_allclose(each(ALL._replace(prior=0.0), truth), np.zeros(4), atol=1e-5)
    # Elsewhere the weighted terms add up.
    off = jax.tree.map(lambda a: 0.5 * a, truth)
    named = [(name, weight) for name, weight in ALL._asdict().items() if weight]
    terms = [weight * each(NOTHING._replace(**{name: 1.0}), off) for name, weight in named]
    np.testing.assert_allclose(each(ALL, off), sum(terms), rtol=1e-4)
    assert all((term > 0).all() for term in terms)


def test_a_film_without_its_finding_by_hand(render, truth):
    """The render is linear, so the change is what z_class draws alone."""
    radius = jnp.array([1.0, 0.0, 0.5, 2.0])
    image = 3 + render(truth.structure, truth.direction)
    change = render(0 * truth.structure, radius[:, None] * truth.direction)
    bare = inversion.without_finding(truth, target_of(image, radius), render)
    np.testing.assert_allclose(bare, image - change, atol=1e-5)


def test_a_change_is_kept_against_what_the_film_alone_would_have(render, truth):
    """By hand: what draws the film and what is left of it without the finding, in least squares."""
    radius = jnp.ones(4)
    target = target_of(render(truth.structure, truth.direction), radius)
    first = Latents(jnp.zeros_like(truth.structure), 0.5 * truth.direction)
    found, _ = refine(render, target, first, PIXEL_ONLY, 2000, keep_change=True, learning_rate=0.02)
    basis = np.concatenate([render(*pair).reshape(-1, SIDE * SIDE) for pair in unit_latents()])
    both = np.concatenate([basis, basis * (np.arange(S + N) < S)[:, None]], axis=1)
    bare = inversion.without_finding(first, target, render)
    wanted = np.concatenate([target.image.reshape(4, -1), bare.reshape(4, -1)], axis=1)
    by_hand = np.linalg.lstsq(both.T, wanted.T, rcond=None)[0].T
    np.testing.assert_allclose(np.concatenate(found, axis=1), by_hand, atol=0.05)
    assert (np.abs(by_hand[:, S:] - truth.direction) > 0.1).any()  # the film alone has the truth


def test_a_negative_has_nothing_to_keep(render, truth):
    target = target_of(render(truth.structure, truth.direction), jnp.zeros(4))
    found, history = refine(render, target, origin_like(truth), PIXEL_ONLY, 300, keep_change=True)
    alone, _ = refine(render, target, origin_like(truth), PIXEL_ONLY, 600)
    np.testing.assert_allclose(found.structure, alone.structure, atol=1e-4)
    assert history.shape == (300, 4)


def test_no_steps_return_the_first_guess(render, truth):
    target = target_of(render(truth.structure, truth.direction), jnp.ones(4))
    found, history = refine(render, target, truth, ALL, 0)
    np.testing.assert_array_equal(found.structure, truth.structure)
    assert history.shape == (0, 4)


def test_both_latents_are_found_from_the_origin_if_neither_is_slowed(render, truth):
    radius = jnp.array([1.0, 0.5, 0.0, 1.0])
    target = target_of(render(truth.structure, truth.severity(radius)), radius)
    found, _ = refine(render, target, origin_like(truth), PIXEL_ONLY, num_steps=2000)
    np.testing.assert_allclose(found.structure, truth.structure, atol=0.02)
    np.testing.assert_allclose(found.severity(radius), truth.severity(radius), atol=0.02)
