"""A published classifier asked as this project asks its own: image in [-1, 1] in, margin out.

Its own convention (size, channels, range of values, which output means the disease) is inside the
network, so that every gradient and every walk goes through it.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from cxr_jax.types import AnyArray, FeatureMaps, Image, Keys, Margin


def read_margin(
    outputs: Float[AnyArray, "b outputs"], *, positive: int, negative: int, threshold: float
) -> Margin:
    """The logit that is explained, positive where the classifier says so.

    Args:
      outputs: logits.
      positive: the output that stands for the disease.
      negative: the output that stands against it, subtracted; -1 for none.
      threshold: the probability in (0, 1) from which the classifier says so. TorchXRayVision gives
        one for each output, far from one half.
    """
    margin = outputs[:, positive].astype(jnp.float32)
    if negative >= 0:
        margin = margin - outputs[:, negative].astype(jnp.float32)
    return margin - np.float32(np.log(threshold / (1 - threshold)))


def present(
    image: Image, size: int, *, channels: int, black: Sequence[float], white: Sequence[float]
) -> Float[AnyArray, "b _ _ {channels}"]:
    """The image as a network expects it.

    Resized bilinearly (smoothed first where it shrinks), grey repeated over the channels.

    Args:
      size: pixels; 0 keeps the image's own.
      black, white: what -1 and 1 become, one number or one for each channel.
    """
    if size not in (0, image.shape[1]):
        image = jax.image.resize(image, (len(image), size, size, 1), "bilinear")
    low, high = (jnp.asarray(end, image.dtype).reshape(1, 1, 1, -1) for end in (black, white))
    values = low + (image + 1) / 2 * (high - low)
    return jnp.broadcast_to(values, (*image.shape[:3], channels))


class Adapted(nn.Module):
    """A backbone behind its convention; their parameters are the backbone's.

    Attributes:
      backbone: (image, keys) to (logits [b, outputs], feature maps by name), see densenet.py.
      input_size, channels, black, white: see `present`.
      positive_output, negative_output, threshold: see `read_margin`.
    """

    backbone: nn.Module
    input_size: int
    channels: int
    black: tuple[float, ...]
    white: tuple[float, ...]
    positive_output: int
    negative_output: int
    threshold: float

    def setup(self) -> None:
        nn.share_scope(self, self.backbone)

    @property
    def last_stage(self) -> str:
        """The name of the feature map before the head."""
        return self.backbone.last_stage

    @property
    def head(self) -> tuple[str, ...]:
        """Layers that belong to the outputs."""
        return self.backbone.head

    def __call__(self, image: Image, keys: Keys | None = None) -> tuple[Margin, FeatureMaps]:
        """Returns the margin and the backbone's feature maps by name.

        Args:
          keys: of each example, given in training only.
        """
        image = present(
            image,
            self.input_size,
            channels=self.channels,
            black=self.black,
            white=self.white,
        )
        outputs, features = self.backbone(image, keys)
        margin = read_margin(
            outputs,
            positive=self.positive_output,
            negative=self.negative_output,
            threshold=self.threshold,
        )
        return margin, features
