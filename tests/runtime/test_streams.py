"""Random streams: no purpose draws the numbers of another, nor those that a caller draws."""

import itertools

import jax
import numpy as np
import pytest

from cxr_jax.runtime.streams import Stream, fold_keys

ROWS = 50
# A step splits an example's key into a few; a convolution's worth of layers folds in as many.
SMALL = 1 << 16


@pytest.fixture
def keys(key) -> jax.Array:
    return jax.random.split(key, ROWS)


def numbers(keys: jax.Array) -> set[tuple[int, ...]]:
    """What the keys are made of."""
    return {tuple(row) for row in np.asarray(jax.random.key_data(keys)).reshape(-1, 2).tolist()}


def test_every_stream_has_a_number_of_its_own():
    """An enum takes a second name of one number for the same member, and says nothing."""
    assert len({*Stream.__members__}) == len({int(stream) for stream in Stream}) == len(Stream)


def test_the_numbers_are_far_from_those_of_a_split():
    for stream in Stream:
        assert SMALL < stream < 2**32
    for one, other in itertools.combinations(Stream, 2):
        assert abs(one - other) > SMALL


@pytest.mark.parametrize(
    ("one", "other"), [*itertools.combinations(Stream, 2)], ids=lambda stream: stream.name
)
def test_two_streams_have_different_keys(one, other, keys):
    assert not numbers(fold_keys(keys, one)) & numbers(fold_keys(keys, other))


@pytest.mark.parametrize("stream", [*Stream], ids=lambda stream: stream.name)
def test_a_stream_has_neither_the_keys_nor_what_they_are_split_into(stream, keys):
    folded = fold_keys(keys, stream)
    assert folded.shape == keys.shape and len(numbers(folded)) == ROWS
    assert not numbers(folded) & numbers(keys)
    for count in (2, 3, 4, 8):
        parts = jax.vmap(lambda key, count=count: jax.random.split(key, count))(keys)
        assert not numbers(folded) & numbers(parts)
        own = jax.vmap(lambda key, count=count: jax.random.split(key, count))(folded)
        assert not numbers(own) & numbers(parts)


def test_why_streams_are_needed():
    """The trap: the first key of a split in three is the first of a split in four."""
    key = jax.random.key(5)
    one, other = (jax.random.key_data(jax.random.split(key, count)[0]) for count in (3, 4))
    np.testing.assert_array_equal(one, other)


def test_a_key_is_folded_by_itself(keys):
    """Whatever else is in the batch: the devices play no part."""
    whole = fold_keys(keys, Stream.VIEW)
    alone = fold_keys(keys[3:4], Stream.VIEW)
    assert numbers(alone) == numbers(whole[3:4])
