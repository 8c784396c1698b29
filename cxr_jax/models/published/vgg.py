"""VGG (Simonyan & Zisserman, ICLR 2015): torchvision's trunk, with any head.

Dravid & Katsaggelos (AAAI 2022) explain a VGG16 whose head has 4096, 4096, 1024, 256, 64 and 2
units; ImageNet's has 4096, 4096 and 1000.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float

from cxr_jax.models.blocks import Map
from cxr_jax.models.published.torch_layers import (
    Conv,
    Linear,
    adaptive_mean_pool,
    dropout,
    max_pool_2,
    stage,
)
from cxr_jax.types import AnyArray, FeatureMaps, Keys

POOLED = 7  # rows and columns that the head sees


class VGG(nn.Module):
    """VGG16 with the paper's head and its default fields.

    Attributes:
      outputs: logits.
      hidden: units of the head before them.
      blocks: convolutions of each block; the sizes are 1, 1/2, 1/4, 1/8, 1/16 of the image's.
      widths: channels of each block.
      dropout: probability, after every hidden layer of the head.
    """

    outputs: int
    hidden: Sequence[int] = (4096, 4096, 1024, 256, 64)
    blocks: Sequence[int] = (2, 2, 3, 3, 3)
    widths: Sequence[int] = (64, 128, 256, 512, 512)
    dropout: float = 0.5
    dtype: DTypeLike = jnp.float32

    @property
    def head(self) -> tuple[str, ...]:
        """Layers that belong to the outputs."""
        return tuple(f"classifier.{3 * i}" for i in range(len(self.hidden) + 1))

    @property
    def last_stage(self) -> str:
        """The name of the feature map before the head."""
        return f"stage_{len(self.blocks)}"

    @nn.compact
    def __call__(
        self, image: Map, keys: Keys | None = None
    ) -> tuple[Float[AnyArray, "b outputs"], FeatureMaps]:
        """Returns the logits and the feature maps `stage_1`, ... (each block's, before its pool).

        The collection `perturbations`, where given, is added to the maps of the same names.

        Args:
          image: any number of channels.
          keys: of each example, given in training only: the head's units are dropped then.
        """
        features: dict[str, Map] = {}
        x, index = image, 0
        for convolutions, width in zip(self.blocks, self.widths, strict=True):
            for _ in range(convolutions):
                name = f"features.{index}"
                x = nn.relu(Conv(width, 3, use_bias=True, dtype=self.dtype, name=name)(x))
                index += 2  # each ReLU has a number too, and so has the pool
            x = max_pool_2(stage(self, features, x))
            index += 1
        x = adaptive_mean_pool(x, POOLED)
        x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)  # in PyTorch's order
        for layer, (name, units) in enumerate(zip(self.head, self.hidden, strict=False)):
            x = nn.relu(Linear(units, dtype=self.dtype, name=name)(x))
            x = dropout(x, self.dropout, keys, layer=layer)
        return Linear(self.outputs, name=self.head[-1])(x.astype(jnp.float32)), features
