"""The one place that knows about devices: pmapped steps, replicated state, sharded batches.

A state is never stacked: it enters and leaves `jax.pmap` with axis `None` and lives, replicated, on
a mesh of the local devices. pmap does not check that an output is the same everywhere, so whatever
a step returns must have gone through `mean`; `is_synced` is the test for it.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cxr_jax.types import Index, Params
from datasets.errors import InputError

AXIS = "devices"
Devices = Sequence[jax.Device]


def num_devices() -> int:
    """Of all processes."""
    return jax.device_count()


def _placed(tree: Params, spec: PartitionSpec) -> Params:
    mesh = Mesh(np.array(jax.local_devices()), (AXIS,))
    return jax.device_put(tree, NamedSharding(mesh, spec))


def replicate(tree: Params) -> Params:
    """Puts the same copy of `tree` on every local device."""
    return _placed(tree, PartitionSpec())


def shard(batch: Params) -> Params:
    """Splits the leading axes over the local devices: [b, ...] -> [devices, b/devices, ...].

    Raises:
      InputError: if the batch does not divide evenly.
    """
    devices = jax.local_device_count()

    def split(array: np.ndarray) -> np.ndarray:
        if array.shape[0] % devices:
            raise InputError(
                f"a batch of {array.shape[0]} images cannot be split over {devices} devices; "
                f"choose a batch size that is a multiple of {devices}"
            )
        return array.reshape(devices, -1, *array.shape[1:])

    return _placed(jax.tree.map(split, batch), PartitionSpec(AXIS))


def pmap_step(step: Callable, num_frozen: int = 0, devices: Devices | None = None) -> Callable:
    """Maps `step(state, batch, *frozen) -> (state, metrics)` over the devices.

    The state is donated. `frozen` arguments (a trained classifier, say) are left untouched.

    Args:
      devices: to map over instead of all that there are, such as those of a machine that is only
        compiled for.
    """
    in_axes = (None, 0, *(None,) * num_frozen)
    return jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=in_axes,
        out_axes=None,
        donate_argnums=0,
        devices=devices,
    )


def mean(tree: Params) -> Params:
    """Averages over all devices, inside a mapped step."""
    return jax.lax.pmean(tree, AXIS)


def total(tree: Params) -> Params:
    """Sums over all devices, inside a mapped step."""
    return jax.lax.psum(tree, AXIS)


def example_keys(seed: int, step: jax.Array, index: Index) -> jax.Array:
    """One random key for each example, folded from (seed, step, position in the global batch).

    The device plays no part, so 1, 4 and 8 devices draw the same numbers and a resumed run repeats
    the undisturbed one.
    """
    step_key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.vmap(lambda i: jax.random.fold_in(step_key, i))(index)


def in_batches(fn: Callable, num_frozen: int, batch_size: int) -> Callable:
    """Maps `fn(*frozen, batch)`, an example-by-example function, over devices and over batches.

    Args:
      fn: from `num_frozen` pytrees and a batch [b, ...] to a pytree of arrays [b, ...].
      num_frozen: leading arguments, the same for every example.
      batch_size: rows in one call, rounded up to a multiple of the devices; the last is padded.

    Returns:
      A function (*frozen, arrays) of NumPy arrays with N rows each, to NumPy arrays with N rows.
    """
    devices = jax.local_device_count()
    size = -(-batch_size // devices) * devices
    mapped = jax.pmap(fn, axis_name=AXIS, in_axes=(*(None,) * num_frozen, 0))

    def call(*arguments: Params) -> Params:
        frozen, arrays = replicate(arguments[:-1]), arguments[-1]
        rows = len(jax.tree.leaves(arrays)[0])
        results = []
        for start in range(0, rows, size):
            picked = np.minimum(np.arange(start, start + size), rows - 1)
            result = mapped(*frozen, shard(jax.tree.map(lambda array, i=picked: array[i], arrays)))
            results.append(jax.tree.map(_join_devices, result))
        return jax.tree.map(lambda *parts: np.concatenate(parts)[:rows], *results)

    return call


def _join_devices(array: jax.Array) -> np.ndarray:
    devices, rows, *rest = array.shape
    return np.asarray(array).reshape(devices * rows, *rest)


def _bytes(array: jax.Array) -> bytes:
    return np.asarray(array).tobytes()


def is_synced(tree: Params) -> bool:
    """Whether every device holds the same copy of every array, compared bit by bit."""
    return all(
        _bytes(leaf.addressable_data(0)) == _bytes(shard.data)
        for leaf in jax.tree.leaves(tree)
        for shard in leaf.addressable_shards
    )
