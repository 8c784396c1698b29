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
from cxr_jax.models.published.resnet import ResNet
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


class Built:
    """Pickles as an object that is given a state."""

    def __init__(self, value, state):
        self.value, self.state = value, state


def save_built(pickler: Pickler, built: Built) -> None:
    pickler.save(built.value)
    pickler.save(built.state)
    pickler.write(pickle.BUILD)


class Filled:
    """Pickles as an object that is given an item, as a dictionary and as a list."""

    def __init__(self, value, key, item):
        self.value, self.key, self.item = value, key, item


def save_filled(pickler: Pickler, filled: Filled) -> None:
    pickler.save(filled.value)
    pickler.save(filled.key)
    pickler.save(filled.item)
    pickler.write(pickle.SETITEM)
    pickler.save(filled.item)
    pickler.write(pickle.APPEND)


Pickler.dispatch |= {Call: save_call, Built: save_built, Filled: save_filled}
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


# What training scripts save around a state dict.

W = np.arange(4, dtype=np.float32)
STATE = {"weight": tensor("0", (4,), (1,))}
AROUND = {
    "state_dict": {"epoch": 3, "state_dict": STATE, "loss": tensor("1", (), ())},
    "model": {"model": STATE, "optimizer": {"state": {0: tensor("1", (), ())}}},
    "net": {"net": STATE},
    "model_state_dict": {"model_state_dict": STATE, "net": "resnet50"},
    "two deep": {"model": {"state_dict": STATE}, "epoch": 1},
    "lightning": {
        "state_dict": STATE,
        "pytorch-lightning_version": "2.0",
        "callbacks": {Named("lightning.callbacks", "ModelCheckpoint"): {"best": None}},
        "hyper_parameters": Call(Named("pathlib", "PosixPath"), "films"),
    },
}


@pytest.mark.parametrize("name", AROUND)
def test_what_is_saved_around_a_state_dict(name, tmp_path, caplog):
    path, storages = tmp_path / "w.ckpt", {"0": W.tobytes(), "1": bytes(4)}
    with caplog.at_level("INFO", "cxr_jax"):
        read = torch_weights.read(write_pth(path, AROUND[name], storages))
    assert read.keys() == {"weight"}
    np.testing.assert_array_equal(read["weight"], W)
    nest = "model" if name == "two deep" else name.replace("lightning", "state_dict")
    assert f"the state dict is its {nest!r}" in caplog.text
    assert ("asks for lightning.callbacks.ModelCheckpoint, pathlib.PosixPath" in caplog.text) == (
        name == "lightning"
    )


@pytest.mark.parametrize("form", ["call", "built", "filled"])
def test_hyper_parameters_can_call_nothing(form, tmp_path):
    """Read, since no tensor needs them; the names in them do nothing, however they are asked."""
    trap, path = tmp_path / "trap", tmp_path / "w.ckpt"
    call = Call(Named("os", "mkdir"), str(trap))
    hostile = {"call": call, "built": Built(call, {"a": 1}), "filled": Filled(call, "a", 1)}[form]
    write_pth(path, {"state_dict": STATE, "hyper_parameters": hostile}, {"0": W.tobytes()})
    np.testing.assert_array_equal(torch_weights.read(path)["weight"], W)
    assert not trap.exists()


NO_STATE_DICT = {
    "whole model": (Call(Named("torchvision", "ResNet")), "asks for torchvision.ResNet, which"),
    "nested model": ({"model": Call(Named("my", "Net")), "epoch": 1}, "asks for my.Net, which"),
    "one of two": (
        {"v": tensor("0", (4,), (1,)), "w": Call(Named("os", "getcwd"))},
        "asks for os.getcwd, which is not called",
    ),
    "argument": (
        {"w": Call(REBUILD, ("stored", "storage", Named("torch", "QInt8Storage"), "0", "cpu", 0))},
        "asks for a 'storage' of torch.QInt8Storage",
    ),
    "two networks": ({"model": STATE, "net": STATE}, "a network under 'model' and another under"),
    "others": ({"weights": STATE, "epoch": 1}, "no tensors, but weights, epoch"),
    "empty": ({}, "it is empty"),
}


