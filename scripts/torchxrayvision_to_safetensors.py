"""Turns a pickled PyTorch model, as TorchXRayVision publishes them, into a .safetensors file.

Run it where PyTorch and the package that defines the model are installed:

python scripts/torchxrayvision_to_safetensors.py --model=MODEL.pt --output=MODEL.safetensors

A pickled model runs code when it is loaded: convert only a file whose source you trust. What comes
out is arrays alone. The outputs are listed with the probability from which the model's authors call
each of them present: `convention.positive_output` and `convention.threshold` of
`config.classifier`.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file


def load_model(path: Path) -> torch.nn.Module:
    """A model pickled whole. Runs what the file says."""
    model = torch.load(path, map_location="cpu", weights_only=False)
    if not isinstance(model, torch.nn.Module):
        raise SystemExit(f"{path} holds no model; cxr_jax reads a state dict as it is")
    return model


def describe(model: torch.nn.Module) -> list[str]:
    """One line for each named output; TorchXRayVision keeps the names in `pathologies`."""
    names = list(getattr(model, "pathologies", []))
    thresholds = getattr(model, "op_threshs", None)
    if thresholds is None:
        return [f"{i:3d}  {name}" for i, name in enumerate(names)]
    pairs = zip(names, thresholds.tolist(), strict=True)
    return [f"{i:3d}  {name}  {threshold:.4g}" for i, (name, threshold) in enumerate(pairs)]


def main() -> None:
    """Converts one file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="the pickled model")
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors file")
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    # A copy of each: tensors that share memory are refused.
    tensors = {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, arguments.output)
    print(f"{arguments.output}: {len(tensors)} tensors")
    print(*describe(model), sep="\n")


if __name__ == "__main__":
    main()
