"""PyTorch weights, read without PyTorch and without running anything that a file says.

`.safetensors` holds arrays alone. A `.pth`, `.pt` or `.ckpt` file is a pickle, which may name any
function to be called: the reader here knows the few names that tensors are made of. Every other
name becomes a placeholder that does nothing, and is refused where a tensor should be.
"""

import collections
import functools
import io
import logging
import math
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

logger = logging.getLogger(__name__)

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
# Of a state dict, but of no parameter: BatchNorm's count of batches, TorchXRayVision's thresholds.
NOT_NEEDED = ("num_batches_tracked", "op_threshs")
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
    """The file has something that is no tensor where a tensor should be."""


class _Inert:
    """Stands for whatever a name that no tensor needs would have made; takes all and keeps nothing.

    Attributes:
      asked: the name, "module.name".
    """

    asked = ""

    def __new__(cls, *unused, **named):
        del unused, named
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        del state

    def __setitem__(self, key: object, value: object) -> None:
        del key, value

    def append(self, value: object) -> None:
        """As a list or a set takes a value."""
        del value

    extend = add = append


def _asked(value: object) -> str:
    """The name that a placeholder, or its class, stands for; "" of anything else."""
    kind = value if isinstance(value, type) else type(value)
    return kind.asked if issubclass(kind, _Inert) else ""


class _Unpickler(pickle.Unpickler):
    """Knows the names of `ADMITTED` and nothing else: no other function can be called."""

    def __init__(self, file: io.BufferedIOBase):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}
        self.unknown: list[str] = []

    def find_class(self, module: str, name: str) -> object:
        if (module, name) in ADMITTED:
            return ADMITTED[module, name]
        self.unknown.append(f"{module}.{name}")
        return type("_Inert", (_Inert,), {"asked": f"{module}.{name}"})

    def persistent_load(self, identity: tuple) -> _Storage:
        kind, dtype, key = identity[:3]
        if kind != "storage" or dtype not in DTYPES:
            raise _Refused(f"a {kind!r} of {_asked(dtype) or repr(dtype)}")
        return self.storages.setdefault(str(key), _Storage(str(key), DTYPES[dtype]))


class _Content(NamedTuple):
    """What a file says, where its storages' bytes are, and which names it asks for in vain."""

    content: object
    read: Callable[[_Storage], bytes]
    unknown: Sequence[str]


def _read_zip(file: io.BufferedIOBase) -> _Content:
    """The content of a file of PyTorch 1.6 or later."""
    archive = zipfile.ZipFile(file)
    if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
        # A few bytes may claim to be gigabytes; PyTorch never compresses.
        raise ValueError("its parts are compressed")
    (root,) = [n.removesuffix("data.pkl") for n in archive.namelist() if n.endswith("/data.pkl")]
    unpickler = _Unpickler(io.BytesIO(archive.read(f"{root}data.pkl")))
    read = lambda storage: archive.read(f"{root}data/{storage.key}")
    return _Content(unpickler.load(), read, unpickler.unknown)


def _read_legacy(file: io.BufferedIOBase) -> _Content:
    """The same of an older file: five pickles and then the storages, each after its length."""
    if _load_plain(file) != LEGACY_MAGIC:
        raise ValueError("no PyTorch file")
    _protocol, _system = _load_plain(file), _load_plain(file)
    unpickler = _Unpickler(file)
    content = unpickler.load()
    stored = functools.cache(lambda: _read_storages(file, unpickler.storages))
    return _Content(content, lambda storage: stored()[storage.key], unpickler.unknown)


def _load_plain(file: io.BufferedIOBase) -> object:
    """The next pickle of a file, one that asks for no name."""
    unpickler = _Unpickler(file)
    value = unpickler.load()
    if unpickler.unknown:
        raise _Refused(unpickler.unknown[0])
    return value


def _read_storages(
    file: io.BufferedIOBase, storages: Mapping[str, _Storage]
) -> Mapping[str, bytes]:
    """The bytes that an older file has behind its content."""
    stored = {}
    for key in _load_plain(file):
        (count,) = np.frombuffer(file.read(8), "<u8")
        stored[key] = file.read(int(count) * storages[key].dtype.itemsize)
    return stored


