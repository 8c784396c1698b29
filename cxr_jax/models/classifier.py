"""The classifier that is explained, and (with other fields) the judge that must agree with it."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from cxr_jax.models.blocks import PixelNorm, ResidualBlock, Stem, downsample, full_precision
from cxr_jax.models.half_view import mirror_half
from cxr_jax.types import FeatureMaps, Image, Keys, Margin


class Classifier(nn.Module):
    """A compact residual CNN with one logit.

    Attributes:
      widths: channels at 1/2, 1/4, 1/8, ... of the image size; a residual block from 1/4 on.
      visible: the half of the picture that it is shown, one of `half_view.HALVES`; "" for all of
        it. An explanation that shows evidence in the other half is wrong, whoever looks at it.
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
        """Returns the logit margin and the feature maps `stage_1`, `stage_2`, ... by name.

        The collection `perturbations`, where given, is added to the maps of the same names: a
        gradient with respect to it is one with respect to the maps.

        Args:
          keys: given to any network in training; this one draws nothing.
        """
        del keys
        features = {}
        x = Stem(tuple(self.widths[:2]), dtype=self.dtype)(mirror_half(image, self.visible))
        for stage, width in enumerate(self.widths[1:], start=1):
            x = downsample(x) if stage > 1 else x
            x = ResidualBlock(width, dtype=self.dtype)(x)
            if not self.is_initializing():  # which would list the perturbations beside the params
                x = self.perturb(f"stage_{stage}", x)
            features[f"stage_{stage}"] = full_precision(x)
        x = full_precision(nn.silu(PixelNorm()(x)))
        margin = nn.Dense(1, dtype=jnp.float32)(x.mean(axis=(1, 2)))
        return margin[:, 0], features
