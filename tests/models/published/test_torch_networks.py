"""VGG16, DenseNet-121 and ResNet-50 are PyTorch's, from a file of its weights to the last map."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.models.published.densenet import DenseNet
from cxr_jax.models.published.resnet import ResNet
from cxr_jax.models.published.vgg import VGG
from cxr_jax.networks import torch_weights

torch = pytest.importorskip("torch")
from tests.models.published import torch_twins as twins  # noqa: E402

ROOT = Path(__file__).parents[3]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
]


class Pair(NamedTuple):
    """A network here and in PyTorch, and the modules there whose outputs are our stages."""

    ours: nn.Module
    theirs: Callable
    stages: dict[str, str]
    size: int


def blocks_of(pattern: str, count: int = 4) -> dict[str, str]:
    return {f"stage_{i}": pattern.format(i) for i in range(1, count + 1)}


DENSE = {**blocks_of("features.denseblock{}", 3), "stage_4": "features.norm5"}
RELUS = dict(zip(blocks_of("", 5), [f"features.{i}" for i in (3, 8, 15, 22, 29)], strict=True))
PAIRS = {
    # As published: TorchXRayVision's, torchvision's, the paper's.
    "densenet121-xrv": (DenseNet(18), functools.partial(twins.densenet, 18, 1), DENSE, 224),
    "densenet121": (DenseNet(5), functools.partial(twins.densenet, 5, 3), DENSE, 64),
    "resnet50": (ResNet(7), functools.partial(twins.resnet, 7, 3), blocks_of("layer{}"), 96),
    "vgg16": (VGG(2), functools.partial(twins.vgg, 2, 3), RELUS, 64),
    # Odd sizes, where padding and what is left over show.
    "densenet-odd": (
        DenseNet(3, blocks=(2, 1, 1, 2), growth=4, stem=8),
        functools.partial(
            *(twins.densenet, 3, 2),
            **dict(block_config=(2, 1, 1, 2), growth_rate=4, num_init_features=8),
        ),
        DENSE,
        77,
    ),
    "resnet-odd": (
        ResNet(3, blocks=(1, 1, 1, 1)),
        functools.partial(twins.resnet, 3, 1, blocks=(1, 1, 1, 1)),
        blocks_of("layer{}"),
        45,
    ),
    "vgg-odd": (
        VGG(3, hidden=(12,), blocks=(1, 1), widths=(4, 6)),
        functools.partial(twins.vgg, 3, 2, hidden=(12,), blocks=(1, 1), widths=(4, 6)),
        {"stage_1": "features.1", "stage_2": "features.4"},
        45,
    ),
}


@pytest.fixture(params=PAIRS)
def pair(request) -> Pair:
    ours, theirs, stages, size = PAIRS[request.param]
    return Pair(ours, theirs, stages, size)


def make_image(size: int, channels: int) -> np.ndarray:
    return np.float32(np.random.default_rng(0).normal(size=(3, size, size, channels)))


def loaded(network: nn.Module, image: np.ndarray, path) -> dict:
    """Parameters that a file fills."""
    like = jax.eval_shape(lambda: network.init(jax.random.key(0), image)["params"])
    return torch_weights.fill(like, torch_weights.read(path), path)


def save(network, path, form: str) -> None:
    state = network.state_dict()
    if form == "safetensors":
        pytest.importorskip("safetensors.torch").save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")


def assert_close(ours, theirs) -> None:
    """To 1e-4 of what they measure."""
    scale = max(1.0, float(np.abs(theirs).max()))
    np.testing.assert_allclose(np.asarray(ours) / scale, theirs / scale, atol=1e-4)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_every_output_is_pytorchs(pair, training, tmp_path):
    theirs = twins.randomise(pair.theirs())
    channels = next(theirs.parameters()).shape[1]
    image, path = make_image(pair.size, channels), tmp_path / "weights.pth"
    save(theirs, path, "zip")
    ours = pair.ours.clone(dropout=0.0) if isinstance(pair.ours, VGG) else pair.ours
    for module in theirs.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    params = loaded(ours, image, path)
    theirs.train(training)
    modules = dict(theirs.named_modules())
    wanted, maps = twins.ask(theirs, image, {s: modules[m] for s, m in pair.stages.items()})
    keys = jax.random.split(jax.random.key(0), len(image)) if training else None
    apply = jax.jit(functools.partial(ours.apply, mutable=["statistics"]))
    (outputs, features), changed = apply({"params": params}, image, keys)
    assert_close(outputs, wanted)
    assert features.keys() == maps.keys() and ours.last_stage == [*maps][-1]
    for name, theirs_map in maps.items():
        if pair.stages[name] == "features.norm5":
            theirs_map = np.maximum(theirs_map, 0)
        assert_close(features[name], theirs_map)
    # The running statistics move as theirs do, and only in training.
    after = {k: v.numpy() for k, v in theirs.state_dict().items() if "running" in k}
    moved = changed.get("statistics", {})
    assert {f"{layer}.{name}" for layer in moved for name in moved[layer]} == (
        set(after) if training else set()
    )
    for layer in moved:
        for name, value in moved[layer].items():
            assert_close(value, after[f"{layer}.{name}"])


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_every_form_of_file_says_the_same(form, tmp_path):
    theirs = twins.randomise(twins.densenet(3, 2, block_config=(1, 1), growth_rate=4))
    path = tmp_path / ("weights.safetensors" if form == "safetensors" else "weights.pt")
    save(theirs, path, form)
    read = torch_weights.read(path)
    state = theirs.state_dict()
    assert read.keys() == state.keys()
    for name, tensor in state.items():
        np.testing.assert_array_equal(read[name], tensor.numpy())


@pytest.mark.parametrize("legacy", [False, True])
def test_views_types_and_training_checkpoints(legacy, tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    state = {
        "view": base[1:3, ::2].T,
        "half": base.half(),
        "bfloat": base.bfloat16(),
        "long": torch.arange(5),
        "scalar": torch.tensor(7.0),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(base),
    }
    path = tmp_path / "checkpoint.pth"
    torch.save({"state_dict": state, "epoch": 3}, path, _use_new_zipfile_serialization=not legacy)
    read = torch_weights.read(path)
    assert read.keys() == state.keys()
    for name, tensor in state.items():
        np.testing.assert_array_equal(
            np.asarray(read[name], np.float32), tensor.detach().float().numpy()
        )


def test_a_whole_model_is_refused(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(twins.densenet(3, 1, block_config=(1,)), path)
    with pytest.raises(torch_weights.InputError, match="torchvision.*state_dict"):
        torch_weights.read(path)


def test_gradients_are_pytorchs(tmp_path):
    """Of the logits with respect to the image, which everything here is made of."""
    theirs = twins.randomise(twins.resnet(2, 1, blocks=(1, 1, 1, 1))).eval()
    path, image = tmp_path / "weights.pth", make_image(40, 1)
    save(theirs, path, "zip")
    ours = ResNet(2, blocks=(1, 1, 1, 1))
    params = loaded(ours, image, path)
    gradient = jax.jit(jax.grad(lambda x: ours.apply({"params": params}, x)[0][:, 0].sum()))
    x = twins.to_torch(image).requires_grad_()
    theirs(x)[:, 0].sum().backward()
    assert_close(gradient(jnp.asarray(image)), x.grad.numpy().transpose(0, 2, 3, 1))


@pytest.mark.parametrize("form", ["model", "state dict"])
def test_the_script_that_converts_a_published_file(form, tmp_path):
    theirs = twins.randomise(twins.densenet(2, 1, block_config=(1,), growth_rate=4))
    expected = dict(theirs.state_dict())
    for module in theirs.modules():  # as PyTorch before 1.6 pickled them
        del module._non_persistent_buffers_set
    path, output = tmp_path / "model.pt", tmp_path / "model.safetensors"
    torch.save(theirs if form == "model" else expected, path)
    script = ROOT / "scripts" / "torchxrayvision_to_safetensors.py"
    package = tmp_path / "torchxrayvision"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "models.py").write_text(
        "model_urls = {'all': {'labels': ['Effusion', 'Pneumonia'],"
        " 'op_threshs': [0.25, float('nan')], 'input_resolution': 64}}"
    )
    # The model's classes are found as this test found them.
    command = f"import runpy, torch_twins; runpy.run_path({str(script)!r}, run_name='__main__')"
    arguments = [sys.executable, "-c", command, f"--model={path}", f"--output={output}"]
    arguments += ["--weights=all"]
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parent)])
    result = subprocess.run(
        arguments, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths}
    )
    assert result.returncode == 0, result.stderr
    described = ["outputs=2 input_size=64", "  0  Effusion  0.25", "  1  Pneumonia  nan"]
    assert result.stdout.splitlines()[1:] == described
    read = torch_weights.read(output)
    assert read.keys() >= expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(read[name], tensor.numpy())
