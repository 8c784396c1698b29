"""What a command tells JAX before its first program, seen from processes of its own."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.runtime import startup

KEEP = """
import jax, jax.numpy as jnp
from cxr_jax.runtime import startup
startup.LEAST_SECONDS = 0.0
startup.keep_programs()
jax.monitoring.register_event_listener(lambda name, **_: print(name))
jax.jit(lambda x: jnp.cumsum(x) @ x + {added})(jnp.ones(8))
"""
SPLIT = """
import os
import jax
from cxr_jax.runtime import startup
startup.split_processor(2)
print(jax.device_count(), len(os.listdir("/proc/self/task")))
"""
FOUND = "/jax/compilation_cache/cache_hits"


def process(code: str, **environment: str) -> str:
    """What a process says that inherits nothing of what these tests tell JAX."""
    inherited = {name: value for name, value in os.environ.items() if "JAX" not in name}
    for name in ("XLA_FLAGS", startup.POOL):
        inherited.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_program_is_found_by_the_next_process(tmp_path):
    home = {"XDG_CACHE_HOME": str(tmp_path)}
    assert FOUND not in process(KEEP.format(added=1), **home)
    assert FOUND in process(KEEP.format(added=1), **home)
    # A process that is killed while it writes leaves the one file without the other.
    (used,) = tmp_path.rglob(f"jit__lambda*{startup.LAST_USE}")
    used.unlink()
    process(KEEP.format(added=2), **home)
    assert FOUND in process(KEEP.format(added=2), **home)
    programs = {path.name.removesuffix(startup.PROGRAM) for path in tmp_path.rglob("*-cache")}
    times = {path.name.removesuffix(startup.LAST_USE) for path in tmp_path.rglob("*-atime")}
    assert programs == times


@pytest.mark.parametrize(
    "environment",
    [{"JAX_COMPILATION_CACHE_DIR": "{}/elsewhere"}, {"JAX_ENABLE_COMPILATION_CACHE": "false"}],
)
def test_what_the_environment_says_stays(tmp_path, environment):
    said = {name: value.format(tmp_path) for name, value in environment.items()}
    process(KEEP.format(added=1), XDG_CACHE_HOME=str(tmp_path / "home"), **said)
    assert not (tmp_path / "home").exists()


def test_a_home_that_cannot_be_written_ends_nothing(tmp_path, caplog):
    (tmp_path / "file").touch()
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
            startup.keep_programs()
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    (line,) = caplog.messages
    assert str(tmp_path / "file") in line


@pytest.mark.parametrize(
    "environment, devices",
    [
        ({}, 2),
        ({"JAX_NUM_CPU_DEVICES": "3"}, 3),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}, 3),
    ],
)
def test_the_processor_is_split_unless_the_environment_says_how(environment, devices):
    found, threads = map(int, process(SPLIT, **environment).split())
    assert found == devices
    assert threads > startup.THREADS_A_DEVICE * devices  # XLA's pool, in which some may wait


def test_so_many_devices_as_cores_but_not_more_than_were_measured(monkeypatch):
    for cores, devices in ((1, 1), (2, 2), (64, 2)):
        allowed = set(range(cores))
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, a=allowed: a, raising=False)
        assert startup.cpu_devices() == devices


def test_what_runs_once_is_one_program_with_the_same_values(caplog):
    def draw():
        keys = jax.random.split(jax.random.key(0))
        return {"a": jax.random.normal(keys[0], (3, 5)), "b": jnp.cos(jnp.arange(7.0))}

    with jax.log_compiles(True):
        found = startup.run_once(draw)
    assert sum("Finished XLA compilation" in line for line in caplog.messages) == 1
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, draw())
