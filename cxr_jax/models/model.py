"""A network and its parameters as one value."""

from typing import Any

import flax
import flax.linen as nn

from cxr_jax.types import Params


@flax.struct.dataclass
class Model:
    """A network that can be called: a pytree whose leaves are its parameters.

    As equinox's modules are, so that trained networks travel through `jax.jit`, `jax.pmap` and
    `jax.grad` as one argument.

    Attributes:
      network: the Linen module; static.
      params: its collection `params`.
    """

    network: nn.Module = flax.struct.field(pytree_node=False)
    params: Params

    def __call__(self, *inputs: Any, **keywords: Any) -> Any:
        """What the network answers."""
        return self.network.apply({"params": self.params}, *inputs, **keywords)
