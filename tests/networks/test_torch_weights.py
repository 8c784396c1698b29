"""Files of PyTorch weights, made by hand: read to the last number, or refused in one line."""

import collections
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from builders import write_safetensors

from cxr_jax.errors import InputError
from cxr_jax.models.published.densenet import DenseNet
from cxr_jax.networks import torch_weights


class Named:
    """Pickles as the global `module.name`, which need not exist."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name


class Pickler(pickle._Pickler):
    """Pickles what PyTorch pickles, without PyTorch."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_named(self, one: Named) -> None:
        self.write(pickle.GLOBAL + f"{one.module}\n{one.name}\n".encode())

    dispatch[Named] = save_named

    def persistent_id(self, one):
        return one[1:] if isinstance(one, tuple) and one[:1] == ("stored",) else None


class Call:
    """Pickles as the call of a function with arguments."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


def save_call(pickler: Pickler, call: Call) -> None:
    pickler.save(call.function)
    pickler.save(call.arguments)
    pickler.write(pickle.REDUCE)


Pickler.dispatch[Call] = save_call
REBUILD = Named("torch._utils", "_rebuild_tensor_v2")


def tensor(key: str, shape, strides, offset=0, dtype="FloatStorage") -> Call:
    identity = ("stored", "storage", Named("torch", dtype), key, "cpu", 0)
    return Call(REBUILD, identity, offset, shape, strides, False, collections.OrderedDict())


def write_pth(path: Path, content, storages: dict[str, bytes]) -> Path:
    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump(content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", stream.getvalue())
        for key, data in storages.items():
            archive.writestr(f"weights/data/{key}", data)
    return path


def test_a_safetensors_file(tmp_path):
    tensors = {
        "features.conv0.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
        "num_batches_tracked": np.array(5),
    }
    read = torch_weights.read(write_safetensors(tmp_path / "weights.safetensors", tensors))
    assert read.keys() == tensors.keys()
    for name, values in tensors.items():
        np.testing.assert_array_equal(read[name], values)


def test_a_state_dict_file(tmp_path):
    base = np.arange(24, dtype=np.float32)
    content = collections.OrderedDict(
        whole=tensor("0", (4, 6), (6, 1)),
        view=tensor("0", (3, 2), (2, 6), offset=6),
        scalar=tensor("1", (), (), dtype="LongStorage"),
        note="not a tensor",
    )
    path = tmp_path / "weights.pth"
    write_pth(path, content, {"0": base.tobytes(), "1": struct.pack("<q", 7)})
    read = torch_weights.read(path)
    assert read.keys() == {"whole", "view", "scalar"}
    np.testing.assert_array_equal(read["whole"], base.reshape(4, 6))
    np.testing.assert_array_equal(read["view"], base.reshape(4, 6)[1:3, ::2].T)
    assert read["scalar"] == 7 and read["scalar"].dtype == np.int64


@pytest.mark.parametrize(
    "function",
    [
        Named("os", "mkdir"),
        Named("posix", "mkdir"),
        Named("builtins", "eval"),
        Named("torch._utils", "_rebuild_device_tensor"),
    ],
    ids=lambda named: f"{named.module}.{named.name}",
)
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_nothing_that_a_file_names_is_called(function, form, tmp_path):
    trap, path = tmp_path / "trap", tmp_path / "weights.pth"
    argument = f"__import__('os').mkdir({str(trap)!r})" if function.name == "eval" else str(trap)
    content = {"weight": Call(function, argument)}
    if form == "zip":
        write_pth(path, content, {})
    else:
        with path.open("wb") as file:
            pickle.dump(torch_weights.LEGACY_MAGIC, file, protocol=2)
            pickle.dump(1001, file, protocol=2)
            Pickler(file, protocol=2).dump(content)
    with pytest.raises(InputError, match=f"{function.module}.{function.name}, which is not call"):
        torch_weights.read(path)
    assert not trap.exists()


def test_the_trap_would_have_sprung(tmp_path):
    """The files above are what they pretend to be: pickle itself does as they say."""
    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump({"weight": Call(Named("os", "mkdir"), str(tmp_path / "trap"))})
    pickle.loads(stream.getvalue())
    assert os.path.isdir(tmp_path / "trap")


DAMAGED = {
    "beyond": dict(w=tensor("0", (5,), (1,))),
    "offset": dict(w=tensor("0", (4,), (1,), offset=1)),
    "backwards": dict(w=tensor("0", (4,), (-1,), offset=3)),
    "before": dict(w=tensor("0", (4,), (1,), offset=-1)),
    "storage": dict(w=tensor("1", (4,), (1,))),
    "strides": dict(w=tensor("0", (2, 2), (1,))),
    "type": dict(w=tensor("0", (4,), (1,), dtype="_rebuild_tensor")),
    "list": [tensor("0", (4,), (1,))],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_state_dict(name, tmp_path):
    path = tmp_path / "weights.pth"
    write_pth(path, DAMAGED[name], {"0": np.zeros(4, np.float32).tobytes()})
    with pytest.raises(InputError, match="weights.pth"):
        torch_weights.read(path)


@pytest.mark.parametrize("suffix", ["pth", "pt", "safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"no weights at all", b"\x80\x02K\x01."])
def test_no_weights_at_all(suffix, content, tmp_path):
    path = tmp_path / f"weights.{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        torch_weights.read(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


# What a file does not have.


@pytest.fixture
def network() -> DenseNet:
    return DenseNet(2, blocks=(1, 1), growth=2, stem=4)


@pytest.fixture
def params(network):
    image = jnp.zeros((1, 16, 16, 1))
    return jax.eval_shape(lambda: network.init(jax.random.key(0), image)["params"])


@pytest.fixture
def tensors(params) -> dict[str, np.ndarray]:
    """A state dict that fits, in PyTorch's layout."""
    rng = np.random.default_rng(0)
    return {
        f"{layer}.{name}": np.float32(
            rng.normal(
                size=leaf.shape[::-1] if leaf.ndim < 4 else np.array(leaf.shape)[[3, 2, 0, 1]]
            )
        )
        for layer, leaves in params.items()
        for name, leaf in leaves.items()
    }


