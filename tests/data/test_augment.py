"""Augmentation: small, anatomical, and a pure function of the example's key."""

import dataclasses
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from cxr_jax.data.augment import (
    BEAD_RADII,
    OCTAVES,
    Augmentation,
    _by_fetching,
    _by_products,
    augment,
    augment_mask,
    blur,
    draw_support_devices,
    view_keys,
    weigh_octaves,
)
from cxr_jax.runtime.streams import Stream

FIELDS = [field.name for field in dataclasses.fields(Augmentation)]
NONE = Augmentation(**dict.fromkeys(FIELDS, 0.0))
ALL = Augmentation(
    shift=0.1,
    rotation=8.0,
    zoom=0.1,
    brightness=0.3,
    contrast=0.3,
    noise=0.1,
    detail=0.5,
    support_devices=0.5,
)
SIZE = 32

# Each strength is a program of its own.
view, mask_view = (jax.jit(fn, static_argnums=2) for fn in (augment, augment_mask))


def keys_of(count: int) -> jax.Array:
    return jax.random.split(jax.random.key(5), count)


def spot(row: float, column: float) -> jax.Array:
    """A smooth blob on a black image [1, h, w, 1]."""
    rows, columns = jnp.mgrid[:SIZE, :SIZE]
    squared = (rows - row) ** 2 + (columns - column) ** 2
    return 1.5 * jnp.exp(-squared / 8.0)[None, ..., None] - 1


def centres(images: jax.Array) -> np.ndarray:
    """Centre of the brightness above black [n, 2]."""
    mass = np.asarray(images[..., 0], np.float64) + 1
    places = np.mgrid[:SIZE, :SIZE]
    return np.einsum("bhw,chw->bc", mass, places) / mass.sum(axis=(1, 2))[:, None]


def test_a_view_shares_no_number_with_what_else_is_drawn():
    keys = keys_of(500)
    draws = lambda key, count: jax.random.normal(jax.random.split(key, count)[0])
    # The trap: the first key of a split in three is the first of a split in four.
    views, noise = jax.vmap(lambda key: draws(key, 3))(keys), jax.vmap(lambda k: draws(k, 4))(keys)
    np.testing.assert_array_equal(views, noise)
    views = jax.vmap(lambda key: draws(key, 3))(view_keys(keys))
    assert abs(np.corrcoef(views, noise)[0, 1]) < 0.15


def test_zero_strength_is_the_identity(key):
    image = jax.random.uniform(key, (3, SIZE, SIZE, 1), minval=-1)
    np.testing.assert_array_equal(view(image, keys_of(3), NONE), image)


def test_a_shift_moves_everything_by_up_to_its_strength():
    n, strength = 64, 0.125  # of 32 pixels: 4
    images = jnp.repeat(spot(15.0, 17.0), n, axis=0)
    moved = centres(view(images, keys_of(n), dataclasses.replace(NONE, shift=strength))) - [
        15.0,
        17.0,
    ]
    assert np.abs(moved).max() < strength * SIZE + 0.1
    assert (moved.min(axis=0) < -3).all() and (moved.max(axis=0) > 3).all()
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.4  # rows and columns move on their own


def test_a_shift_keeps_the_spot_s_shape():
    image = spot(15.0, 17.0)
    moved = view(image, keys_of(1), dataclasses.replace(NONE, shift=0.125))
    row, column = centres(moved)[0]
    np.testing.assert_allclose(moved, spot(row, column), atol=0.08)


def test_rotation_and_zoom_turn_about_the_centre():
    n, centre = 64, (SIZE - 1) / 2
    images = jnp.repeat(spot(centre, centre + 8), n, axis=0)
    for strength in (dataclasses.replace(NONE, rotation=10.0), dataclasses.replace(NONE, zoom=0.2)):
        arm = centres(view(images, keys_of(n), strength)) - centre
        angle = np.degrees(np.arctan2(arm[:, 0], arm[:, 1]))
        length = np.hypot(*arm.T) / 8
        if strength.rotation:
            assert np.abs(angle).max() < 10.5 and angle.min() < -7 and angle.max() > 7
            np.testing.assert_allclose(length, 1, atol=0.02)
        else:
            assert 0.8 < length.min() < 0.9 and 1.1 < length.max() < 1.3
            np.testing.assert_allclose(angle, 0, atol=1)


def test_never_mirrored_nor_upside_down():
    # A spot in one quarter stays in it: the heart keeps its side.
    images = jnp.repeat(spot(8.0, 23.0), 128, axis=0)
    rows, columns = centres(
        view(
            images,
            keys_of(128),
            dataclasses.replace(ALL, noise=0.0, detail=0.0, support_devices=0.0),
        )
    ).T
    assert (rows < SIZE / 2).all() and (columns > SIZE / 2).all()


