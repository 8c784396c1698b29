"""The maps by name: whose they are, what they ask, and that none of them is negative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_networks
from toy_networks import SIDE

from cxr_jax.configs import base
from cxr_jax.explain import attribution
from cxr_jax.explain import maps
from cxr_jax.models.classifier import Classifier
from cxr_jax.explain.traversal import Ended
from cxr_jax.explain.traversal import Walk

pytestmark = pytest.mark.usefixtures("optimised")

N, K = 3, 4


@pytest.fixture(scope="module")
def section():
    section = base.get_config().explain
    section.update(
        dict(
            maps=maps.NAMES,
            integrated_gradients_steps=8,
            smoothgrad_samples=3,
        )
    )
    # An encoder that has learned nothing is no inverse: what it would correct goes anywhere.
    section.inversion.update(dict(corrections=0, num_steps=12, learning_rate=0.03, beta2=0.999))
    return section


@pytest.fixture(scope="module")
def gan():
    return toy_networks.make_gan()


@pytest.fixture(scope="module")
def films(gan):
    return toy_networks.make_films(gan, N, positive=True)


# Published methods.


@pytest.fixture(scope="module")
def asked(random_params, section):
    """A small classifier, its parameters, films, and each method's maps of them."""
    network = Classifier(widths=(4, 4))
    image = np.float32(np.random.default_rng(0).uniform(-1, 1, (N, 16, 16, 1)))
    params = random_params(network, image[:1])
    methods = maps.baselines(network, section, seed=0)
    return (
        methods,
        network,
        params,
        image,
        {n: jax.jit(m)(params, image) for n, m in methods.items()},
    )


def test_baselines_are_those_asked_for(section, asked):
    methods, network, *_ = asked
    assert tuple(methods) == maps.BASELINES
    some = section.copy_and_resolve_references()
    some.maps = ("latent", "grad_cam", "gradient", "oracle")
    assert list(maps.baselines(network, some, 0)) == ["gradient", "grad_cam"]
    assert set(maps.BASELINES) | set(maps.CONTROLS) < set(maps.NAMES)
    assert len(set(maps.NAMES)) == len(maps.NAMES)


@pytest.mark.parametrize("name", maps.BASELINES)
def test_baselines_are_never_negative_and_each_films_own(asked, name):
    methods, _, params, image, found = asked
    assert found[name].shape == image.shape
    assert (found[name] >= 0).all() and (found[name].max(axis=(1, 2, 3)) > 0).all()
    # Other films in its batch change nothing.
    mates = image[np.array([2, 2, 0])]
    again = jax.jit(methods[name])(params, mates)
    np.testing.assert_allclose(again, found[name][np.array([2, 2, 0])], rtol=1e-3, atol=1e-6)


def test_baselines_are_the_methods_of_their_names(asked, section):
    _, network, params, image, found = asked
    classify = lambda image: network.apply({"params": params}, image)[0]
    gradient = jax.grad(lambda image: classify(image).sum())
    np.testing.assert_allclose(found["gradient"], np.abs(gradient(image)), rtol=1e-3, atol=1e-6)
    # From black: the signed map has the change of f for its sum.
    steps = section.integrated_gradients_steps
    signed = attribution.integrated_gradients(classify, image, 0 * image - 1, steps)
    np.testing.assert_allclose(found["integrated_gradients"], np.abs(signed), rtol=1e-3, atol=1e-6)
    shape = (section.smoothgrad_samples, 1, *image.shape[1:])
    noise = section.smoothgrad_noise * jax.random.normal(jax.random.key(0), shape)
    mean = np.mean([gradient(image + eps) for eps in noise], axis=0)
    np.testing.assert_allclose(found["smoothgrad"], np.abs(mean), rtol=1e-3, atol=1e-6)
    last = attribution.grad_cam(network, params, image, "stage_1")
    np.testing.assert_allclose(found["grad_cam"], last, rtol=1e-3, atol=1e-6)


# Along the walk.


def test_attribution_along_the_walk_is_of_its_carried_frames_up_to_the_end(gan, films):
    t = np.linspace(0, 1, 41, dtype=np.float32).reshape(-1, 1, 1, 1, 1)
    end = 0.5 * films.image
    carried = np.asarray(films.image + t * (end - films.image)).swapaxes(0, 1)
    walked = Walk(*[np.zeros((N, 41))] * 7)._replace(carried=carried, drawn=0 * carried)
    integrate = jax.jit(maps.along_walk(gan.networks.classifier))
    stops = np.array([40, 20, 0])
    found = integrate(gan.trained.classifier, (walked, stops))
    assert found.shape == films.image.shape and (np.asarray(found) < 0).any()
    change = gan.classify(carried[np.arange(N), stops]) - gan.classify(films.image)
    np.testing.assert_allclose(np.asarray(found).sum(axis=(1, 2, 3)), change, rtol=1e-2, atol=1e-6)
    assert (np.asarray(found[2]) == 0).all() and (np.abs(change[:2]) > 1e-3).all()