@pytest.mark.parametrize("name", NO_STATE_DICT)
def test_what_holds_no_state_dict(name, tmp_path):
    content, message = NO_STATE_DICT[name]
    path = write_pth(tmp_path / "w.pth", content, {"0": W.tobytes()})
    with pytest.raises(InputError, match=message) as raised:
        torch_weights.read(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


DAMAGED = {
    "beyond": dict(w=tensor("0", (5,), (1,))),
    "offset": dict(w=tensor("0", (4,), (1,), offset=1)),
    "backwards": dict(w=tensor("0", (4,), (-1,), offset=3)),
    "before": dict(w=tensor("0", (4,), (1,), offset=-1)),
    "storage": dict(w=tensor("1", (4,), (1,))),
    "strides": dict(w=tensor("0", (2, 2), (1,))),
    "type": dict(w=tensor("0", (4,), (1,), dtype="_rebuild_tensor")),
    "list": [tensor("0", (4,), (1,))],
    "repeated": dict(w=tensor("0", (5,), (0,))),
    "without end": dict(w=tensor("0", (1 << 50,), (0,))),
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

    def draw(name, leaf):
        shape = leaf.shape[::-1] if leaf.ndim < 4 else np.array(leaf.shape)[[3, 2, 0, 1]]
        values = np.float32(rng.normal(size=shape))
        return np.abs(values) if name == "running_var" else values

    return {
        f"{layer}.{name}": draw(name, leaf)
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


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "model._orig_mod.module."])
def test_wrappers_are_left_away(prefix, params, tensors, caplog):
    assert len(tensors) == 36
    wrapped = {f"{prefix}{name}": one for name, one in tensors.items()}
    wrapped["op_threshs"] = np.full(2, np.nan, np.float32)  # of TorchXRayVision, outside of it
    with caplog.at_level("INFO", "cxr_jax"):
        filled = torch_weights.fill(params, wrapped, Path("file"))
    plain = torch_weights.fill(params, tensors, Path("file"))
    jax.tree.map(np.testing.assert_array_equal, filled, plain)
    assert f"file: left away {prefix!r} of 36 names" in caplog.text


def test_two_wrapped_networks_in_one_file(params, tensors):
    tensors["model.classifier.bias"] = tensors["classifier.bias"]
    with pytest.raises(InputError, match="file has classifier.bias twice.* model.classifier.bias"):
        torch_weights.fill(params, tensors, Path("file"))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_tensors_that_are_left_over_are_refused(prefix, params, tensors):
    tensors = {f"{prefix}{name}": one for name, one in tensors.items()}
    tensors[f"{prefix}features.conv0.bias"] = np.zeros(4, np.float32)
    tensors[f"{prefix}features.se.weight"] = np.zeros((1, 4), np.float32)
    with pytest.raises(InputError, match=r"file: features\.conv0\.bias is the first of 2 tensors"):
        torch_weights.fill(params, tensors, Path("file"))


def test_an_unknown_wrapper_is_named(params, tensors):
    wrapped = {f"trunk.{name}": one for name, one in tensors.items()}
    with pytest.raises(InputError, match=r"lacks parameter (.*), of.*but has trunk\.\1\)"):
        torch_weights.fill(params, wrapped, Path("file"))


NAME = "features.norm0.running_var"


@pytest.mark.parametrize(
    ("name", "value", "dtype", "message"),
    [
        (NAME, np.inf, np.float16, f"{NAME} has 1 of 4 values that are not finite.*float16"),
        (NAME, -1, np.float32, f"{NAME} is negative"),
        ("classifier.weight", np.nan, np.float32, "classifier.weight has 1 of 10 values that are"),
        ("classifier.weight", 1e300, np.float64, "classifier.weight has 1 of 10 values that are"),
        ("classifier.weight", 1, np.int8, "classifier.weight is of type int8"),
    ],
)
def test_values_that_no_trained_network_has(name, value, dtype, message, params, tensors):
    tensors[name] = tensors[name].astype(dtype)
    tensors[name].flat[1] = value
    with pytest.raises(InputError, match=message) as raised:
        torch_weights.fill(params, tensors, Path("file"))
    assert str(raised.value).startswith("file: parameter ")


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
    # The old head may have been of several layers.
    tensors["classifier.3.bias"] = np.zeros(3, np.float32)
    filled = torch_weights.fill(mine, tensors, Path("file"), kept=network.head)
    assert (filled["classifier"]["weight"] == 7).all()
    np.testing.assert_array_equal(filled["features.norm0"]["bias"], tensors["features.norm0.bias"])
    tensors["classifiers.bias"] = np.zeros(3, np.float32)
    with pytest.raises(InputError, match="classifiers.bias is the first of 1 "):
        torch_weights.fill(mine, tensors, Path("file"), kept=network.head)


def test_a_deeper_network_is_refused():
    """All that ResNet-50 needs is in ResNet-101, which is none the less another network."""

    def shapes(blocks):
        network = ResNet(2, blocks=blocks, width=4)
        image = jnp.zeros((1, 32, 32, 1))
        return jax.eval_shape(lambda: network.init(jax.random.key(0), image)["params"])

    def ones(shape):
        return np.ones([shape[i] for i in (3, 2, 0, 1)] if len(shape) == 4 else shape[::-1], "f4")

    deeper = {
        f"{layer}.{name}": ones(leaf.shape)
        for layer, leaves in shapes((1, 3)).items()
        for name, leaf in leaves.items()
    }
    torch_weights.fill(shapes((1, 3)), deeper, Path("file"))
    # A block has three convolutions, and three norms of four tensors.
    with pytest.raises(InputError, match=r"layer2\.2\.\S+ is the first of 15 tensors"):
        torch_weights.fill(shapes((1, 2)), deeper, Path("file"))
