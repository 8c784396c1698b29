"""Which numeric types a network may compute in; what it returns is float32 all the same.

bfloat16 has the range of float32, so gradients need no scaling; float16 has not, and is refused.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax
import ml_collections

DTYPES = ("float32", "bfloat16")


def dtype_sections(config: ml_collections.ConfigDict) -> dict[str, ml_collections.ConfigDict]:
    """Those with a field `dtype`, by name."""
    sections = {name: config[name] for name in ("classifier", "judge", "gan")}
    for name in ("segmenter", "regressor", "robust"):
        sections[f"evaluators.{name}"] = config.evaluators[name]
    return sections


def in_float32(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The same networks, computing in float32.

    Whatever they were trained in, so are films explained: the speed of a walk is a small difference
    of two images, and in bfloat16 it is mostly rounding.
    """
    config = config.copy_and_resolve_references()
    for section in dtype_sections(config).values():
        section.dtype = "float32"
    return config


def exactly(fn: Callable) -> Callable:
    """`fn` with float32 products in full: accelerators would round the factors to fewer bits.

    Of a generator too, whose body runs after it was called.
    """
    if not inspect.isgeneratorfunction(fn):
        return jax.default_matmul_precision("float32")(fn)

    @functools.wraps(fn)
    def generate(*inputs: Any, **keywords: Any) -> Iterator:
        with jax.default_matmul_precision("float32"):
            yield from fn(*inputs, **keywords)

    return generate
