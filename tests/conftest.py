"""Several devices on any machine, no silent broadcasting, and each program compiled only once."""

import gc
import importlib.metadata
import os
from collections.abc import Callable

# Phantoms are drawn by products of small matrices, over which OpenBLAS's threads take turns at
# waiting. Read when NumPy is imported: by xdist's workers, and processes that a test starts.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Where devices are more than cores, the threads that wait for the other devices' sums can be all
# that there are, and then wait forever (seen with jaxlib 0.10.2, once in some hundred steps). Read
# by XLA when it makes its first device.
os.environ.setdefault("PJRT_NPROC", "32")

# `make test` tells the compiler to hurry. XLA's newer code generator takes twice as long as its
# older one. Read when the first program is compiled, here or by a process that a test starts.
# A flag that a version does not know ends the process: these are 0.10's.
if os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") == "1" and importlib.metadata.version(
    "jaxlib"
).startswith("0.10."):
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "")
        + " --xla_cpu_use_fusion_emitters=false"
        + " --xla_cpu_multi_thread_eigen=false"
        + " --xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_COMPILE"
        + " --xla_cpu_enable_concurrency_optimized_scheduler=false"
    )

import typechecks  # noqa: F401  # before anything that imports the package

# isort: split
import builders
import jax
import jax.numpy as jnp
import numpy as np
import programs
import pytest
from ml_collections import ConfigDict

# What has been imported stays. To look through it for garbage whenever many arrays and traces have
# been made took a sixteenth of the suite's time, and a seventh of a long process's.
gc.freeze()
gc.set_threshold(100_000, 20, 20)

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", int(os.environ.get("TEST_DEVICES", "4")))
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """Programs that several tests build anew (a run and its resumption) share one executable."""
    root = tmp_path_factory.getbasetemp()
    # Under xdist each worker has its own folder inside the session's.
    directory = (root.parent if root.name.startswith("popen-") else root) / "programs"
    directory.mkdir(exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)


@pytest.fixture(scope="module", autouse=True)
def few_programs():
    """A file's programs are forgotten if they are many."""
    yield
    programs.forget_if_many()


@pytest.fixture(scope="module")
def optimised():
    """Compiled as in use, whatever `make test` tells the compiler: where roundings are compared."""
    hurried = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", hurried)


@pytest.fixture(scope="session")
def random_like() -> Callable:
    """Parameters shaped like `init()`'s without compiling it, none of them at zero."""

    def draw(init):
        rng = np.random.default_rng(0)

        def one(path, leaf):
            centre = 1.0 if path[-1].key == "gain" else 0.0
            spread = 0.1 if leaf.ndim == 1 else 1 / np.sqrt(np.prod(leaf.shape[:-1]))
            return jnp.asarray(centre + spread * rng.normal(size=leaf.shape), jnp.float32)

        return jax.tree_util.tree_map_with_path(one, jax.eval_shape(init))

    return draw


@pytest.fixture(scope="session")
def random_params(random_like) -> Callable:
    """The same for one network that is called with `inputs`."""
    return lambda network, *inputs: random_like(
        lambda: network.init(jax.random.key(0), *inputs)["params"]
    )


@pytest.fixture
def tiny_config() -> ConfigDict:
    """See `builders.make_tiny_config`."""
    return builders.make_tiny_config()


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)
