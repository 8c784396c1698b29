"""One process of a training in 64 bits: FOLDER ADDRESS COUNT NUMBER STEPS; see test_processes.py.

FOLDER holds config.json and gets the run and, at its end, final.npz. The process dies when the GAN
asks for its batch after STEPS, as a machine does that is taken away.
"""

import itertools
import os
import signal
import sys
from pathlib import Path

import jax
import ml_collections
import numpy as np

from cxr_jax.data import arrays
from cxr_jax.networks import build, restore
from cxr_jax.networks.build import make_gan_networks
from cxr_jax.runtime import parallel
from cxr_jax.runtime.workdir import read_json
from cxr_jax.training import classifier, encoder, gan
from tests.training.tasks import SPLITS


def mortal(steps: int):
    """`arrays.train_batches`, at whose end the process is dead."""

    def batches(*arguments, **keywords):
        yield from itertools.islice(arrays.train_batches(*arguments, **keywords), steps)
        os.kill(os.getpid(), signal.SIGKILL)

    return batches


def in_64_bits(init_params):
    """The same parameters, widened; also where they are only traced, for their shapes."""

    def widen(leaf):
        return leaf.astype(np.float64) if leaf.dtype == np.float32 else leaf

    return lambda *arguments, **keywords: jax.tree.map(widen, init_params(*arguments, **keywords))


def main(folder: Path, address: str, *numbers: int) -> None:
    count, number, steps = numbers
    if count > 1:
        parallel.initialize(address, count, number)
    assert jax.device_count() == 4 and jax.process_count() == count
    config = ml_collections.ConfigDict(read_json(folder / "config.json"))
    build.init_params = in_64_bits(build.init_params)
    restore.init_params = in_64_bits(restore.init_params)
    for module in (gan, restore):
        module.init_gan_params = in_64_bits(module.init_gan_params)
    gan.train_batches = mortal(steps)
    for task in (classifier, gan, encoder):
        task.run(config, folder, SPLITS)
        parallel.wait(task.__name__)
    networks = make_gan_networks(config)
    trained = restore.load_gan(networks, folder), restore.load_encoder(networks, folder).params
    assert parallel.is_synced(trained)
    if parallel.is_first():
        leaves = jax.tree.leaves(trained)
        np.savez(folder / "final.npz", *[np.asarray(leaf) for leaf in leaves])


if __name__ == "__main__":
    folder, address, *numbers = sys.argv[1:]
    main(Path(folder), address, *map(int, numbers))
