"""Devices: how batches are split, keys drawn, results joined, and copies compared."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.errors import InputError
from cxr_jax.runtime import parallel

DEVICES = 4


def test_the_suite_runs_on_four_devices():
    assert jax.local_device_count() == DEVICES


def test_shard_gives_each_device_its_rows():
    batch = {"a": np.arange(8), "b": np.arange(16.0).reshape(8, 2)}
    sharded = parallel.shard(batch)
    assert sharded["a"].shape == (DEVICES, 2) and sharded["b"].shape == (DEVICES, 2, 2)
    for i, part in enumerate(sharded["a"].addressable_shards):
        np.testing.assert_array_equal(part.data, [[2 * i, 2 * i + 1]])
    assert len({part.device for part in sharded["a"].addressable_shards}) == DEVICES


def test_shard_says_what_does_not_divide():
    with pytest.raises(InputError, match=r"batch of 6 .* 4 devices.* multiple of 4"):
        parallel.shard(np.zeros((6, 2)))


def test_arrays_of_a_mesh_come_to_one_device():
    tree = {"mesh": parallel.replicate(np.arange(3.0)), "host": np.ones(2), "note": "text"}
    brought = parallel.off_mesh(tree)
    assert len(tree["mesh"].devices()) == DEVICES and len(brought["mesh"].devices()) == 1
    np.testing.assert_array_equal(brought["mesh"], [0, 1, 2])
    assert brought["host"] is tree["host"] and brought["note"] is tree["note"]
    assert parallel.off_mesh(brought) is brought


def test_a_mapped_step_averages_over_the_whole_batch():
    def step(state, batch, offset):
        return state + parallel.mean(batch.mean() + offset), parallel.mean(batch.sum())

    mapped = parallel.pmap_step(step)
    state = parallel.replicate(jnp.float32(1.0))
    batch = parallel.shard(np.arange(8, dtype=np.float32))
    state, total = mapped(state, batch, parallel.replicate(jnp.float32(10.0)))
    assert float(state) == 1 + 3.5 + 10
    assert float(total) == 28 / DEVICES
    assert parallel.is_synced(state)


def test_keys_depend_on_seed_step_and_position_but_not_on_devices():
    index = np.arange(8, dtype=np.int32)

    def data_of(seed, step, index):
        return jax.random.key_data(parallel.example_keys(seed, step, index))

    whole = np.asarray(data_of(0, 5, index))
    split = jax.pmap(lambda i: data_of(0, 5, i))(index.reshape(DEVICES, 2))
    np.testing.assert_array_equal(np.asarray(split).reshape(8, -1), whole)
    every = np.concatenate([whole, data_of(0, 6, index), data_of(1, 5, index)])
    assert len({tuple(row) for row in every}) == 24


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 21])
def test_in_batches_equals_direct_evaluation(rows):
    def fn(scale, batch):
        return {"sum": scale * batch["a"].sum(axis=1), "b": batch["b"] ** 2}

    arrays = {"a": np.arange(rows * 3.0).reshape(rows, 3), "b": np.arange(rows)}
    found = parallel.in_batches(fn, batch_size=7)(np.float32(2.0), arrays)
    assert isinstance(found["sum"], np.ndarray)
    np.testing.assert_allclose(found["sum"], 2 * arrays["a"].sum(axis=1))
    np.testing.assert_array_equal(found["b"], arrays["b"] ** 2)


def test_results_without_columns_keep_their_rows():
    call = parallel.in_batches(lambda frozen, batch: (batch[:, :, :0], batch), batch_size=8)
    none, every = call((), np.ones((5, 3, 2)))
    assert none.shape == (5, 3, 0) and every.shape == (5, 3, 2)


def test_in_batches_compiles_once():
    traced = []

    def fn(offset, batch):
        traced.append(batch.shape)
        return batch + offset

    call = parallel.in_batches(fn, batch_size=8)
    for rows in (3, 8, 20):
        found = call(np.int32(1), np.arange(rows))
        np.testing.assert_array_equal(found, np.arange(rows) + 1)
    np.testing.assert_array_equal(call(np.int32(7), np.arange(3)), [7, 8, 9])
    assert traced == [(2,)]


def desynchronised(values) -> jax.Array:
    """An array that claims to be replicated although each device holds its own value."""
    sharding = parallel.replicate(jnp.zeros(2)).sharding
    parts = [
        jax.device_put(np.full(2, value, np.float32), device)
        for value, device in zip(values, jax.local_devices(), strict=True)
    ]
    return jax.make_array_from_single_device_arrays((2,), sharding, parts)


def test_is_synced_compares_every_device():
    good = parallel.replicate({"a": jnp.arange(3.0), "b": jnp.int32(1)})
    assert parallel.is_synced(good)
    assert parallel.is_synced(desynchronised([np.nan] * 4))
    bad = desynchronised([1.0, 1.0, 1.0, 1.0 + 1e-6])
    assert bad.is_fully_replicated
    assert not parallel.is_synced(good | {"c": bad})


def test_a_forgotten_mean_is_detected():
    mapped = parallel.pmap_step(
        lambda state, batch, frozen: (state + batch.sum(), parallel.mean(state))
    )
    state, _ = mapped(parallel.replicate(jnp.float32(0.0)), parallel.shard(np.arange(8.0)), None)
    assert not parallel.is_synced(state)
