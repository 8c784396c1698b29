"""Four devices on any machine, no silent broadcasting, and each program compiled only once."""

import jax
import pytest

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """Programs that several tests build anew (a run and its resumption, say) share one executable."""
    root = tmp_path_factory.getbasetemp()
    # Under xdist each worker has its own folder inside the session's.
    directory = (root.parent if root.name.startswith("popen-") else root) / "programs"
    directory.mkdir(exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)
