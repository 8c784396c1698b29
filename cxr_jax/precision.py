"""Which numeric types a network may compute in; what it returns is float32 all the same.

bfloat16 has the range of float32, so gradients need no scaling; float16 has not, and is refused.
"""

import ml_collections

from datasets.errors import InputError

DTYPES = ("float32", "bfloat16")


def check_config(config: ml_collections.ConfigDict) -> None:
    """Raises `InputError` if a field `dtype` is not one of `DTYPES`."""
    sections = {name: config[name] for name in ("classifier", "judge", "gan")}
    for name in ("segmenter", "regressor", "robust"):
        sections[f"evaluators.{name}"] = config.evaluators[name]
    for name, section in sections.items():
        if section.dtype not in DTYPES:
            raise InputError(
                f"config.{name}.dtype is {section.dtype!r}; choose {' or '.join(DTYPES)}"
            )