def test_tone_leaves_the_anatomy_where_it_is(key):
    image = jax.random.uniform(key, (1, SIZE, SIZE, 1), minval=-0.4, maxval=0.4)
    images = jnp.repeat(image, 64, axis=0)
    tone = dataclasses.replace(NONE, brightness=0.2, contrast=0.3)
    views = np.asarray(view(images, keys_of(64), tone)).reshape(64, -1)
    gain, offset = np.polyfit(np.asarray(image).ravel(), views.T, 1)
    np.testing.assert_allclose(
        views, gain[:, None] * np.asarray(image).reshape(1, -1) + offset[:, None], atol=1e-5
    )
    assert 0.7 <= gain.min() < 0.8 and 1.2 < gain.max() <= 1.3
    brightness = views.mean(axis=1) - float(image.mean())
    assert -0.2 <= brightness.min() < -0.15 and 0.15 < brightness.max() <= 0.2


def test_views_stay_in_range_and_keep_the_shape(key):
    image = jax.random.uniform(key, (16, SIZE, SIZE, 1), minval=-1)
    views = view(image, keys_of(16), dataclasses.replace(ALL, brightness=1.0, noise=1.0))
    assert views.shape == image.shape and views.dtype == image.dtype
    assert float(jnp.abs(views).max()) <= 1.0


def test_the_key_alone_decides_the_view(key):
    image = jax.random.uniform(key, (1, SIZE, SIZE, 1), minval=-1)
    images, keys = jnp.repeat(image, 4, axis=0), keys_of(4)
    views = view(images, keys, ALL)
    # Alone or in a batch, the same key gives the same view; another key another one.
    for i in range(4):
        # Sums of octaves are rounded otherwise in a batch.
        np.testing.assert_allclose(view(image, keys[i : i + 1], ALL)[0], views[i], atol=1e-5)
    assert float(jnp.abs(views[0] - views[1]).mean()) > 0.02


def test_a_mask_moves_with_its_film_and_has_no_tone():
    n, keys = 16, keys_of(16)
    film = jnp.repeat(spot(12.0, 20.0), n, axis=0)
    posed = view(
        film,
        keys,
        dataclasses.replace(
            ALL, brightness=0.0, contrast=0.0, noise=0.0, detail=0.0, support_devices=0.0
        ),
    )
    mask = mask_view(film > 0, keys, ALL)
    assert mask.dtype == bool and mask.shape == film.shape
    assert float((mask == (posed > 0)).mean()) > 0.99
    assert float((mask == (film > 0)).all(axis=(1, 2, 3)).mean()) < 0.5
    np.testing.assert_array_equal(mask_view(film > 0, keys, NONE), film > 0)
    brightened = dataclasses.replace(
        NONE, brightness=2.0, detail=2.0, support_devices=2.0
    )  # enough to light up what is dark
    np.testing.assert_array_equal(mask_view(film > 0, keys, brightened), film > 0)


def test_support_devices_only_brighten_and_by_no_more_than_their_strength(key):
    image = jax.random.uniform(key, (64, SIZE, SIZE, 1), minval=-0.9, maxval=-0.5)
    added = np.asarray(
        view(image, keys_of(64), dataclasses.replace(NONE, support_devices=0.4)) - image
    )
    assert -1e-6 < added.min() and 0.3 < added.max() < 0.4 + 1e-6
    assert 0.005 < (added > 0.05).mean() < 0.2  # few pixels: what lies beneath is still seen


def test_support_devices_leave_the_rest_of_the_view_as_it_was(key):
    image = jax.random.uniform(key, (32, SIZE, SIZE, 1), minval=-0.5, maxval=-0.1)
    bare = dataclasses.replace(
        ALL, contrast=0.0, detail=0.0, support_devices=0.0
    )  # contrast is about the film's own mean
    added = view(image, keys_of(32), dataclasses.replace(bare, support_devices=0.3)) - view(
        image, keys_of(32), bare
    )
    assert float(added.min()) > -1e-5 and float(added.max()) > 0.2


