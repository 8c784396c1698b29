"""What a command tells JAX before its first program; what the environment says already, stays."""

import hashlib
import logging
import os
import platform
import re
from collections.abc import Callable
from pathlib import Path

import jax

from cxr_jax.cores import count_cores
from cxr_jax.types import Params

logger = logging.getLogger(__name__)

MOST_CPU_DEVICES = 2  # so many were measured to be faster than one; JAX_NUM_CPU_DEVICES sets others
MOST_BYTES = 2 * 2**30  # of kept programs; a run of configs/phantom.py has 60 MB
LEAST_SECONDS = 0.1  # a program that compiles faster is not kept

# Threads that wait for other devices' sums are lost to XLA's pool, which has one for each core.
# Where they are all that there are they wait forever, and after 40 s the process is aborted (jaxlib
# 0.10.2, two devices: within seconds of small steps with 2 or 3 threads, in no minute with 4).
POOL, THREADS_A_DEVICE = "PJRT_NPROC", 4  # read by XLA when it makes its first device

HURRIED = {"xla_backend_optimization_level": 0}
PROGRAM, LAST_USE = "-cache", "-atime"  # how JAX ends the names of the two files of a program


# 1. Devices.


def cpu_devices() -> int:
    """How many devices to make of the processor: of two cores or more, two."""
    return min(count_cores(), MOST_CPU_DEVICES)


def split_processor(num_devices: int) -> None:
    """Makes so many devices of the processor, so that a mapped step keeps its cores busy.

    To be called before anything asks for a device. Where there is an accelerator nothing changes.
    """
    forced = re.search(
        r"--xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", "")
    )
    if not forced and jax.config.jax_num_cpu_devices < 1:
        jax.config.update("jax_num_cpu_devices", num_devices)
    devices = int(forced[1]) if forced else jax.config.jax_num_cpu_devices
    if devices > 1:
        threads = max(int(os.environ.get(POOL, "0")), THREADS_A_DEVICE * devices)
        os.environ[POOL] = str(threads)


# 2. Compiled programs.


def keep_programs() -> None:
    """Keeps compiled programs for later processes, the last used `MOST_BYTES` of them.

    JAX_COMPILATION_CACHE_DIR names another folder, without that bound;
    JAX_ENABLE_COMPILATION_CACHE=false keeps none.
    """
    if jax.config.jax_compilation_cache_dir or not jax.config.jax_enable_compilation_cache:
        return
    folder = programs_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        drop_torn(folder)
    except OSError as error:
        logger.warning("compiled programs are not kept: %s: %s", folder, error.strerror)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", MOST_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)


def programs_folder() -> Path:
    """Where this user keeps what was compiled for processors like this one.

    A home folder may be shared by machines of which one lacks instructions that another has.
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "cxr_jax" / "programs" / _processor()


def _processor() -> str:
    """A short name for the processor's instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        features = platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:8]}"


def drop_torn(folder: Path) -> None:
    """Removes programs that a killed process left without the time of their last use.

    By that time JAX finds the oldest; where one has none it fails, and keeps no program any more.
    """
    for program in folder.glob(f"*{PROGRAM}"):
        used = program.with_name(program.name.removesuffix(PROGRAM) + LAST_USE)
        if not used.exists():
            program.unlink(missing_ok=True)


# 3. Programs that run once.


def run_once(function: Callable[[], Params]) -> Params:
    """`function()` as one program, compiled in a hurry.

    Called as it is, a network's first parameters would be some hundred small programs.
    """
    on_cpu = jax.default_backend() == "cpu"
    return jax.jit(function, compiler_options=HURRIED if on_cpu else None)()
