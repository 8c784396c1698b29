"""DenseNet (Huang et al., CVPR 2017), as torchvision and TorchXRayVision define it."""

import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float

from cxr_jax.models.blocks import Map
from cxr_jax.models.published.torch_layers import (
    BatchNorm,
    Conv,
    Linear,
    identity,
    max_pool_3,
    mean_pool_2,
    stage,
)
from cxr_jax.types import AnyArray, FeatureMaps, Keys


class DenseNet(nn.Module):
    """DenseNet-121 with its default fields.

    Attributes:
      outputs: logits; TorchXRayVision's networks have 18, ImageNet's 1000.
      blocks: dense layers in each block; the sizes are 1/4, 1/8, 1/16, 1/32 of the image's.
      growth: channels that a dense layer adds.
      bottleneck: channels of its 1x1 convolution, in `growth`.
      stem: channels of the first convolution.
      total: sums over the devices, for the batch statistics.
    """

    outputs: int
    blocks: Sequence[int] = (6, 12, 24, 16)
    growth: int = 32
    bottleneck: int = 4
    stem: int = 64
    total: Callable[[jax.Array], jax.Array] = identity
    dtype: DTypeLike = jnp.float32

    head = ("classifier",)  # layers that belong to the outputs; not a field

    @property
    def last_stage(self) -> str:
        """The name of the feature map before the head."""
        return f"stage_{len(self.blocks)}"

    @nn.compact
    def __call__(
        self, image: Map, keys: Keys | None = None
    ) -> tuple[Float[AnyArray, "b outputs"], FeatureMaps]:
        """Returns the logits and the feature maps `stage_1`, ... (the output of each block).

        The last is taken after the final norm and ReLU. The collection `perturbations`, where
        given, is added to the maps of the same names.

        Args:
          image: any number of channels.
          keys: of each example, given in training only: batch statistics are used then.
        """
        train = keys is not None
        conv = functools.partial(Conv, dtype=self.dtype)

        def norm(name: str, x: Map) -> Map:
            layer = BatchNorm(total=self.total, dtype=self.dtype, name=f"features.{name}")
            return nn.relu(layer(x, train))

        features: dict[str, Map] = {}
        x = norm("norm0", conv(self.stem, 7, stride=2, name="features.conv0")(image))
        x = max_pool_3(x)
        for block, layers in enumerate(self.blocks, start=1):
            for layer in range(1, layers + 1):
                name = f"denseblock{block}.denselayer{layer}"
                y = norm(f"{name}.norm1", x)
                y = conv(self.bottleneck * self.growth, 1, name=f"features.{name}.conv1")(y)
                y = norm(f"{name}.norm2", y)
                y = conv(self.growth, 3, name=f"features.{name}.conv2")(y)
                x = jnp.concatenate([x, y], axis=-1)
            if block < len(self.blocks):
                x = stage(self, features, x)
                name = f"transition{block}"
                x = norm(f"{name}.norm", x)
                x = mean_pool_2(conv(x.shape[-1] // 2, 1, name=f"features.{name}.conv")(x))
        x = stage(self, features, norm("norm5", x))
        pooled = x.astype(jnp.float32).mean(axis=(1, 2))
        return Linear(self.outputs, name="classifier")(pooled), features
