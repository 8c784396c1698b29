"""Turns a PyTorch file, as TorchXRayVision publishes them, into a .safetensors file.

Its DenseNets are models pickled whole, its ResNet is a state dict.

Run it where PyTorch and TorchXRayVision, which defines the models, are installed:

python scripts/torchxrayvision_to_safetensors.py --model=MODEL.pt \\
    --weights=densenet121-res224-all --output=MODEL.safetensors

`--weights` is the package's name for the file; its table knows the outputs, the file does not.
A pickled model runs code when it is loaded: convert only a file whose source you trust. What comes
out is arrays alone. The outputs are listed with the probability from which the model's authors call
each of them present (nan: an output that was not trained): `convention.positive_output` and
`convention.threshold` of `config.classifier`. Before them stand `convention.outputs` and, where the
package tells it, `convention.input_size`.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torchxrayvision.models import model_urls


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a state dict, or of a model pickled whole. Runs what the file says."""
    model = torch.load(path, map_location="cpu", weights_only=False)
    if isinstance(model, dict) and all(isinstance(one, torch.Tensor) for one in model.values()):
        return model
    if not isinstance(model, torch.nn.Module):
        raise SystemExit(f"{path} holds neither a model nor a state dict")
    # Modules pickled by PyTorch before 1.6 lack what their state_dict() asks for today.
    for module in model.modules():
        if not hasattr(module, "_non_persistent_buffers_set"):
            module._non_persistent_buffers_set = set()
    return model.state_dict()


def describe(weights: str) -> list[str]:
    """What the package's table of published models knows of one: a line each, the outputs last."""
    if weights not in model_urls:
        raise SystemExit(f"--weights={weights} is none of {', '.join(model_urls)}")
    entry = model_urls[weights]
    names = list(entry["labels"])
    thresholds = list(entry.get("op_threshs", [float("nan")] * len(names)))
    lines = [f"outputs={len(names)}"]
    if "input_resolution" in entry:
        lines[0] += f" input_size={entry['input_resolution']}"
    pairs = enumerate(zip(names, thresholds, strict=True))
    return lines + [f"{i:3d}  {name}  {threshold:.4g}" for i, (name, threshold) in pairs]


def main() -> None:
    """Converts one file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="the published file")
    parser.add_argument("--weights", help="its name in the package")
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors file")
    arguments = parser.parse_args()
    lines = describe(arguments.weights) if arguments.weights else []
    tensors = load_tensors(arguments.model)
    # A copy of each: tensors that share memory are refused.
    tensors = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    save_file(tensors, arguments.output)
    print(f"{arguments.output}: {len(tensors)} tensors")
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
