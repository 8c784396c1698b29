"""What a step of the GAN draws and what it costs, as far as it can be worked out by hand."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from builders import make_tiny_config

from cxr_jax.models.model import Model
from cxr_jax.networks.build import init_gan_params, make_gan_networks
from cxr_jax.networks.grading import Scale
from cxr_jax.training import gan, gan_objective
from cxr_jax.training.gan_state import FrozenInputs
from cxr_jax.training.loss_terms import TERMS, StepImages

SCALE = Scale(negative=jnp.float32(-2.0), strong=jnp.float32(6.0))


def test_partners_change_places():
    rows = jnp.arange(8).reshape(4, 2)
    np.testing.assert_array_equal(gan_objective.partner(rows), rows[jnp.array([1, 0, 3, 2])])
    np.testing.assert_array_equal(gan_objective.partner(gan_objective.partner(rows)), rows)


def test_no_split_over_devices_changes_a_partner():
    rows = jnp.arange(16)
    split = jax.vmap(gan_objective.partner)(rows.reshape(4, 4)).reshape(16)
    np.testing.assert_array_equal(split, gan_objective.partner(rows))


call = jax.jit(lambda player, *inputs: player(*inputs))


class SmallGan:
    """Its networks and its films; what it draws of them is one program for all margins."""

    def __init__(self, random_like):
        self.networks = make_gan_networks(make_tiny_config())
        sizes = self.networks.generator.latent_sizes
        self.params, self.discriminator = random_like(lambda: init_gan_params(self.networks, 0))
        self.players = gan_objective.bind_players(self.networks, self.params)
        self.image = jax.random.uniform(jax.random.key(1), (8, 16, 16, 1), minval=-1)
        self.noise = gan_objective.draw_noise(jax.random.split(jax.random.key(2), 8), sizes)
        self.draw = jax.jit(self._draw)
        self.slope = jax.jit(jax.grad(self._changes))

    def _draw(self, params, margin, noise, graft_margin) -> StepImages:
        return gan_objective.draw_images(
            gan_objective.bind_players(self.networks, params),
            self.image,
            margin,
            scale=SCALE,
            noise=noise,
            classify=lambda drawn: drawn[:, :, :8].mean(axis=(1, 2, 3)),
            decide=lambda grafted: jnp.full(len(grafted), graft_margin),
        )

    def _changes(self, params, margin, weights) -> jax.Array:
        """Sizes of the null changes, of those of transplants and of those carried, weighted."""
        drawn = self._draw(params, margin, self.noise, 3.0)
        changes = drawn.null_change, drawn.grafts.change, drawn.grafts.carried
        return sum(w * jnp.abs(change).sum() for w, change in zip(weights, changes, strict=True))


@pytest.fixture(scope="module")
def small_gan(random_like) -> SmallGan:
    return SmallGan(random_like)


class Images:
    """What the small GAN draws from films with known margins."""

    def __init__(self, small_gan: SmallGan, margin, graft_margin=3.0):
        self.gan, self.margin, self.graft_margin = small_gan, jnp.array(margin), graft_margin
        self.image, self.noise = small_gan.image, small_gan.noise
        self.generator, self.encoder = (partial(call, player) for player in small_gan.players)
        self.images = self.draw(self.noise)

    def draw(self, noise) -> StepImages:
        return self.gan.draw(self.gan.params, self.margin, noise, self.graft_margin)


def test_swaps_lend_class_latents_between_films(small_gan):
    # Of the encoded films (the even ones) the first two are negative, the others positive.
    films = Images(small_gan, [-5.0, 0.0, -3.0, 0.0, 4.0, 0.0, 6.0, 0.0])
    drawn = films.images
    assert drawn.reconstruction.shape == drawn.swap.shape == (4, 16, 16, 1)
    assert drawn.sample.shape == drawn.null_change.shape == (2, 16, 16, 1)
    assert all(array.shape[0] == 2 for array in jax.tree.leaves(drawn.grafts))
    # Between two negatives there is nothing to lend: both sit at the origin.
    np.testing.assert_allclose(drawn.swap[:2], drawn.reconstruction[:2], atol=1e-6)
    assert (jnp.abs(drawn.swap[2:] - drawn.reconstruction[2:]).max(axis=(1, 2, 3)) > 1e-3).all()
    # A negative is asked for the median negative's margin, a positive for the lender's own.
    np.testing.assert_allclose(drawn.swap_target, [-2.0, -2.0, 6.0, 4.0])


def test_a_negative_never_uses_its_class_noise(small_gan):
    films = Images(small_gan, [-5.0, 0.0, 4.0, 0.0, -5.0, 0.0, 4.0, 0.0])
    noise = films.noise.replace(z_class=-films.noise.z_class)
    moved = films.draw(noise).reconstruction - films.images.reconstruction
    moved = jnp.abs(moved).max(axis=(1, 2, 3))
    assert (moved[0::2] == 0).all() and (moved[1::2] > 1e-3).all()


def test_samples_ask_for_the_margin_of_their_share(small_gan):
    films = Images(small_gan, [-5.0, 0.0, 4.0, 0.0, 6.0, 0.0, -1.0, 0.0])
    # Of each pair the second lends its class latent; the last is a negative and has none.
    for second, expected in ((0.2, -2.0), (0.5, 0.0), (1.0, 4.0)):
        share = jnp.array([0.7, second, 0.3, second])
        drawn = films.draw(films.noise.replace(share=share))
        np.testing.assert_allclose(drawn.sample_target, [expected, -2.0], atol=1e-6)


def test_a_removal_is_measured_where_the_pair_is_a_negative_and_a_positive(small_gan):
    for margins, expected in (
        ([-5.0, 0.0, 4.0, 0.0, 6.0, 0.0, 1.0, 0.0], [1.0, 0.0]),
        ([-5.0, 0.0, -4.0, 0.0, -6.0, 0.0, 1.0, 0.0], [0.0, 1.0]),
    ):
        films = Images(small_gan, margins)
        np.testing.assert_array_equal(films.images.grafts.has_twin, expected)
        np.testing.assert_array_equal(films.images.grafts.twin, films.image[0::4])


def test_a_removal_sees_the_graft_and_draws_without_a_class_latent(small_gan):
    films = Images(small_gan, [-5.0, 0.0, 4.0, 0.0, -6.0, 0.0, 1.0, 0.0])
    # A stronger graft is another film to the encoder...
    share = films.noise.share.at[0].set(1 - films.noise.share[0])
    removal = films.images.grafts.removal
    moved = films.draw(films.noise.replace(share=share)).grafts.removal - removal
    moved = jnp.abs(moved).max(axis=(1, 2, 3))
    assert moved[0] > 1e-4 and moved[1] == 0
    # ... but the negative film's own class noise is of no account to what lies beneath.
    noise = films.noise.z_class.at[0].multiply(-1.0)
    again = films.draw(films.noise.replace(z_class=noise)).grafts.removal
    np.testing.assert_array_equal(again, removal)


def test_a_transplant_is_what_the_graft_s_own_class_latent_draws(small_gan):
    films = Images(small_gan, [-5.0, 0.0, 4.0, 0.0, -6.0, 0.0, 1.0, 0.0])
    drawn, film = films.images, films.image[0::4]
    # Of the change only what f feels is grafted, and f sees the left half alone.
    felt = np.asarray(drawn.felt)
    assert felt[:, :, :7].min() > 0.9 and felt[:, :, 11:].max() < 1e-3
    change = (drawn.felt * (drawn.swap - drawn.reconstruction))[0::2]
    grafted = gan_objective.graft(film, change, films.noise.share[0::2])
    np.testing.assert_allclose(drawn.grafts.carried, grafted - film, atol=1e-6)
    moments, (direction, _) = films.encoder(grafted)
    bare = gan_objective.sample_latent(moments, films.noise.sample[0::2])
    rho = (3.0 + 2.0) / 8.0  # of the margin 3 on a scale from -2 to 6
    full = films.generator(bare, rho * direction)
    np.testing.assert_allclose(drawn.grafts.change, full - drawn.grafts.removal, atol=1e-5)
    assert (jnp.abs(drawn.grafts.change).max(axis=(1, 2, 3)) > 1e-3).all()


@pytest.mark.parametrize(
    ("margins", "graft_margin", "expected"),
    [
        ([-5.0, 0.0, 4.0, 0.0, -6.0, 0.0, 1.0, 0.0], 3.0, [1.0, 1.0]),
        ([-5.0, 0.0, 4.0, 0.0, 6.0, 0.0, 1.0, 0.0], 3.0, [1.0, 0.0]),  # no negative below it
        ([-5.0, 0.0, -4.0, 0.0, -6.0, 0.0, 1.0, 0.0], 3.0, [0.0, 1.0]),  # nothing was lent
        ([-5.0, 0.0, 4.0, 0.0, -6.0, 0.0, 1.0, 0.0], -0.5, [0.0, 0.0]),  # f sees none of it
    ],
)
def test_a_transplant_is_measured_where_f_sees_a_finding(
    small_gan, margins, graft_margin, expected
):
    grafts = Images(small_gan, margins, graft_margin).images.grafts
    np.testing.assert_array_equal(grafts.has_change, expected)
    if graft_margin <= 0:  # it has no class latent, hence draws no finding
        np.testing.assert_allclose(grafts.change, 0, atol=1e-6)


def test_a_null_change_is_what_a_negative_draws_at_the_full_radius(small_gan):
    films = Images(small_gan, [-5.0, 0.0, 4.0, 0.0, 6.0, 0.0, 1.0, 0.0])
    _, (direction, _) = films.encoder(films.image[0::4])
    own = films.images.z_structure[0::2]
    expected = films.generator(own, direction) - films.generator(own, 0 * direction)
    np.testing.assert_allclose(films.images.null_change[0], expected[0], atol=1e-5)
    assert float(jnp.abs(expected[0]).max()) > 1e-3
    np.testing.assert_array_equal(films.images.is_negative, [1.0, 0.0])


def test_who_learns_from_null_changes_and_transplants(small_gan):
    margin = jnp.array([-5.0, 0.0, 4.0, 0.0, -6.0, 0.0, 1.0, 0.0])
    learners = [(True, True), (True, True), (False, False)]
    for chosen, (generator, encoder) in zip(jnp.eye(3), learners, strict=True):
        slope = small_gan.slope(small_gan.params, margin, chosen)
        largest = {
            name: max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(slope[name]))
            for name in ("generator", "encoder")
        }
        assert (largest["generator"] > 1e-3, largest["encoder"] > 1e-3) == (generator, encoder)


class Brightness(nn.Module):
    """A classifier that calls bright films positive, and shows no features."""

    def __call__(self, image):
        return 20 * image.mean(axis=(1, 2, 3)), {}


@pytest.mark.parametrize("by_label", [False, True])
def test_the_loss_has_what_transplants_and_null_changes_leave(
    tiny_config, small_gan, by_label, monkeypatch
):
    films = small_gan
    # A term that nobody has thought of takes part by its weight, as all do.
    monkeypatch.setitem(TERMS, "brightness", lambda step: step.images.reconstruction.mean())
    with tiny_config.gan.weights.unlocked():
        tiny_config.gan.weights.brightness = 3.0
    # Of the second pair both are positive: there is no finding to measure, and no null change.
    brightness = jnp.array([-0.01, 0.0, 0.3, 0.0, 0.2, 0.0, 0.1, 0.0])[:, None, None, None]
    centred = films.image - films.image.mean(axis=(1, 2, 3), keepdims=True)
    image = jnp.clip(0.2 * centred + brightness, -1, 1)
    classifier = Model(Brightness(), {})
    # By label every graft is a strong positive, whatever the classifier says of it.
    label = (brightness[:, 0, 0, 0] > 0).astype(jnp.int32) if by_label else None
    strong = lambda grafted: jnp.full(len(grafted), SCALE.strong)
    said = lambda image: classifier(image)[0]
    margin = said(image) if label is None else jnp.where(label, SCALE.strong, SCALE.negative)
    frozen = FrozenInputs(
        classifier=classifier, scale=SCALE, hparams=gan.make_hparams(tiny_config, "ours")
    )

    @jax.jit
    def draw_and_score(image):
        images = gan_objective.draw_images(
            films.players,
            image,
            margin,
            scale=SCALE,
            noise=films.noise,
            classify=said,
            decide=strong if by_label else said,
        )
        loss, outputs = gan_objective.generator_loss(
            films.networks,
            films.params,
            films.discriminator,
            frozen=frozen,
            image=image,
            noise=films.noise,
            label=label,
        )
        return images, outputs.terms, loss

    images, terms, loss = draw_and_score(image)
    transplant = np.abs(images.grafts.change - images.grafts.carried).mean(axis=(1, 2, 3))
    null_change = np.abs(images.null_change).mean(axis=(1, 2, 3))
    assert (transplant > 1e-4).all() and (null_change > 1e-4).all()
    np.testing.assert_allclose(terms["transplant"], transplant[0] / 2, rtol=1e-4)
    np.testing.assert_allclose(terms["null_change"], null_change[0] / 2, rtol=1e-4)
    # The loss is the sum of the terms by their weights in the config.
    weights = tiny_config.gan.weights
    assert terms.keys() == set(weights.keys()) and terms["brightness"] != 0
    total = sum(weights[name] * float(value) for name, value in terms.items())
    np.testing.assert_allclose(loss, total, rtol=1e-5)


def test_a_graft_carries_the_change_by_its_share(key):
    image = 0.1 * jax.random.normal(key, (3, 4, 4, 1))
    change = jnp.full_like(image, 0.1)
    share = jnp.array([0.0, 0.5, 1.0])
    grafted = gan_objective.graft(image, change, share)
    for row, gain in enumerate((0.5, 1.5, 2.5)):
        np.testing.assert_allclose(grafted[row], image[row] + 0.1 * gain, atol=1e-6)
    assert float(gan_objective.graft(image, 100 * change, share).max()) == 1.0
