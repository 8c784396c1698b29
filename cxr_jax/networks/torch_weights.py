"""PyTorch weights, read without PyTorch and without running anything that a file says.

`.safetensors` holds arrays alone. A `.pth` or `.pt` file is a pickle, which may name any function
to be called: the reader here knows the few names that tensors are made of, and refuses all others.
"""

import collections
import io
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from cxr_jax.errors import InputError
from cxr_jax.types import AnyArray, Params

Tensors = dict[str, np.ndarray]  # by their names in the state dict, in PyTorch's layout

DTYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # of files before PyTorch 1.6, as torchvision's oldest are


# 1. Restricted unpickling.


class _Storage(NamedTuple):
    """Which bytes of the file a tensor lies in."""

    key: str
    dtype: np.dtype


class _Tensor(NamedTuple):
    """A tensor as a file describes it: a view of a storage, in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage, offset, shape, strides, *unused) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(tensor, *unused) -> _Tensor:
    return tensor


ADMITTED: Mapping[tuple[str, str], object] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **{("torch", name): name for name in DTYPES},
}


class _Refused(Exception):
    """The file names something that no tensor needs."""


class _Unpickler(pickle.Unpickler):
    """Knows the names of `ADMITTED` and nothing else: no other function can be called."""

    def __init__(self, file: io.BufferedIOBase):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in ADMITTED:
            raise _Refused(f"{module}.{name}")
        return ADMITTED[module, name]

    def persistent_load(self, identity: tuple) -> _Storage:
        kind, dtype, key = identity[:3]
        if kind != "storage" or dtype not in DTYPES:
            raise _Refused(f"a {kind!r} of {dtype!r}")
        return self.storages.setdefault(str(key), _Storage(str(key), DTYPES[dtype]))


def _read_zip(file: io.BufferedIOBase) -> tuple[object, Callable[[_Storage], bytes]]:
    """What a file of PyTorch 1.6 or later holds, and where its storages' bytes are."""
    archive = zipfile.ZipFile(file)
    (root,) = [n.removesuffix("data.pkl") for n in archive.namelist() if n.endswith("/data.pkl")]
    content = _Unpickler(io.BytesIO(archive.read(f"{root}data.pkl"))).load()
    return content, lambda storage: archive.read(f"{root}data/{storage.key}")


def _read_legacy(file: io.BufferedIOBase) -> tuple[object, Callable[[_Storage], bytes]]:
    """The same of an older file: five pickles and then the storages, each after its length."""
    if _Unpickler(file).load() != LEGACY_MAGIC:
        raise ValueError("no PyTorch file")
    _protocol, _system = _Unpickler(file).load(), _Unpickler(file).load()
    unpickler = _Unpickler(file)
    content, keys = unpickler.load(), _Unpickler(file).load()
    stored = {}
    for key in keys:
        (count,) = np.frombuffer(file.read(8), "<i8")
        stored[key] = file.read(int(count) * unpickler.storages[key].dtype.itemsize)
    return content, lambda storage: stored[storage.key]


def _to_array(tensor: _Tensor, read: Callable[[_Storage], bytes]) -> np.ndarray:
    storage, offset, shape, strides = tensor
    if 0 in shape:
        return np.zeros(shape, storage.dtype)
    flat = np.frombuffer(read(storage), storage.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if min(offset, *shape, *strides, 0) < 0 or last >= len(flat):
        raise ValueError("a tensor reaches beyond its storage")
    steps = [step * flat.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False).copy()


def _read_pickled(path: Path) -> Tensors:
    with path.open("rb") as file:
        read_file = _read_zip if zipfile.is_zipfile(file) else _read_legacy
        file.seek(0)
        content, read = read_file(file)
        if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
            content = content["state_dict"]  # of a training script's checkpoint
        if not isinstance(content, dict):
            raise ValueError("no state dict")
        tensors = {name: one for name, one in content.items() if isinstance(one, _Tensor)}
        return {str(name): _to_array(tensor, read) for name, tensor in tensors.items()}


# 2. Files.


def read(path: Path) -> Tensors:
    """The tensors of a `.safetensors` file, or of a state dict in a `.pth` or `.pt` file.

    Raises:
      InputError: if the file is absent or damaged, or if it is a pickle of more than tensors (a
        whole model, say); nothing that it names is called.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.numpy.load_file(path))
        return _read_pickled(path)
    except _Refused as refused:
        raise InputError(
            f"{path} is no plain state dict: it asks for {refused}, which is not called; save "
            "state_dict() alone, or convert it where PyTorch is (scripts/)"
        ) from refused
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:
        # A damaged pickle can raise anything; whatever it is, the file is of no use.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{path} holds no PyTorch weights ({reason[0][:200]})") from error


# 3. Into our networks.


def modern_name(name: str) -> str:
    """The name that torchvision gives today to a parameter of its oldest DenseNet files."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2.", name)


def to_ours(tensor: np.ndarray) -> np.ndarray:
    """[out, in, kh, kw] -> [kh, kw, in, out] and [out, in] -> [in, out]."""
    if tensor.ndim == 4:
        return tensor.transpose(2, 3, 1, 0)
    return tensor.T


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else tuple(reversed(shape))


def fill(params: Params, tensors: Tensors, path: Path, *, kept: Sequence[str] = ()) -> Params:
    """A network's parameters, {layer: {name: array}}, with the values of a state dict.

    What the state dict holds beyond them is left alone.

    Args:
      path: named in errors.
      kept: layers that keep their own values: a new head on a published trunk.

    Raises:
      InputError: naming the first parameter that is missing or has another shape.
    """
    tensors = {modern_name(name): tensor for name, tensor in tensors.items()}

    def one(layer: str, leaf: str, value: AnyArray | jax.ShapeDtypeStruct) -> np.ndarray:
        name, wanted = f"{layer}.{leaf}", _torch_shape(value.shape)
        if name not in tensors:
            raise InputError(f"{path} lacks parameter {name}, of shape {list(wanted)}")
        found = tensors[name].shape
        if found != wanted:
            raise InputError(
                f"{path}: parameter {name} has shape {list(found)}, but this config's network "
                f"needs {list(wanted)}"
            )
        return to_ours(tensors[name]).astype(value.dtype)

    return {
        layer: leaves
        if layer in kept
        else {leaf: one(layer, leaf, value) for leaf, value in leaves.items()}
        for layer, leaves in params.items()
    }
