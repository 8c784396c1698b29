"""Pictures of result files: NAME.png from NAME.json."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from cxr_jax import plots
from cxr_jax.errors import InputError
from experiments import results


def draw_result(out: Path, name: str, draw: Callable[[Any], Figure]) -> None:
    """Draws the results of a study into the folder where its file lies, and tells where.

    Args:
      draw: results to a figure.

    Raises:
      InputError: if the study has not been run.
    """
    document = results.read(out, name)
    if not document:
        raise InputError(f"{out} has no {name}.json; study {name} measures it")
    path = out / f"{name}.png"
    plots.save(draw(document["results"]), path)
    print(path)