def test_undoing_asks_this_classifier_about_this_film(gan, films):
    network, params = gan.networks.classifier, gan.trained.classifier
    other = np.asarray(films.image) * np.float32(0.5)
    found = jax.jit(maps.occlude(network, 4))(params, (films.image, other))
    classify = lambda image: network.apply({"params": params}, image)[0]
    expected = attribution.occlusion(classify, films.image, other, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert (np.asarray(found) > 0).any() and (np.asarray(found) >= 0).all()


# Anomaly.


@pytest.fixture(scope="module")
def anomaly(gan, section):
    return jax.jit(maps.anogan(gan.networks, section))


def test_anogan_asks_no_classifier(gan, films, anomaly):
    found = anomaly(gan.trained, films)
    assert found.shape == films.image.shape and (found >= 0).all()
    other = toy_networks.make_gan(seed=1).trained
    asked = dict(classifier=other.classifier, judge=other.judge, robust=other.robust)
    strangers = gan.trained._replace(**asked)
    np.testing.assert_array_equal(anomaly(strangers, films), found)
    # Nor does it look at what was asked before, or at latents that f's answer has shaped.
    answers = ("margin", "judged", "severity", "structure", "drawn", "drawn_margin", "origin")
    forgotten = films._replace(**{name: 5 + 0 * getattr(films, name) for name in answers})
    np.testing.assert_array_equal(anomaly(gan.trained, forgotten), found)
    for part in ("generator", "encoder"):
        changed = gan.trained._replace(**{part: getattr(other, part)})
        assert np.abs(anomaly(changed, films) - found).max() > 1e-3, part


def test_anogan_shows_what_films_without_finding_cannot_explain(gan, section):
    """The distance to the nearest image on G(., 0), which more steps come nearer."""
    negative = toy_networks.make_films(gan, N, positive=False)
    drawn = negative._replace(image=negative.drawn)  # of the kind that it can draw
    left = {}
    for steps in (0, 300):
        longer = section.copy_and_resolve_references()
        longer.inversion.update(dict(num_steps=steps, weights=dict(pixel=5000.0)))
        left[steps] = np.asarray(jax.jit(maps.anogan(gan.networks, longer))(gan.trained, drawn))
    assert left[300].mean() < 0.15 * left[0].mean()
    # Unfitted it is the film less what the encoder's structure draws without a class latent.
    guess, _ = gan.networks.encoder.apply({"params": gan.trained.encoder}, drawn.image)
    without = gan.draw(guess[0], jnp.zeros_like(drawn.severity))
    np.testing.assert_allclose(left[0], np.abs(drawn.image - without), atol=1e-5)


def test_anogan_leaves_a_finding_over(gan, section):
    patched = toy_networks.make_films(gan, N, positive=False)
    image = patched.drawn.copy()
    image[:, 2:4, 2:4] = -np.sign(image[:, 2:4, 2:4])  # nothing that it draws looks like that
    longer = section.copy_and_resolve_references()
    longer.inversion.update(dict(num_steps=300))
    found = np.asarray(
        jax.jit(maps.anogan(gan.networks, longer))(gan.trained, patched._replace(image=image))
    )
    rest = found.sum(axis=(1, 2, 3)) - found[:, 2:4, 2:4].sum(axis=(1, 2, 3))
    assert (found[:, 2:4, 2:4].mean(axis=(1, 2, 3)) > 2 * rest / (SIDE**2 - 4)).all()


# Of walks, and of the truth.


def make_walked(films) -> tuple[Walk, Ended]:
    """Walks whose frames are numbers, and stops that differ."""
    rng = np.random.default_rng(3)
    drawn = rng.uniform(-1, 1, (N, K + 1, SIDE, SIDE, 1))
    walked = Walk(*[np.zeros((N, K + 1))] * 7)._replace(drawn=drawn, carried=0 * drawn)
    change = rng.normal(size=films.image.shape)
    frame = np.array([0, 3, K])
    return walked, Ended(frame, frame > 0, frame, frame, change)


def test_maps_of_a_walk_by_hand(films):
    walked, ended = make_walked(films)
    found = maps.walk_maps(films, walked, ended)
    assert found.keys() == {"latent", "residual", "shuffled"}
    np.testing.assert_array_equal(found["latent"], np.abs(ended.change))
    for i, frame in enumerate([0, 3, K]):
        expected = np.abs(films.image[i] - walked.drawn[i, frame])
        np.testing.assert_array_equal(found["residual"][i], expected)


@pytest.mark.parametrize("rows", [2, 3])
def test_shuffled_gives_every_film_the_map_of_another(films, rows):
    walked, ended = make_walked(films)
    picked = slice(rows)
    found = maps.walk_maps(
        films.rows(picked),
        Walk(*(array[picked] for array in walked)),
        Ended(*(array[picked] for array in ended)),
    )
    owner = [
        int(np.flatnonzero([(shuffled == one).all() for one in found["latent"]]).item())
        for shuffled in found["shuffled"]
    ]
    assert sorted(owner) == list(range(rows))  # each map is used once
    assert all(theirs != mine for mine, theirs in enumerate(owner))


def test_maps_of_the_truth_by_hand(films):
    lesions = np.zeros((4, SIDE, SIDE, 1), np.uint8)
    lesions[:3, 2, 2] = 255
    lesions[0, 5, 5] = 255
    twin = films.image - np.float32(0.25)
    lungs = np.uint8(255) * np.uint8(np.arange(SIDE) % 2)[None, :, None, None]
    truth = {"twin": twin, "lung_mask": np.broadcast_to(lungs, twin.shape)}
    found = maps.truth_maps(films, truth, lesions)
    np.testing.assert_array_equal(found["lungs"][1, :, 0, 0], np.arange(SIDE) % 2)
    assert found["prior"].shape == films.image.shape
    expected = np.zeros((SIDE, SIDE, 1))
    expected[2, 2], expected[5, 5] = 0.75, 0.25
    for one in found["prior"]:  # one map for all
        np.testing.assert_allclose(one, expected)
    np.testing.assert_allclose(found["oracle"], np.full(twin.shape, 0.25), atol=1e-6)
    np.testing.assert_array_equal(
        maps.truth_maps(films, truth | {"twin": 2 * films.image - twin}, lesions)["oracle"] >= 0,
        True,
    )