def _to_array(tensor: _Tensor, read: Callable[[_Storage], bytes]) -> np.ndarray:
    storage, offset, shape, strides = tensor
    if 0 in shape:
        return np.zeros(shape, storage.dtype)
    flat = np.frombuffer(read(storage), storage.dtype)
    if math.prod(shape) > len(flat):
        raise ValueError("a tensor is larger than its storage")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if min(offset, *shape, *strides, 0) < 0 or last >= len(flat):
        raise ValueError("a tensor reaches beyond its storage")
    steps = [step * flat.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False).copy()


def _read_pickled(path: Path) -> Tensors:
    # From memory no more can be read than is there, whatever length a file claims for its parts.
    with io.BytesIO(path.read_bytes()) as file:
        read_file = _read_zip if zipfile.is_zipfile(file) else _read_legacy
        file.seek(0)
        content, read, unknown = read_file(file)
        state_dict = find_state_dict(content, path)
        for value in state_dict.values():
            if _asked(value):
                raise _Refused(_asked(value))
        if unknown:
            names = ", ".join(dict.fromkeys(unknown))
            logger.info("%s asks for %s beside its tensors; nothing of it is called", path, names)
        tensors = {name: one for name, one in state_dict.items() if isinstance(one, _Tensor)}
        others = [str(name) for name in state_dict if name not in tensors]
        if others:
            logger.info("%s: left out, as no tensors: %s", path, ", ".join(others))
        return {str(name): _to_array(tensor, read) for name, tensor in tensors.items()}


# 2. What is saved around a state dict.

NESTS = ("state_dict", "model_state_dict", "model", "net")  # under which scripts keep it
WRAPPERS = ("module.", "model.", "_orig_mod.")  # DataParallel, an attribute, torch.compile
_WRAPPED = re.compile("|".join(re.escape(wrapper) for wrapper in WRAPPERS))


def find_state_dict(content: object, path: Path) -> Mapping[str, object]:
    """The state dict in what a file holds: itself, or under one of `NESTS`, at any depth.

    What was left aside is said in the log.

    Raises:
      InputError: if two of `NESTS` hold tensors.
      ValueError: if there is none.
    """
    if _asked(content):
        raise _Refused(_asked(content))
    if not isinstance(content, dict):
        raise ValueError("no state dict")
    nests = [name for name in NESTS if isinstance(content.get(name), dict) and content[name]]
    if len(nests) > 1:
        raise InputError(
            f"{path} holds a network under {nests[0]!r} and another under {nests[1]!r}; save the "
            "state_dict() of one alone"
        )
    if nests:
        aside = ", ".join(str(name) for name in content if name != nests[0])
        logger.info("%s: the state dict is its %r; left aside: %s", path, nests[0], aside or "-")
        return find_state_dict(content[nests[0]], path)
    if any(isinstance(value, _Tensor) for value in content.values()):
        return content
    models = [_asked(content[name]) for name in content if _asked(content[name])]
    if models:
        raise _Refused(models[0])
    names = ", ".join(str(name) for name in content)
    raise ValueError(f"no tensors, but {names[:100]}" if names else "it is empty")


def unwrap(tensors: Tensors, path: Path) -> Tensors:
    """The tensors by their names in the network itself, without `WRAPPERS`, which the log tells.

    Raises:
      InputError: if two tensors have one name then.
    """
    wrapped, stripped = {}, collections.Counter()
    for name in tensors:
        bare = name
        while match := _WRAPPED.match(bare):
            bare = bare[match.end() :]
        stripped[name.removesuffix(bare)] += 1
        bare = modern_name(bare)
        if bare in wrapped:
            raise InputError(
                f"{path} has {bare} twice, as {wrapped[bare]} and as {name}; save the state_dict() "
                "of one network alone"
            )
        wrapped[bare] = name
    told = [f"{prefix!r} of {count} names" for prefix, count in stripped.items() if prefix]
    if told:
        logger.info("%s: left away %s", path, ", ".join(told))
    return {bare: tensors[name] for bare, name in wrapped.items()}


