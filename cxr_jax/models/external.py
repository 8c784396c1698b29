"""A function of the user's own as a classifier: no parameters of ours, no feature maps."""

from collections.abc import Callable

import flax.linen as nn
from jaxtyping import Float

from cxr_jax.models.published.adapter import read_margin
from cxr_jax.types import AnyArray, FeatureMaps, Image, Keys, Margin


class External(nn.Module):
    """A function behind the classifiers' interface.

    Attributes:
      function: a differentiable JAX function from images [b, h, w, 1] in [-1, 1] to a margin [b],
        or to logits [b, outputs].
      positive_output, negative_output, threshold: see `adapter.read_margin`.
    """

    function: Callable[[Image], Margin | Float[AnyArray, "b outputs"]]
    positive_output: int
    negative_output: int
    threshold: float

    last_stage = ""  # there are no maps; not a field

    def __call__(self, image: Image, keys: Keys | None = None) -> tuple[Margin, FeatureMaps]:
        """Returns the margin, and no feature maps."""
        del keys  # nothing is trained
        outputs = self.function(image)
        outputs = outputs.reshape(len(image), -1)
        margin = read_margin(
            outputs,
            positive=self.positive_output,
            negative=self.negative_output,
            threshold=self.threshold,
        )
        return margin, {}
