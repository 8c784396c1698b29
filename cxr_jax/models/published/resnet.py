"""ResNet with bottleneck blocks (He et al., CVPR 2016), as torchvision defines it.

The stride of a block is on its 3x3 convolution.
"""

import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float

from cxr_jax.models.blocks import AnyMap, Map
from cxr_jax.models.published.torch_layers import (
    BatchNorm,
    Conv,
    Linear,
    identity,
    max_pool_3,
    stage,
)
from cxr_jax.types import AnyArray, FeatureMaps, Keys

EXPANSION = 4  # channels that leave a block, in those of its 3x3 convolution


class ResNet(nn.Module):
    """ResNet-50 with its default fields.

    Attributes:
      outputs: logits; ImageNet's networks have 1000.
      blocks: of each stage; the sizes are 1/4, 1/8, 1/16, 1/32 of the image's.
      width: channels of the stem and of the first stage's 3x3 convolutions, doubled by each stage.
      total: sums over the devices, for the batch statistics.
    """

    outputs: int
    blocks: Sequence[int] = (3, 4, 6, 3)
    width: int = 64
    total: Callable[[jax.Array], jax.Array] = identity
    dtype: DTypeLike = jnp.float32

    head = ("fc",)  # layers that belong to the outputs; not a field

    @property
    def last_stage(self) -> str:
        """The name of the feature map before the head."""
        return f"stage_{len(self.blocks)}"

    @nn.compact
    def __call__(
        self, image: Map, keys: Keys | None = None
    ) -> tuple[Float[AnyArray, "b outputs"], FeatureMaps]:
        """Returns the logits and the feature maps `stage_1`, ... (the output of each stage).

        The collection `perturbations`, where given, is added to the maps of the same names.

        Args:
          image: any number of channels.
          keys: of each example, given in training only: batch statistics are used then.
        """
        conv = functools.partial(Conv, dtype=self.dtype)

        def norm(name: str, x: Map) -> Map:
            layer = BatchNorm(total=self.total, dtype=self.dtype, name=name)
            return layer(x, train=keys is not None)

        def bottleneck(name: str, x: Map, width: int, *, stride: int) -> AnyMap:
            y = nn.relu(norm(f"{name}.bn1", conv(width, 1, name=f"{name}.conv1")(x)))
            y = nn.relu(norm(f"{name}.bn2", conv(width, 3, stride, name=f"{name}.conv2")(y)))
            y = norm(f"{name}.bn3", conv(EXPANSION * width, 1, name=f"{name}.conv3")(y))
            if y.shape != x.shape:
                x = conv(EXPANSION * width, 1, stride, name=f"{name}.downsample.0")(x)
                x = norm(f"{name}.downsample.1", x)
            return nn.relu(x + y)

        features: dict[str, Map] = {}
        x = nn.relu(norm("bn1", conv(self.width, 7, 2, name="conv1")(image)))
        x = max_pool_3(x)
        for level, blocks in enumerate(self.blocks):
            for block in range(blocks):
                stride = 2 if level > 0 and block == 0 else 1
                x = bottleneck(f"layer{level + 1}.{block}", x, self.width << level, stride=stride)
            x = stage(self, features, x)
        pooled = x.astype(jnp.float32).mean(axis=(1, 2))
        return Linear(self.outputs, name="fc")(pooled), features
