"""The reference definitions in PyTorch, with random weights and random BatchNorm statistics.

Import it after `pytest.importorskip("torch")`.
"""

import importlib
import sys
from collections.abc import Callable
from unittest import mock

import numpy as np
import torch


def import_models():
    """torchvision.models; its compiled operators, which no classifier needs, may be unusable."""
    try:
        return importlib.import_module("torchvision.models")
    except RuntimeError:  # built for another PyTorch: it describes operators that it did not load
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        with mock.patch.object(torch.library, "register_fake", lambda name: lambda fake: fake):
            return importlib.import_module("torchvision.models")


models = import_models()


def densenet(outputs: int, channels: int, **fields) -> torch.nn.Module:
    """DenseNet-121, of any number of channels as TorchXRayVision's."""
    chosen = dict(growth_rate=32, block_config=(6, 12, 24, 16), num_init_features=64) | fields
    network = models.DenseNet(num_classes=outputs, **chosen)
    stem = chosen["num_init_features"]
    network.features.conv0 = torch.nn.Conv2d(channels, stem, 7, 2, 3, bias=False)
    return network


def resnet(outputs: int, channels: int, blocks=(3, 4, 6, 3)) -> torch.nn.Module:
    """ResNet-50."""
    network = models.ResNet(models.resnet.Bottleneck, list(blocks), num_classes=outputs)
    network.conv1 = torch.nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    return network


def vgg(
    outputs: int,
    channels: int,
    hidden=(4096, 4096, 1024, 256, 64),
    blocks=(2, 2, 3, 3, 3),
    widths=(64, 128, 256, 512, 512),
    dropout=0.5,
) -> torch.nn.Module:
    """VGG16 with a head of these hidden layers."""
    layers = sum(([w] * n + ["M"] for n, w in zip(blocks, widths, strict=True)), [])
    trunk = models.vgg.make_layers(layers)
    trunk[0] = torch.nn.Conv2d(channels, widths[0], 3, padding=1)
    network = models.VGG(trunk, num_classes=outputs, dropout=dropout)
    sizes, head = [widths[-1] * 49, *hidden], []
    for into, out in zip(sizes, hidden, strict=False):
        head += [torch.nn.Linear(into, out), torch.nn.ReLU(), torch.nn.Dropout(dropout)]
    network.classifier = torch.nn.Sequential(*head, torch.nn.Linear(sizes[-1], outputs))
    return network


def randomise(network: torch.nn.Module) -> torch.nn.Module:
    """Draws every parameter and every running statistic, so that activations keep their size."""
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        noise = torch.randn(value.shape, generator=generator)
        if value.ndim > 1:
            value.copy_(noise * (2 / value[0].numel()) ** 0.5)
        elif name.endswith("running_var"):
            value.copy_(torch.exp(0.3 * noise))
        elif name.endswith("weight"):
            value.copy_(1 + 0.2 * noise)
        else:
            value.copy_(0.2 * noise)
    return network


def to_torch(image) -> torch.Tensor:
    """[b, h, w, c] -> [b, c, h, w]."""
    return torch.from_numpy(np.ascontiguousarray(np.asarray(image).transpose(0, 3, 1, 2)))


def ask(network: torch.nn.Module, image, layers: dict[str, Callable]) -> tuple[np.ndarray, dict]:
    """The outputs, and what the named modules return [b, h, w, c] by the names of their stages."""
    seen, hooks = {}, []
    for stage, module in layers.items():

        def keep(module, inputs, output, stage=stage):
            seen[stage] = output.detach().numpy().transpose(0, 2, 3, 1).copy()

        hooks.append(module.register_forward_hook(keep))
    with torch.no_grad():
        outputs = network(to_torch(image)).numpy()
    for hook in hooks:
        hook.remove()
    return outputs, seen
