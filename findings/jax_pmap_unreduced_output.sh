#!/usr/bin/env bash
# jax.pmap(..., out_axes=None) and an output that differs from device to device.
#
# With out_axes=None a mapped step returns its state unstacked, which is how replicated training
# states are kept today. JAX does not check that the devices agree: where a step forgets the mean
# over devices, the result says is_fully_replicated, float() of it is the first device's value, and
# the devices go on with different values. No warning, no error.
#
# Seen on 2026-11-28 with jax 0.10.2 (Python 3.11) and 0.12.0.1 (Python 3.13), two CPU devices.
# Whoever trains so should compare the devices' own copies (cxr_jax.runtime.parallel.is_synced does,
# bit by bit) after a step.
#
# Fails if this changes. Run: bash findings/jax_pmap_unreduced_output.sh
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=2 "$folder/venv/bin/python" -W error - <<'PYTHON'
import jax
import jax.numpy as jnp
import numpy as np


def forgets_the_mean(state, batch):
    return state + batch.mean()


step = jax.pmap(forgets_the_mean, axis_name="devices", in_axes=(None, 0), out_axes=None)
state = step(jnp.float32(0), np.float32([[0, 1], [2, 3]]))  # the mean over devices would be 1.5
held = [float(np.asarray(shard.data)) for shard in state.addressable_shards]
print(f"jax {jax.__version__}: float(state) {float(state)}, devices hold {held},",
      f"is_fully_replicated {state.is_fully_replicated}")
assert float(state) == 0.5 and held == [0.5, 2.5] and state.is_fully_replicated
PYTHON
