"""Turns a pickled PyTorch model, as TorchXRayVision publishes them, into a .safetensors file.

Run it where PyTorch and TorchXRayVision, which defines the models, are installed:

python scripts/torchxrayvision_to_safetensors.py --model=MODEL.pt \\
    --weights=densenet121-res224-all --output=MODEL.safetensors

`--weights` is the package's name for the file; its table knows the outputs, the file does not.
A pickled model runs code when it is loaded: convert only a file whose source you trust. What comes
out is arrays alone. The outputs are listed with the probability from which the model's authors call
each of them present (nan: an output that was not trained): `convention.positive_output` and
`convention.threshold` of `config.classifier`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torchxrayvision.models import model_urls


def load_model(path: Path) -> torch.nn.Module:
    """A model pickled whole. Runs what the file says."""
    model = torch.load(path, map_location="cpu", weights_only=False)
    if not isinstance(model, torch.nn.Module):
        raise SystemExit(f"{path} holds no model; cxr_jax reads a state dict as it is")
    # Modules pickled by PyTorch before 1.6 lack what their state_dict() asks for today.
    for module in model.modules():
        if not hasattr(module, "_non_persistent_buffers_set"):
            module._non_persistent_buffers_set = set()
    return model


def known_outputs(weights: str) -> tuple[list[str], list[float]]:
    """Names and thresholds of the outputs, from the table of the package's published models."""
    if weights not in model_urls:
        raise SystemExit(f"--weights={weights} is none of {', '.join(model_urls)}")
    entry = model_urls[weights]
    names = list(entry["labels"])
    return names, list(entry.get("op_threshs", [float("nan")] * len(names)))


def describe(names: Sequence[str], thresholds: Sequence[float]) -> list[str]:
    """One line for each output."""
    pairs = enumerate(zip(names, thresholds, strict=True))
    return [f"{i:3d}  {name}  {threshold:.4g}" for i, (name, threshold) in pairs]


def main() -> None:
    """Converts one file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="the pickled model")
    parser.add_argument("--weights", help="its name in the package")
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors file")
    arguments = parser.parse_args()
    outputs = known_outputs(arguments.weights) if arguments.weights else ([], [])
    model = load_model(arguments.model)
    # A copy of each: tensors that share memory are refused.
    tensors = {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, arguments.output)
    print(f"{arguments.output}: {len(tensors)} tensors")
    print(*describe(*outputs), sep="\n")


if __name__ == "__main__":
    main()
