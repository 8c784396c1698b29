"""Inversion of a generator whose inverse is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.explain import inversion
from cxr_jax.explain.inversion import InversionSettings, InversionWeights, Latents, Target

S, N, SIDE = 3, 2, 4
SPAN = jnp.float32(4.0)
NOTHING = InversionWeights(pixel=0.0, feature=0.0, margin=0.0, cross_entropy=0.0, prior=0.0)
PIXEL_ONLY = dataclasses.replace(NOTHING, pixel=1.0)
ALL = dataclasses.replace(NOTHING, pixel=10.0, feature=0.3, margin=0.5, prior=0.1)
SETTINGS = InversionSettings(
    start="origin",
    corrections=0,
    num_steps=600,
    alternate_lesion_free_steps=False,
    learning_rate=0.1,
    beta1=0.9,
    beta2=0.999,
    z_class_lr_scale=1.0,
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
    return Latents(z_structure=rows[:, :S], direction=rows[:, S:])


def target_of(image, radius) -> Target:
    margin, features = classify(image)
    return Target(image=image, margin=margin, features=features, radius=radius)


def origin_like(latents: Latents) -> Latents:
    return jax.tree.map(jnp.zeros_like, latents)


def refine(render, target, first, weights, num_steps=600, **more):
    settings = dataclasses.replace(SETTINGS, weights=weights, num_steps=num_steps, **more)

    def call(first, target):
        return inversion.refine(
            first, target, render, classify=classify, span=SPAN, settings=settings
        )

    return jax.jit(call)(first, target)


def error(latents, target, render, weights) -> jax.Array:
    return inversion.error(latents, target, render, classify=classify, span=SPAN, weights=weights)


def test_a_negative_is_inverted_in_its_structure(render, truth):
    radius = jnp.zeros(4)
    image = render(truth.z_structure, truth.z_class(radius))
    found, _ = refine(render, target_of(image, radius), origin_like(truth), PIXEL_ONLY)
    np.testing.assert_allclose(found.z_structure, truth.z_structure, atol=1e-2)


def test_the_structure_is_fitted_around_a_class_latent_that_is_held(render, truth):
    radius = jnp.array([1.0, 0.5, 0.2, 1.0])
    target = target_of(render(truth.z_structure, truth.z_class(radius)), radius)
    first = truth.replace(z_structure=jnp.zeros_like(truth.z_structure))
    found, history = refine(render, target, first, PIXEL_ONLY, z_class_lr_scale=0.0)
    np.testing.assert_array_equal(found.direction, truth.direction)
    np.testing.assert_allclose(found.z_structure, truth.z_structure, atol=1e-2)
    assert history.shape == (600, 4)
    assert (history[-1] < 1e-3 * history[0]).all()


def test_a_share_slows_the_class_latent_alone(render, truth):
    radius = jnp.array([0.0, 1.0, 0.0, 1.0])
    target = target_of(render(truth.z_structure, truth.direction), radius)
    steps = {
        share: refine(render, target, origin_like(truth), ALL, 1, z_class_lr_scale=share)[0]
        for share in (0.25, 1.0)
    }
    # The first step of Adam is as long as its rate, whatever the gradient; a negative has none.
    for share, step in steps.items():
        np.testing.assert_allclose(np.abs(step.z_structure), np.full((4, S), 0.1), rtol=1e-3)
        length = np.outer([0, 0.1 * share, 0, 0.1 * share], np.ones(N))
        np.testing.assert_allclose(np.abs(step.direction), length, rtol=1e-3)


def test_the_cross_entropy_is_least_where_the_probability_is_the_films(render, truth):
    """By hand: -p log q - (1 - p) log(1 - q)."""
    target = target_of(render(truth.z_structure, truth.direction), jnp.ones(4))
    weights = dataclasses.replace(NOTHING, cross_entropy=3.0)
    drawn = jax.tree.map(lambda a: 0.9 * a, truth)
    margin, _ = classify(render(drawn.z_structure, drawn.z_class(jnp.ones(4))))
    p, q = (1 / (1 + np.exp(-np.asarray(m, np.float64))) for m in (target.margin, margin))
    found = error(drawn, target, render, weights)
    by_hand = -3 * (p * np.log(q) + (1 - p) * np.log1p(-q))
    np.testing.assert_allclose(found, by_hand, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("bias", [0.0, 0.7])
def test_corrections_halve_what_an_encoder_that_sees_half_leaves(render, truth, bias):
    """By hand: E(G(z)) = 0.5 z + bias, so z_k - z = 0.5^k (z_0 - z) whatever the bias, as E sees
    its own in the film and in what is drawn."""
    radius = jnp.array([1.0, 0.5, 0.2, 1.0])
    target = target_of(render(truth.z_structure, truth.z_class(radius)), radius)
    basis = np.concatenate([render(*pair).reshape(-1, SIDE * SIDE) for pair in unit_latents()])
    inverse = jnp.linalg.pinv(basis)

    def encode(image):
        z = 0.5 * image.reshape(len(image), -1) @ inverse
        means = z[:, :S] + bias, z[:, S:] / radius[:, None]
        return tuple((mean, 0 * mean) for mean in means)  # each with its log-deviation

    first = inversion.guess(encode, render, target, corrections=0)
    np.testing.assert_allclose(first.z_structure, 0.5 * truth.z_structure + bias, atol=1e-4)
    for times in (1, 3):
        found = inversion.guess(encode, render, target, corrections=times)
        left = 0.5**times * (first.z_structure - truth.z_structure)
        np.testing.assert_allclose(found.z_structure - truth.z_structure, left, atol=1e-4)
        left = 0.5**times * (first.direction - truth.direction)
        np.testing.assert_allclose(found.direction - truth.direction, left, atol=1e-4)


def unit_latents():
    """Each component alone: what `render` draws of them are the rows of its basis."""
    rows = jnp.eye(S + N)
    return [(row[None, :S], row[None, S:]) for row in rows]


def test_a_negative_keeps_the_origin(render, truth):
    radius = jnp.array([0.0, 1.0, 0.0, 1.0])
    image = render(truth.z_structure, truth.direction)  # drawn with a class latent all the same
    found, _ = refine(render, target_of(image, radius), origin_like(truth), ALL, 20)
    z_class = np.asarray(found.z_class(radius))
    assert (z_class[[0, 2]] == 0).all()
    assert (np.abs(z_class[[1, 3]]).max(axis=1) > 0.05).all()
    # Nor does anything pull on its unit latent.
    np.testing.assert_array_equal(found.direction[jnp.array([0, 2])], np.zeros((2, N)))


def test_films_do_not_depend_on_their_batch_mates(render, truth):
    radius = jnp.array([1.0, 0.0, 0.5, 1.0])
    image = render(truth.z_structure, truth.z_class(radius)) * jnp.array([1, 5, 0.1, 1]).reshape(
        -1, 1, 1, 1
    )
    together, _ = refine(render, target_of(image, radius), origin_like(truth), ALL, 30)
    for i in range(4):
        row = slice(i, i + 1)
        first = jax.tree.map(lambda a, row=row: a[row], origin_like(truth))
        alone, _ = refine(render, target_of(image[row], radius[row]), first, ALL, 30)
        np.testing.assert_allclose(alone.z_structure, together.z_structure[row], atol=1e-4)
        np.testing.assert_allclose(alone.direction, together.direction[row], atol=1e-4)


def test_the_error_counts_what_its_weights_say(render, truth):
    radius = jnp.array([1.0, 0.0, 0.5, 1.0])
    target = target_of(render(truth.z_structure, truth.z_class(radius)), radius)
    prior = dataclasses.replace(NOTHING, prior=2.0)
    each = lambda weights, latents: np.asarray(error(latents, target, render, weights))
    # At the truth only the prior is left: half the squared norm a pixel; none for a free direction.
    squared = (truth.z_structure**2).sum(-1) + (radius > 0) * (truth.direction**2).sum(-1)
    np.testing.assert_allclose(each(prior, truth), squared / SIDE**2, rtol=1e-5)
    np.testing.assert_allclose(
        each(dataclasses.replace(ALL, prior=0.0), truth), np.zeros(4), atol=1e-5
    )
    # Elsewhere the weighted terms add up.
    off = jax.tree.map(lambda a: 0.5 * a, truth)
    named = [(name, weight) for name, weight in dataclasses.asdict(ALL).items() if weight]
    terms = [
        weight * each(dataclasses.replace(NOTHING, **{name: 1.0}), off) for name, weight in named
    ]
    np.testing.assert_allclose(each(ALL, off), sum(terms), rtol=1e-4)
    assert all((term > 0).all() for term in terms)


def test_a_film_without_its_finding_by_hand(render, truth):
    """The render is linear, so the change is what z_class draws alone."""
    radius = jnp.array([1.0, 0.0, 0.5, 2.0])
    image = 3 + render(truth.z_structure, truth.direction)
    change = render(0 * truth.z_structure, radius[:, None] * truth.direction)
    bare = inversion.without_finding(truth, target_of(image, radius), render)
    np.testing.assert_allclose(bare, image - change, atol=1e-5)


def test_a_change_is_kept_against_what_the_film_alone_would_have(render, truth):
    """By hand: what draws the film and what is left of it without the finding, in least squares."""
    radius = jnp.ones(4)
    target = target_of(render(truth.z_structure, truth.direction), radius)
    first = Latents(z_structure=jnp.zeros_like(truth.z_structure), direction=0.5 * truth.direction)
    found, _ = refine(
        render,
        target,
        first,
        PIXEL_ONLY,
        2000,
        alternate_lesion_free_steps=True,
        learning_rate=0.02,
    )
    basis = np.concatenate([render(*pair).reshape(-1, SIDE * SIDE) for pair in unit_latents()])
    both = np.concatenate([basis, basis * (np.arange(S + N) < S)[:, None]], axis=1)
    bare = inversion.without_finding(first, target, render)
    wanted = np.concatenate([target.image.reshape(4, -1), bare.reshape(4, -1)], axis=1)
    by_hand = np.linalg.lstsq(both.T, wanted.T, rcond=None)[0].T
    np.testing.assert_allclose(
        np.concatenate([found.z_structure, found.direction], axis=1), by_hand, atol=0.05
    )
    assert (np.abs(by_hand[:, S:] - truth.direction) > 0.1).any()  # the film alone has the truth


def test_a_negative_has_nothing_to_keep(render, truth):
    target = target_of(render(truth.z_structure, truth.direction), jnp.zeros(4))
    found, history = refine(
        render, target, origin_like(truth), PIXEL_ONLY, 300, alternate_lesion_free_steps=True
    )
    alone, _ = refine(render, target, origin_like(truth), PIXEL_ONLY, 600)
    np.testing.assert_allclose(found.z_structure, alone.z_structure, atol=1e-4)
    assert history.shape == (300, 4)


def test_no_steps_return_the_first_guess(render, truth):
    target = target_of(render(truth.z_structure, truth.direction), jnp.ones(4))
    found, history = refine(render, target, truth, ALL, 0)
    np.testing.assert_array_equal(found.z_structure, truth.z_structure)
    assert history.shape == (0, 4)


def test_both_latents_are_found_from_the_origin_if_neither_is_slowed(render, truth):
    radius = jnp.array([1.0, 0.5, 0.0, 1.0])
    target = target_of(render(truth.z_structure, truth.z_class(radius)), radius)
    found, _ = refine(render, target, origin_like(truth), PIXEL_ONLY, num_steps=2000)
    np.testing.assert_allclose(found.z_structure, truth.z_structure, atol=0.02)
    np.testing.assert_allclose(found.z_class(radius), truth.z_class(radius), atol=0.02)