def test_layouts(params, tensors):
    filled = torch_weights.fill(params, tensors, Path("file"))
    assert jax.tree.map(jnp.shape, filled) == jax.tree.map(jnp.shape, params)
    name = "features.denseblock1.denselayer1.conv2"
    theirs = tensors[f"{name}.weight"]
    np.testing.assert_array_equal(filled[name]["weight"][1, 2, 3, 0], theirs[0, 3, 1, 2])
    theirs = tensors["classifier.weight"]
    np.testing.assert_array_equal(filled["classifier"]["weight"][3, 1], theirs[1, 3])


def test_old_names_and_what_is_not_needed(params, tensors):
    old = {
        name.replace("norm1", "norm.1").replace("conv2", "conv.2"): tensor
        for name, tensor in tensors.items()
    }
    assert old.keys() != tensors.keys()
    old["features.norm0.num_batches_tracked"] = np.array(3)
    filled = torch_weights.fill(params, old, Path("file"))
    jax.tree.map(
        np.testing.assert_array_equal, filled, torch_weights.fill(params, tensors, Path("file"))
    )


def test_the_first_parameter_that_is_missing_or_misshapen_is_named(params, tensors):
    del tensors["features.norm5.bias"]
    with pytest.raises(InputError, match=r"file lacks parameter features\.norm5\.bias.*\[5\]"):
        torch_weights.fill(params, tensors, Path("file"))
    tensors["features.conv0.weight"] = np.zeros((4, 3, 7, 7), np.float32)
    with pytest.raises(InputError, match=r"conv0\.weight has shape \[4, 3, 7, 7\].*\[4, 1, 7, 7\]"):
        torch_weights.fill(params, tensors, Path("file"))


def test_a_new_head_keeps_its_own_values(network, params, tensors):
    mine = jax.tree.map(lambda leaf: np.full(leaf.shape, 7.0, np.float32), params)
    tensors["classifier.weight"] = np.zeros((1000, 5), np.float32)
    with pytest.raises(InputError, match="classifier.weight"):
        torch_weights.fill(mine, tensors, Path("file"))
    filled = torch_weights.fill(mine, tensors, Path("file"), kept=network.head)
    assert (filled["classifier"]["weight"] == 7).all()
    np.testing.assert_array_equal(filled["features.norm0"]["bias"], tensors["features.norm0.bias"])
