#!/usr/bin/env bash
# Pillow and a TIFF film of a big-endian machine: compressed signed or float pixels come byte-swapped.
#
# Workstations of the big-endian age, and ImageJ to this day, write TIFF in the order "MM". Pillow
# honours the order of uncompressed pixels and of unsigned ones; of int16 and float32 pixels that
# are compressed (deflate) it gives the values with their bytes swapped: 4 becomes 1024. No error,
# no warning: a film of noise, or after a rescaling one that looks like a bad exposure.
#
# Seen on 2026-11-29 with Pillow 12.3.0, files by tifffile 2026.3.3, which reads them rightly.
# cxr_jax refuses such files by name (datasets/cxr_folder/image_files.py).
#
# Fails if this changes. Run: bash findings/pillow_big_endian_tiff.sh
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "pillow==12.3.0" "tifffile==2026.3.3" \
	"numpy==2.4.6" "imagecodecs==2026.3.6"
cd "$folder"
venv/bin/python -W error - <<'PYTHON'
import numpy as np
import PIL
import tifffile
from PIL import Image

wrong = []
for dtype in ("uint8", "uint16", "int16", "float32"):
    for compression in (None, "deflate"):
        film = np.arange(64, dtype=dtype).reshape(8, 8) * 4
        tifffile.imwrite("film.tif", film, byteorder=">", compression=compression)
        assert (tifffile.imread("film.tif") == film).all()
        read = np.asarray(Image.open("film.tif"))
        if not (read == film).all():
            wrong.append((dtype, compression))
            print(f"Pillow {PIL.__version__}: {dtype}, {compression}: {film[0, :3]} is read as {read[0, :3]}")
assert wrong == [("int16", "deflate"), ("float32", "deflate")], wrong
PYTHON
