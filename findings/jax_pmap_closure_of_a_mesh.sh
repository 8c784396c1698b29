#!/usr/bin/env bash
# A function that holds a restored checkpoint's arrays, under jax.pmap: all goes well until an index.
#
# Orbax restores arrays onto the mesh that they are wanted on (NamedSharding). A classifier that
# closes over such arrays can be called, jitted and differentiated. Under pmap sums and products
# with them work too; but an index or a slice of one raises a ValueError about a context mesh which
# the user has never made, at the first step of a training, long after the function was accepted.
#
# Seen on 2026-11-29 with jax 0.10.2 (Python 3.11), two CPU devices; with jax 0.12.0.1 (Python 3.13)
# everything works.
# Who maps a function of somebody else's should bring what it holds to one device first
# (cxr_jax/networks/functions.py), or ask it for numpy arrays.
#
# Fails if this changes. Run: bash findings/jax_pmap_closure_of_a_mesh.sh
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=2 "$folder/venv/bin/python" -W error - <<'PYTHON'
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

mesh = Mesh(np.array(jax.devices()), ("all",))
weights = jax.device_put(jnp.arange(4.0), NamedSharding(mesh, PartitionSpec()))
films = jnp.ones((2, 4))
functions = {
    "sum": lambda film: film + weights,
    "product": lambda film: film @ weights,
    "index": lambda film: film + weights[1],
    "slice": lambda film: film[1:] + weights[1:],
}
failed = []
for name, function in functions.items():
    jax.jit(function)(films[0])
    try:
        jax.pmap(function)(films)
    except ValueError as error:
        failed.append(name)
        print(f"jax {jax.__version__}, pmap, {name}: {str(error)[:60]}...")
assert failed == ["index", "slice"], failed
PYTHON
