"""JAX rebuilds the package's trees without their constructors; to be imported before the package.

The test suite checks arguments and fields against their annotations. JAX puts anything in the
place of a tree's arrays (shapes, axes, None) and calls the constructor with it. As with equinox's
modules, only what our own code constructs is checked.
"""

import jax

_register_dataclass = jax.tree_util.register_dataclass


def register_dataclass(nodetype: type, *fields, **options) -> type:
    """`jax.tree_util.register_dataclass`, which `flax.struct.dataclass` calls."""
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