def test_a_support_device_is_the_same_at_every_size():
    keys = jax.random.split(jax.random.key(2), 20)
    small, large = (jax.vmap(partial(draw_support_devices, size=size))(keys) for size in (64, 128))
    shrunk = large.reshape(20, 64, 2, 64, 2).mean(axis=(2, 4))
    for a, b in zip(small, shrunk, strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.9


def test_support_devices_are_drawn_from_keys_of_their_own():
    """With the pose's own numbers a wire would say where the film was moved."""
    keys = keys_of(8)
    image = jnp.zeros((8, SIZE, SIZE, 1))
    own = jax.vmap(
        lambda key: draw_support_devices(jax.random.fold_in(key, Stream.SUPPORT_DEVICES), SIZE)
    )(keys)
    added = view(image, keys, dataclasses.replace(NONE, support_devices=0.5))[..., 0]
    np.testing.assert_allclose(added, 0.5 * own, atol=1e-6)


def test_a_bead_is_as_large_as_a_nodule():
    """At half its height, of what an opening by a disc that no line contains leaves."""
    size, most = 128, 128 * BEAD_RADII[1]
    drawn = np.asarray(jax.vmap(partial(draw_support_devices, size=size))(keys_of(60)))
    disc = np.hypot(*np.mgrid[-2:3, -2:3]) <= 2
    beads = [ndimage.label(ndimage.binary_opening(image > 0.5, disc)) for image in drawn]
    areas = np.concatenate([np.bincount(each.ravel())[1:] for each, _ in beads])
    largest = 2 * np.log(2) * np.pi * most**2  # of one as bright as may be
    assert 0.5 * largest < np.sort(areas)[-3] and areas.max() < 2 * largest  # two may meet


def test_a_third_of_lines_and_beads_is_absent():
    drawn = jax.vmap(lambda key: draw_support_devices(key, SIZE))(keys_of(1000))
    nothing = np.asarray(drawn.max(axis=(1, 2)) == 0).mean()  # two lines and two beads
    assert abs(nothing - (1 / 3) ** 4) < 0.012


@pytest.mark.parametrize("field", FIELDS)
def test_every_strength_does_something(field, key):
    image = 0.9 * jax.random.uniform(key, (1, SIZE, SIZE, 1), minval=-1)
    strength = dataclasses.replace(NONE, **{field: 10.0 if field == "rotation" else 0.2})
    assert float(jnp.abs(view(image, keys_of(1), strength) - image).max()) > 0.01


def test_what_a_tpu_computes_by_products_is_the_same(key):
    plane, *places = jax.random.uniform(key, (3, 12, 9))
    rows, cols = (24 * place - 6 for place in places)  # some of them outside
    fetched = _by_fetching(plane, rows, cols)
    np.testing.assert_allclose(_by_products(plane, rows, cols), fetched, atol=1e-5)
    whole = jnp.mgrid[:12, :9].astype(jnp.float32)
    np.testing.assert_allclose(_by_products(plane, *whole), plane, atol=1e-6)


def test_octaves_are_parted_as_by_the_librarys_gaussian(key):
    image = jax.random.normal(key, (48, 64, 1))
    ours = np.asarray(blur(image, 2.0))[..., 0]
    theirs = ndimage.gaussian_filter(np.asarray(image)[..., 0], 2.0, truncate=8)
    np.testing.assert_allclose(ours[12:-12, 12:-12], theirs[12:-12, 12:-12], atol=1e-5)
    np.testing.assert_allclose(blur(jnp.full((48, 64, 1), 0.3), 8.0), 0.3, rtol=1e-5)


def test_each_octave_has_a_factor_of_its_own_and_the_mean_stays(key):
    image = jax.random.uniform(key, (SIZE, SIZE, 1), minval=-0.3, maxval=0.5)
    coarser = [image, *(blur(image, share * SIZE) for share in OCTAVES)]
    coarser.append(jnp.full_like(image, image.mean()))
    octaves = np.array([(one - other).ravel() for one, other in itertools.pairwise(coarser)])
    weighed = jax.vmap(lambda each: weigh_octaves(image, each, 1.5))(keys_of(200))
    rest = np.asarray(weighed - image.mean()).reshape(200, -1)
    factors, misfit, rank, _ = np.linalg.lstsq(octaves.T, rest.T, rcond=None)
    assert rank == 5 and misfit.max() < 1e-6
    logarithms = np.log(factors)
    assert -1.51 < logarithms.min() < -1.45 and 1.45 < logarithms.max() < 1.51
    others = np.corrcoef(logarithms)[~np.eye(5, dtype=bool)]
    assert np.abs(others).max() < 0.3  # of 200 draws


def test_detail_leaves_the_rest_of_the_view_as_it_was(key):
    image = jax.random.uniform(key, (4, SIZE, SIZE, 1), minval=-0.2, maxval=0.2)
    bare = dataclasses.replace(NONE, shift=0.1, brightness=0.3)
    hardly = dataclasses.replace(bare, detail=1e-7)
    np.testing.assert_allclose(
        view(image, keys_of(4), hardly), view(image, keys_of(4), bare), atol=1e-5
    )
