"""Files of weights: nothing that they say is executed, and no lying header is believed."""

import collections
import io
import json
import pickle
import struct
import tempfile
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from fuzzing import both_suites, damaged, explore
from hypothesis import strategies as st
from networks.test_torch_weights import Call, Named, Pickler, tensor

from cxr_jax.networks import torch_weights

PARAMS = {"features.conv0": {"weight": jax.ShapeDtypeStruct((3, 3, 1, 2), np.float32)}}
TRAP = "trap-that-no-file-may-make"  # a folder, made by whoever executes what a file says

SIZES = st.one_of(st.integers(-1, 20), st.sampled_from([2**20, 2**31, 2**63, 10**30]))
SHAPES = st.one_of(st.just([2, 1, 3, 3]), st.lists(SIZES, max_size=5))
NAMES = st.sampled_from(["features.conv0.weight", "features.conv0.bias", "é", "", "a.b", "\n"])


def check(suffix: str, data: bytes) -> None:
    """Arrays no larger than the file, which fill a network where they fit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"weights{suffix}"
        path.write_bytes(data)
        try:
            tensors = torch_weights.read(path)
        finally:
            assert not Path(TRAP).exists()
        assert all(isinstance(each, np.ndarray) for each in tensors.values())
        filled = torch_weights.fill(PARAMS, tensors, path)
        assert filled["features.conv0"]["weight"].shape == (3, 3, 1, 2)


# 1. safetensors.

ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "I64", "BOOL", "F8_E4M3", "X", 3]),
        "shape": SHAPES,
        "data_offsets": st.one_of(st.just([0, 72]), st.lists(SIZES, max_size=3)),
    }
)


@st.composite
def safetensors(draw: st.DrawFn) -> bytes:
    """A header that may lie, and up to 200 bytes."""
    header = draw(st.dictionaries(NAMES, ENTRIES, max_size=3))
    text = json.dumps(header).encode()
    length = draw(st.one_of(st.just(len(text)), st.integers(0, 2**64 - 1)))
    return struct.pack("<Q", length) + text + bytes(draw(st.sampled_from([72, 0, 200])))


@both_suites(quick=500, thorough=4000)
def test_safetensors(num_examples):
    explore(check, num_examples, st.just(".safetensors"), damaged(safetensors()))


# 2. Pickles, in a zip archive or one after the other.

DTYPES = st.sampled_from(["FloatStorage", "HalfStorage", "LongStorage", "BoolStorage", "Evil"])
TENSORS = st.builds(
    tensor,
    st.sampled_from(["0", "1", "../0", "none"]),
    SHAPES.map(tuple),
    # No step of 0, which repeats one number as often as the shape says: see LIES.
    st.one_of(st.just((9, 9, 3, 1)), st.lists(st.integers(-2, 20).filter(bool), max_size=5)).map(
        tuple
    ),
    st.integers(-1, 4),
    DTYPES,
)
CALLS = st.sampled_from(
    [
        Call(Named("os", "mkdir"), TRAP),
        Call(Named("builtins", "exec"), f"import os; os.mkdir({TRAP!r})"),
        Call(Named("collections", "OrderedDict"), 3),
        Call(Named("torch._utils", "_rebuild_parameter"), None),
        Call(Named("torch._utils", "_rebuild_tensor_v2")),
        Named("torch", "FloatStorage"),
        Named("torch.nn", "Linear"),
        ("stored", "storage"),
        ("stored", "module", "FloatStorage", "0"),
        ("stored", 3, 4, 5),
    ]
)
LEAVES = st.one_of(TENSORS, CALLS, st.none(), st.integers(), st.text(max_size=4), st.binary())
CONTENTS = st.recursive(
    st.one_of(
        LEAVES,
        st.just({"features.conv0.weight": tensor("0", (2, 1, 3, 3), (9, 9, 3, 1))}),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(NAMES, st.just("state_dict")), inner, max_size=3),
        st.dictionaries(NAMES, inner, max_size=3).map(collections.OrderedDict),
    ),
    max_leaves=5,
)


def pickled(content: object) -> bytes:
    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump(content)
    return stream.getvalue()


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """As `torch.save` writes them since version 1.6."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        root = draw(st.sampled_from(["weights", "", "a/b"]))
        archive.writestr(f"{root}/data.pkl", draw(damaged(CONTENTS.map(pickled))))
        for key in draw(st.sampled_from(["0", "01", ""])):
            archive.writestr(f"{root}/data/{key}", bytes(draw(st.sampled_from([72, 7, 0]))))
    return stream.getvalue()


@st.composite
def legacy(draw: st.DrawFn) -> bytes:
    """As before."""
    magic = draw(st.sampled_from([torch_weights.LEGACY_MAGIC, 0]))
    head = b"".join(pickle.dumps(each, 2) for each in (magic, 1001, {}))
    keys = draw(st.sampled_from([["0"], [], ["0", "0"], 3, ["1"]]))
    count = draw(st.one_of(st.just(18), st.integers(-(2**63), 1000)))  # no more: see LIES
    content = draw(CONTENTS.map(pickled))
    return head + content + pickle.dumps(keys, 2) + struct.pack("<q", count) + bytes(72)


@both_suites(quick=500, thorough=4000)
def test_archives_of_pickles(num_examples):
    # Their pickles are damaged, their directories are not: see LIES.
    explore(check, num_examples, st.sampled_from([".pth", ".pt"]), archives())


@both_suites(quick=500, thorough=4000)
def test_pickles_one_after_the_other(num_examples):
    # Not damaged either: the lengths of their numbers and names, see LIES.
    explore(check, num_examples, st.just(".pth"), legacy())


# 3. Lies about size: of files that claim more than they hold.


def archive(content: object, storage: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("weights/data.pkl", pickled(content))
        written.writestr("weights/data/0", storage)
    return stream.getvalue()


def lying_directory() -> bytes:
    """An archive that says of its empty pickle that it is 512 MB, compressed."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as written:
        written.writestr("weights/data.pkl", b"")
    data, entry = stream.getvalue(), stream.getvalue().index(b"PK\1\2")
    return data[: entry + 20] + struct.pack("<II", 2**29, 248) + data[entry + 28 :]


LIES = {
    "a step of 0": archive({"w": tensor("0", (2**26,), (0,))}, bytes(4)),
    "compressed zeros": archive({"w": tensor("0", (18,), (1,))}, bytes(2**28)),
    "a directory": lying_directory(),
    "a storage of 512 MB": b"".join(
        pickle.dumps(each, 2) for each in (torch_weights.LEGACY_MAGIC, 1001, {})
    )
    + pickled({"w": tensor("0", (18,), (1,))})
    + pickle.dumps(["0"], 2)
    + struct.pack("<q", 2**27),
    "a number of 512 MB": b"\x80\x02\x8b" + struct.pack("<i", 2**29),
}


@pytest.mark.parametrize("lie", LIES)
def test_no_more_memory_than_the_file_has(lie):
    explore(check, 1, st.just(".pth"), st.just(LIES[lie]))
