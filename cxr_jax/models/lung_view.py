"""Lungs alone: a classifier that is shown nothing else of a film, as a segmenter finds them."""

import flax.linen as nn
import jax.numpy as jnp

from cxr_jax.types import FeatureMaps, Image, Keys, Margin, Mask

LUNGS = "lungs"  # as `visible` of a classifier, beside `half_view.HALVES`
RIM = 1 / 32  # of an image's side: what is seen around lungs, whose edge is part of a finding
HIDDEN = 0.0  # what every other pixel becomes: a grey between black and white


class LungView(nn.Module):
    """A classifier that is shown a film's lungs and a rim around them, and grey elsewhere.

    The mask is a threshold, so f has no gradient by way of it, and none outside it: an explanation
    that shows evidence there is wrong, on any film, but for one thing: a change that moves the
    outline is felt, and no gradient tells it.

    Attributes:
      classifier: its parameters stand beside those of `segmenter`, as if there were no view.
      segmenter: image to the logits of "lung"; trained before, and not with the classifier. Its
        parameters are named `segmenter`.
    """

    classifier: nn.Module
    segmenter: nn.Module

    def setup(self) -> None:
        nn.share_scope(self, self.classifier)

    @property
    def last_stage(self) -> str:
        """The name of the feature map before the logit."""
        return self.classifier.last_stage

    def __call__(self, image: Image, keys: Keys | None = None) -> tuple[Margin, FeatureMaps]:
        """Returns the classifier's margin and feature maps of what it is shown."""
        return self.classifier(jnp.where(self.seen(image), image, HIDDEN), keys)

    def seen(self, image: Image) -> Mask:
        """The pixels that the classifier is shown."""
        return widen(self.segmenter(image) > 0, rim_pixels(image.shape[1]))


def rim_pixels(size: int) -> int:
    """`RIM` of an image of so many pixels a side."""
    return max(round(RIM * size), 1)


def widen(mask: Mask, pixels: int) -> Mask:
    """The masks and every pixel at most so many rows and columns from them."""
    window = (2 * pixels + 1, 2 * pixels + 1)
    return nn.max_pool(mask.astype(jnp.float32), window, padding="SAME") > 0