def modern_name(name: str) -> str:
    """The name that torchvision gives today to a parameter of its oldest DenseNet files."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2.", name)


# 3. Files.


def read(path: Path) -> Tensors:
    """The tensors of a `.safetensors` file, or of a state dict in a `.pth`, `.pt` or `.ckpt` file.

    Raises:
      InputError: if the file is absent or damaged, or if it has something else where its tensors
        should be (a whole model, say); nothing that it names is called.
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
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:
        # A damaged pickle can raise anything; whatever it is, the file is of no use.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{path} holds no PyTorch weights ({reason[0][:200]})") from error


# 4. Into our networks.


def to_ours(tensor: np.ndarray) -> np.ndarray:
    """[out, in, kh, kw] -> [kh, kw, in, out] and [out, in] -> [in, out]."""
    if tensor.ndim == 4:
        return tensor.transpose(2, 3, 1, 0)
    return tensor.T


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else tuple(reversed(shape))


def fill(params: Params, tensors: Tensors, path: Path, *, kept: Sequence[str] = ()) -> Params:
    """A network's parameters, {layer: {name: array}}, with the values of a state dict.

    Args:
      path: named in errors.
      kept: layers that keep their own values: a new head on a published trunk.

    Raises:
      InputError: naming the first parameter that is missing, has another shape or is not finite, or
        the first tensor that the network has no place for.
    """
    tensors = unwrap(tensors, path)
    filled = {
        layer: leaves
        if layer in kept
        else {leaf: _value(f"{layer}.{leaf}", like, tensors, path) for leaf, like in leaves.items()}
        for layer, leaves in params.items()
    }
    used = {f"{layer}.{leaf}" for layer, leaves in filled.items() for leaf in leaves}
    _check_left([name for name in tensors if name not in used], path, kept)
    return filled


def _value(
    name: str, like: AnyArray | jax.ShapeDtypeStruct, tensors: Tensors, path: Path
) -> np.ndarray:
    """The array of a parameter, in our layout."""
    wanted = _torch_shape(like.shape)
    if name not in tensors:
        near = next((other for other in tensors if other.endswith(f".{name}")), "")
        hint = f" (but has {near})" if near else ""
        raise InputError(f"{path} lacks parameter {name}, of shape {list(wanted)}{hint}")
    tensor = tensors[name]
    if tensor.shape != wanted:
        raise InputError(
            f"{path}: parameter {name} has shape {list(tensor.shape)}, but this config's network "
            f"needs {list(wanted)}"
        )
    if not jnp.issubdtype(tensor.dtype, jnp.floating):
        raise InputError(
            f"{path}: parameter {name} is of type {tensor.dtype}; save the network in floating "
            "point, not quantised"
        )
    with np.errstate(over="ignore"):  # an overflow is told of below
        array = to_ours(tensor).astype(like.dtype)
    wrong = array.size - int(np.isfinite(array).sum())
    if wrong:
        raise InputError(
            f"{path}: parameter {name} has {wrong} of {array.size} values that are not finite; "
            "save the network again, in float32 if it was saved in float16"
        )
    if name.endswith(".running_var") and (array < 0).any():
        raise InputError(f"{path}: parameter {name} is negative, which no variance can be")
    return array


def _check_left(left: Sequence[str], path: Path, kept: Sequence[str]) -> None:
    """Raises `InputError` if a tensor is left over that is neither a count nor of an old head."""
    old = {layer.partition(".")[0] for layer in kept}
    unknown = [
        name
        for name in left
        if name.rpartition(".")[2] not in NOT_NEEDED and name.partition(".")[0] not in old
    ]
    if unknown:
        raise InputError(
            f"{path}: {unknown[0]} is the first of {len(unknown)} tensors that this config's "
            "network has no place for; choose the architecture that the file is of, or leave them "
            "out of the file"
        )
