#!/usr/bin/env bash
# A folder of compiled programs that was filled without a bound, and is then given one.
#
# jax_compilation_cache_max_size bounds the folder of jax_compilation_cache_dir. With a bound JAX
# keeps, beside each program, a small file with the time of its last use; without one (the default)
# it does not. To make room it reads the times of all programs that are there, whether or not there
# is too much of them, and fails at the first that has none: so from the day on which a bound is set
# for a folder in use, no further program is kept. It says so in a warning for each program, and
# compiles it again in every process. A process that is killed between the two writes has the same
# effect on a folder that was bounded from the beginning.
#
# Seen on 2026-11-29 with jax 0.10.2 (Python 3.11). Whoever bounds such a folder should empty it
# first, or remove the programs without a time (cxr_jax.runtime.startup.drop_torn does).
#
# Fails if this changes. Run: bash findings/jax_cache_bound_set_later.sh
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6" \
  "filelock==3.20.0"
cat > "$folder/program.py" <<'PYTHON'
import sys
import warnings

import jax
import numpy as np

jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_compilation_cache_max_size", int(sys.argv[2]))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    jax.jit(lambda x: x @ x + int(sys.argv[3]))(np.ones((4, 4), np.float32))
print(f"jax {jax.__version__}, bound {sys.argv[2]}:", *(str(each.message)[:80] for each in told))
PYTHON
run() { JAX_PLATFORMS=cpu "$folder/venv/bin/python" "$folder/program.py" "$folder/programs" "$@"; }
count() { find "$folder/programs" -name '*-cache' | wc -l; }
run -1 1
before=$(count)
run 1000000000 2 # another program, and room for thousands
after=$(count)
echo "programs kept: $before without a bound, $after after the bound was set and another compiled"
[ "$before" -ge 1 ] && [ "$after" -eq "$before" ]
rm -rf "$folder/programs"
run 1000000000 1
run 1000000000 2
[ "$(count)" -gt "$before" ] # a folder that was bounded from the beginning keeps both
