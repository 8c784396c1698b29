"""The parts of a GAN step that can be worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.errors import InputError
from cxr_jax.networks.grading import Scale
from cxr_jax.runtime import parallel
from cxr_jax.training import gan, gan_objective, gan_state

SCALE = Scale(jnp.float32(-2.0), jnp.float32(6.0))


def test_partners_change_places():
    rows = jnp.arange(8).reshape(4, 2)
    np.testing.assert_array_equal(gan_objective.partner(rows), rows[jnp.array([1, 0, 3, 2])])
    np.testing.assert_array_equal(gan_objective.partner(gan_objective.partner(rows)), rows)


def test_no_split_over_devices_changes_a_partner():
    rows = jnp.arange(16)
    split = jax.vmap(gan_objective.partner)(rows.reshape(4, 4)).reshape(16)
    np.testing.assert_array_equal(split, gan_objective.partner(rows))


def test_margin_error_by_hand():
    wanted = jnp.array([2.0, 2.0, -2.0, -2.0])
    margin = jnp.array([6.0, -2.0, 2.0, -9.0])
    # In spans of 8; a negative may be more so than the median one.
    found = gan_objective.margin_error(margin, wanted, SCALE)
    np.testing.assert_allclose(found, [0.25, 0.25, 0.25, 0.0])


def rates(tiny_config, num_steps: int) -> np.ndarray:
    """The learning rate of every step: what Adam moves a parameter with a constant gradient."""
    tiny_config.gan.num_steps = num_steps
    optimizer = gan_state.make_optimizer(tiny_config.gan, 1.0)
    params = jnp.zeros(())
    state, moves = optimizer.init(params), []
    for _ in range(num_steps):
        move, state = optimizer.update(jnp.ones(()), state)
        moves.append(-float(move))
    return np.array(moves)


@pytest.mark.parametrize("num_steps", [3, 20, 60])
def test_the_learning_rate_rises_stays_and_falls(tiny_config, num_steps):
    rate = rates(tiny_config, num_steps)
    warm, fall = max(num_steps // 50, 1), num_steps * 4 // 5
    assert (np.diff(rate[: warm + 1]) > 0).all()
    np.testing.assert_allclose(rate[warm : fall + 1], 1.0, rtol=1e-3)
    assert (np.diff(rate[fall:]) < 0).all() and rate[-1] >= 0.1


@pytest.mark.parametrize(("batch_size", "fits"), [(16, True), (32, True), (8, False), (20, False)])
def test_a_batch_that_cannot_be_paired_is_refused(batch_size, fits):
    if fits:
        parallel.check_batch_size("gan", batch_size, gan.PAIRED_SHARE)
    else:
        with pytest.raises(InputError, match=f"{batch_size}; with 4 devices.* multiple of 16"):
            parallel.check_batch_size("gan", batch_size, gan.PAIRED_SHARE)


class Images:
    """What the networks of a small GAN draw from films with known margins."""

    def __init__(self, tiny_config, random_like, margin):
        networks = make_networks(tiny_config)
        sizes = networks.generator.latent_sizes
        image = jax.random.uniform(jax.random.key(1), (8, 16, 16, 1), minval=-1)
        self.params, _ = random_like(lambda: init_gan_params(networks, 0))
        self.noise = gan_objective.draw_noise(jax.random.split(jax.random.key(2), 8), *sizes)
        self.networks, self.image, self.margin = networks, image, jnp.array(margin)
        self.draw = jax.jit(self._draw)
        self.drawn = self.draw(self.noise)

    def _draw(self, noise, graft_margin=3.0, params=None) -> gan_objective.Drawn:
        decide = lambda grafted: jnp.full(len(grafted), graft_margin)
        return gan_objective.draw_images(
            *(self.networks, self.params if params is None else params, self.image),
            *(self.margin, SCALE, noise, decide),
        )

    def generate(self, structure, severity):
        return self.networks.generator.apply(
            {"params": self.params["generator"]}, structure, severity
        )

    def encode(self, image):
        return self.networks.encoder.apply({"params": self.params["encoder"]}, image)


def test_swaps_lend_class_latents_between_films(tiny_config, random_like):
    # Of the encoded films (the even ones) the first two are negative, the others positive.
    films = Images(tiny_config, random_like, [-5.0, 0.0, -3.0, 0.0, 4.0, 0.0, 6.0, 0.0])
    drawn = films.drawn
    assert drawn.reconstruction.shape == drawn.swap.shape == (4, 16, 16, 1)
    assert drawn.sample.shape == drawn.silence.shape == (2, 16, 16, 1)
    assert all(image.shape[0] == 2 for image in drawn.grafts)
    # Between two negatives there is nothing to lend: both sit at the origin.
    np.testing.assert_allclose(drawn.swap[:2], drawn.reconstruction[:2], atol=1e-6)
    assert (jnp.abs(drawn.swap[2:] - drawn.reconstruction[2:]).max(axis=(1, 2, 3)) > 1e-3).all()
    # A negative is asked for the median negative's margin, a positive for the lender's own.
    np.testing.assert_allclose(drawn.swap_margin, [-2.0, -2.0, 6.0, 4.0])


def test_a_negative_never_uses_its_class_noise(tiny_config, random_like):
    films = Images(tiny_config, random_like, [-5.0, 0.0, 4.0, 0.0, -5.0, 0.0, 4.0, 0.0])
    noise = films.noise._replace(noise_severity=-films.noise.noise_severity)
    moved = films.draw(noise).reconstruction - films.drawn.reconstruction
    moved = jnp.abs(moved).max(axis=(1, 2, 3))
    assert (moved[0::2] == 0).all() and (moved[1::2] > 1e-3).all()


def test_samples_ask_for_the_margin_of_their_share(tiny_config, random_like):
    films = Images(tiny_config, random_like, [-5.0, 0.0, 4.0, 0.0, 6.0, 0.0, -1.0, 0.0])
    # Of each pair the second lends its class latent; the last is a negative and has none.
    for second, expected in ((0.2, -2.0), (0.5, 0.0), (1.0, 4.0)):
        share = jnp.array([0.7, second, 0.3, second])
        drawn = films.draw(films.noise._replace(share=share))
        np.testing.assert_allclose(drawn.sample_margin, [expected, -2.0], atol=1e-6)


def test_a_removal_is_measured_where_the_pair_is_a_negative_and_a_positive(
    tiny_config, random_like
):
    for margins, expected in (
        ([-5.0, 0.0, 4.0, 0.0, 6.0, 0.0, 1.0, 0.0], [1.0, 0.0]),
        ([-5.0, 0.0, -4.0, 0.0, -6.0, 0.0, 1.0, 0.0], [0.0, 1.0]),
    ):
        films = Images(tiny_config, random_like, margins)
        np.testing.assert_array_equal(films.drawn.grafts.has_twin, expected)
        np.testing.assert_array_equal(films.drawn.grafts.twin, films.image[0::4])


def test_a_removal_sees_the_graft_and_draws_without_a_class_latent(tiny_config, random_like):
    films = Images(tiny_config, random_like, [-5.0, 0.0, 4.0, 0.0, -6.0, 0.0, 1.0, 0.0])
    # A stronger graft is another film to the encoder...
    share = films.noise.share.at[0].set(1 - films.noise.share[0])
    removal = films.drawn.grafts.removal
    moved = films.draw(films.noise._replace(share=share)).grafts.removal - removal
    moved = jnp.abs(moved).max(axis=(1, 2, 3))
    assert moved[0] > 1e-4 and moved[1] == 0
    # ... but the negative film's own class noise is of no account to what lies beneath.
    noise = films.noise.noise_severity.at[0].multiply(-1.0)
    again = films.draw(films.noise._replace(noise_severity=noise)).grafts.removal
    np.testing.assert_array_equal(again, removal)


def test_a_finding_is_what_the_graft_s_own_class_latent_draws(tiny_config, random_like):
    films = Images(tiny_config, random_like, [-5.0, 0.0, 4.0, 0.0, -6.0, 0.0, 1.0, 0.0])
    drawn, film = films.drawn, films.image[0::4]
    change = (drawn.swap - drawn.reconstruction)[0::2]
    grafted = gan_objective.graft(film, change, films.noise.share[0::2])
    np.testing.assert_allclose(drawn.grafts.carried, grafted - film, atol=1e-6)
    structure, (direction, _) = films.encode(grafted)
    bare = gan_objective.sample_latent(structure, films.noise.sample_structure[0::2])
    rho = (3.0 + 2.0) / 8.0  # of the margin 3 on a scale from -2 to 6
    full = films.generate(bare, rho * direction)
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
def test_a_finding_is_measured_where_f_sees_one(
    tiny_config, random_like, margins, graft_margin, expected
):
    films = Images(tiny_config, random_like, margins)
    grafts = films._draw(films.noise, graft_margin).grafts
    np.testing.assert_array_equal(grafts.has_change, expected)
    if graft_margin <= 0:  # it has no class latent, hence draws no finding
        np.testing.assert_allclose(grafts.change, 0, atol=1e-6)


def test_a_silence_is_what_a_negative_draws_at_the_full_radius(tiny_config, random_like):
    films = Images(tiny_config, random_like, [-5.0, 0.0, 4.0, 0.0, 6.0, 0.0, 1.0, 0.0])
    _, (direction, _) = films.encode(films.image[0::4])
    own = films.drawn.z_structure[0::2]
    expected = films.generate(own, direction) - films.generate(own, 0 * direction)
    np.testing.assert_allclose(films.drawn.silence[0], expected[0], atol=1e-5)
    assert float(jnp.abs(expected[0]).max()) > 1e-3
    np.testing.assert_array_equal(films.drawn.is_negative, [1.0, 0.0])


def test_who_learns_from_silences_and_findings(tiny_config, random_like):
    films = Images(tiny_config, random_like, [-5.0, 0.0, 4.0, 0.0, -6.0, 0.0, 1.0, 0.0])

    def changes(params) -> tuple[jax.Array, ...]:
        drawn = films._draw(films.noise, params=params)
        return drawn.silence, drawn.grafts.change, drawn.grafts.carried

    for number, (generator, encoder) in enumerate([(True, True), (True, True), (False, False)]):
        total = lambda params, number=number: jnp.abs(changes(params)[number]).sum()
        slope = jax.jit(jax.grad(total))(films.params)
        largest = {
            name: max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(slope[name]))
            for name in ("generator", "encoder")
        }
        assert (largest["generator"] > 1e-3, largest["encoder"] > 1e-3) == (generator, encoder)


class Brightness:
    """A classifier that calls bright films positive, and shows no features."""

    def apply(self, variables, image):
        del variables
        return 20 * image.mean(axis=(1, 2, 3)), {}


@pytest.mark.parametrize("by_label", [False, True])
def test_the_loss_has_what_findings_and_silences_leave(tiny_config, random_like, by_label):
    films = Images(tiny_config, random_like, [0.0] * 8)
    # Of the second pair both are positive: there is no finding to measure, and no silence.
    brightness = jnp.array([-0.01, 0.0, 0.3, 0.0, 0.2, 0.0, 0.1, 0.0])[:, None, None, None]
    centred = films.image - films.image.mean(axis=(1, 2, 3), keepdims=True)
    image = jnp.clip(0.2 * centred + brightness, -1, 1)
    # By label every graft is a strong positive, whatever the classifier says of it.
    label = (brightness[:, 0, 0, 0] > 0).astype(jnp.int32) if by_label else None
    strong = lambda grafted: jnp.full(len(grafted), SCALE.strong)
    said = lambda image: Brightness().apply({}, image)[0]
    margin = said(image) if label is None else jnp.where(label, SCALE.strong, SCALE.negative)
    frozen = random_like(lambda: init_gan_params(films.networks, 0))[1], {}, SCALE

    @jax.jit
    def draw_and_score(image):
        drawn = gan_objective.draw_images(
            *(films.networks, films.params, image, margin, SCALE, films.noise),
            strong if by_label else said,
        )
        _, (terms, *_) = gan_objective.generator_loss(
            films.networks._replace(classifier=Brightness()),
            gan_objective.Weights(**tiny_config.gan.weights),
            *(films.params, frozen, image, films.noise, label),
        )
        return drawn, terms

    drawn, terms = draw_and_score(image)
    finding = np.abs(drawn.grafts.change - drawn.grafts.carried).mean(axis=(1, 2, 3))
    silence = np.abs(drawn.silence).mean(axis=(1, 2, 3))
    assert (finding > 1e-4).all() and (silence > 1e-4).all()
    np.testing.assert_allclose(terms["finding"], finding[0] / 2, rtol=1e-4)
    np.testing.assert_allclose(terms["silence"], silence[0] / 2, rtol=1e-4)


def test_a_graft_carries_the_change_by_its_share(key):
    image = 0.1 * jax.random.normal(key, (3, 4, 4, 1))
    change = jnp.full_like(image, 0.1)
    share = jnp.array([0.0, 0.5, 1.0])
    grafted = gan_objective.graft(image, change, share)
    for row, gain in enumerate((0.5, 1.5, 2.5)):
        np.testing.assert_allclose(grafted[row], image[row] + 0.1 * gain, atol=1e-6)
    assert float(gan_objective.graft(image, 100 * change, share).max()) == 1.0
