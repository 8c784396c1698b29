"""The one place that knows about devices and processes: pmapped steps, replicated state, batches.

A state is never stacked: it enters and leaves `jax.pmap` with axis `None` and lives, replicated, on
a mesh of the local devices. pmap does not check that an output is the same everywhere, so whatever
a step returns must have gone through `mean`; `is_synced` is the test for it.

Of several processes each holds the state on its own devices and reads its own rows of a batch. Only
training steps reach over to the others; whatever is computed `in_batches` stays within a process.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cxr_jax import progress
from cxr_jax.errors import InputError
from cxr_jax.types import Count, Index, Keys, Params

AXIS = "devices"
Devices = Sequence[jax.Device]


def initialize(address: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Joins the other processes of a run; to be called before anything asks for a device.

    Args:
      address: host:port of the first process; all three are None where JAX finds them by itself, on
        Cloud TPU and under SLURM.

    Raises:
      InputError: if there is nothing to join.
    """
    try:
        # A process that ends by an error does not wait five minutes for the others to end too.
        jax.distributed.initialize(address, num_processes, process_id, shutdown_timeout_seconds=30)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"--distributed: {str(error).strip().splitlines()[0]} Except on Cloud TPU and under "
            "SLURM, give --coordinator_address, --num_processes and --process_id"
        ) from error


def is_first() -> bool:
    """Whether this is the process that writes what is written once."""
    return jax.process_index() == 0


def wait(name: str) -> None:
    """Until every process has come to the point of this name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def num_devices() -> int:
    """How many devices all processes have together."""
    return jax.device_count()


def check_batch_size(section: str, batch_size: int, share: int = 1) -> None:
    """Raises `InputError` if a device's part of a section's batch is no multiple of `share`."""
    devices = num_devices()
    multiple = share * devices
    if batch_size % multiple:
        raise InputError(
            f"config.{section}.batch_size is {batch_size}; with {devices} devices it must be a "
            f"multiple of {multiple}"
        )


def _placed(tree: Params, spec: PartitionSpec) -> Params:
    mesh = Mesh(np.array(jax.local_devices()), (AXIS,))
    return jax.device_put(tree, NamedSharding(mesh, spec))


def replicate(tree: Params) -> Params:
    """Puts the same copy of `tree` on every local device."""
    return _placed(tree, PartitionSpec())


def off_mesh(tree: Params) -> Params:
    """The same with its arrays that lie on a mesh brought to one device; others stay as they are.

    A mapped step can close over an array of one device, but not over one of another mesh.
    """
    meshed = lambda leaf: isinstance(leaf, jax.Array) and isinstance(leaf.sharding, NamedSharding)
    if not any(map(meshed, jax.tree.leaves(tree))):
        return tree
    device = jax.local_devices()[0]
    return jax.tree.map(lambda leaf: jax.device_put(leaf, device) if meshed(leaf) else leaf, tree)


def _held_by(tree: Params, devices: Devices) -> Params:
    """The same copies as an array that lies, replicated, on `devices`; nothing is moved."""
    sharding = NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec())

    def regard(array: jax.Array) -> jax.Array:
        copies = [shard.data for shard in array.addressable_shards]
        return jax.make_array_from_single_device_arrays(copies[0].shape, sharding, copies)

    return jax.tree.map(regard, tree)


def to_global(tree: Params) -> Params:
    """Replicated arrays of each process as arrays of all, which is how Orbax saves them jointly."""
    return _held_by(tree, jax.devices()) if jax.process_count() > 1 else tree


def to_local(tree: Params) -> Params:
    """The inverse of `to_global`."""
    return _held_by(tree, jax.local_devices()) if jax.process_count() > 1 else tree


def shard(batch: Params) -> Params:
    """Splits this process's rows over its devices: [b, ...] -> [devices, b/devices, ...].

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


def pmap_step(step: Callable, devices: Devices | None = None) -> Callable:
    """Maps `step(state, batch, frozen) -> (state, metrics)` over the devices.

    The state is donated. `frozen`, a pytree (of a trained classifier, say), is left untouched.

    Args:
      devices: to map over instead of all that there are, such as those of a machine that is only
        compiled for.
    """
    return jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, 0, None),
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


def example_keys(seed: Count, step: Count, index: Index) -> Keys:
    """One random key for each example, folded from (seed, step, position in the global batch).

    The device plays no part, so 1, 4 and 8 devices draw the same numbers and a resumed run repeats
    the undisturbed one.
    """
    step_key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.vmap(lambda i: jax.random.fold_in(step_key, i))(index)


def pmap_rows(fn: Callable, devices: Devices) -> Callable:
    """Maps `fn(frozen, batch)`, an example-by-example function, over these devices."""
    return jax.pmap(fn, axis_name=AXIS, in_axes=(None, 0), devices=devices)


def in_batches(fn: Callable, batch_size: int, what: str = "") -> Callable:
    """Maps `fn(frozen, batch)`, an example-by-example function, over devices and over batches.

    Over the devices of this process alone: of several processes each computes everything.

    Args:
      fn: from a pytree that is the same for every example, such as a Model, and a batch [b, ...]
        to a pytree of arrays [b, ...].
      batch_size: rows in one call, rounded up to a multiple of the devices; the last is padded.
      what: is done, for a line about how far it is; "" for none.

    Returns:
      A function (frozen, arrays) of NumPy arrays with N rows each, to NumPy arrays with N rows.
    """
    devices = jax.local_device_count()
    size = -(-batch_size // devices) * devices
    mapped = pmap_rows(fn, jax.local_devices())

    def call(frozen: Params, arrays: Params) -> Params:
        frozen = replicate(frozen)
        rows = len(jax.tree.leaves(arrays)[0])
        results = []
        for start in progress.told(what if is_first() else "", rows, size):
            picked = np.minimum(np.arange(start, start + size), rows - 1)
            result = mapped(frozen, shard(jax.tree.map(lambda array, i=picked: array[i], arrays)))
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
