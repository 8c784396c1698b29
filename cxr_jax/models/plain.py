"""A plain classifier of another kind than `classifier.Classifier`: a judge of its own mind."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from cxr_jax.models.blocks import Conv3, PixelNorm, full_precision, space_to_depth
from cxr_jax.models.half_view import mirror_half
from cxr_jax.types import FeatureMaps, Image, Keys, Margin


class PlainClassifier(nn.Module):
    """Stacked convolutions with ReLU and max-pooling (Simonyan & Zisserman, 2015); one logit.

    No skip connections; the maximum over the image counts beside its mean, so that one lesion is
    as good as many.

    Attributes:
      widths: channels at 1/2, 1/4, 1/8, ... of the image size.
      visible: see `classifier.Classifier`.
    """

    widths: Sequence[int]
    visible: str = ""
    dtype: DTypeLike = jnp.float32

    @property
    def last_stage(self) -> str:
        """The name of the feature map before the logit."""
        return f"stage_{len(self.widths) - 1}"

    @nn.compact
    def __call__(self, image: Image, keys: Keys | None = None) -> tuple[Margin, FeatureMaps]:
        """As of `classifier.Classifier`."""
        del keys
        features = {}
        x = space_to_depth(mirror_half(image, self.visible))
        x = nn.relu(Conv3(self.widths[0], dtype=self.dtype)(x))
        for stage, width in enumerate(self.widths[1:], start=1):
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
            for _ in range(2):
                x = nn.relu(PixelNorm()(Conv3(width, dtype=self.dtype)(x)))
            if not self.is_initializing():
                x = self.perturb(f"stage_{stage}", x)
            features[f"stage_{stage}"] = full_precision(x)
        x = full_precision(x)
        seen = jnp.concatenate([x.mean(axis=(1, 2)), x.max(axis=(1, 2))], axis=-1)
        return nn.Dense(1, dtype=jnp.float32)(seen)[:, 0], features
