"""The package's annotations are checked while it is tested; to be imported before the package.

Arguments, results and fields must be what they are annotated with, arrays by type, axes and sizes.
"""

from pathlib import Path

import jax
import jaxtyping

# The drawing of phantoms knows no axes, and with checks of its single numbers it takes six times as
# long.
NOT_CHECKED = {"datasets"}
PACKAGE = Path(__file__).parents[1] / "cxr_jax"
# An int will do for a float.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"

_register_dataclass = jax.tree_util.register_dataclass


def register_dataclass(nodetype: type, *fields, **options) -> type:
    """`jax.tree_util.register_dataclass`, but JAX calls no constructor of the package.

    JAX puts anything in the place of a tree's arrays (shapes, axes, None) and gives it to the
    constructor. As with equinox's modules, only what our own code constructs is checked.
    """
    if not nodetype.__module__.startswith("cxr_jax."):
        return _register_dataclass(nodetype, *fields, **options)
    data_fields, meta_fields = map(tuple, fields)

    def flatten_with_keys(node):
        data = [(jax.tree_util.GetAttrKey(name), getattr(node, name)) for name in data_fields]
        return data, tuple(getattr(node, name) for name in meta_fields)

    def unflatten(meta, data):
        node = object.__new__(nodetype)
        for name, value in zip((*meta_fields, *data_fields), (*meta, *data), strict=True):
            object.__setattr__(node, name, value)
        return node

    jax.tree_util.register_pytree_with_keys(nodetype, flatten_with_keys, unflatten)
    return nodetype


jax.tree_util.register_dataclass = register_dataclass
jaxtyping.install_import_hook(
    [f"cxr_jax.{path.stem}" for path in sorted(PACKAGE.iterdir()) if path.stem not in NOT_CHECKED],
    CHECKER,
)
