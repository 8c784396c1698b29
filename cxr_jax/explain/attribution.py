"""Maps of where the evidence lies: of a film alone, as baselines, and of a walk's change."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from cxr_jax import necessity
from cxr_jax.models.model import Model
from cxr_jax.types import AnyArray, Classify, Image, Params

# The windows that hold a pixel must change by as much together (sum |change| on the [-1, 1] scale),
# or what f says of undoing them is rounding.
LEAST_CHANGE = 1e-3


def _gradient(classify: Classify, image: Image) -> Image:
    """df/dx of each image."""
    return jax.grad(lambda x: classify(x).sum())(image)


def _total(term: Callable[[Any], Image], steps: Any, like: Image) -> Image:
    """The sum of `term` over steps [k ...], one at a time: memory does not grow with their number.

    `jax.lax.map` and a sum would keep the map of every step.
    """

    def add(sofar: Image, step: Any) -> tuple[Image, None]:
        return sofar + term(step), None

    return jax.lax.scan(add, jnp.zeros_like(like), steps)[0]


# 1. Gradients at images.


def input_gradient(classify: Classify, image: Image) -> Image:
    """|df/dx| (Simonyan et al., 2014)."""
    return jnp.abs(_gradient(classify, image))


def integrated_gradients(
    classify: Classify, image: Image, baseline: Image, *, num_steps: int
) -> Image:
    """Signed shares of f(image) - f(baseline) (Sundararajan et al., 2017).

    (x - x') times the mean gradient on the segment from x' to x, by the midpoint rule: for a smooth
    f the sum over pixels misses the change of f by O(1 / num_steps^2).
    """
    change = image - baseline
    return necessity.evidence_on_the_way(classify, baseline, change, num_steps=num_steps)


def expected_gradients(
    classify: Classify,
    image: Image,
    references: Float[AnyArray, "b m h w 1"],
    *,
    shares: Float[AnyArray, "b m"],
) -> Image:
    """Signed shares of f(image) - mean f(reference) (Erion et al., 2021).

    Integrated gradients from many films instead of one baseline, a single place on each segment.

    Args:
      references: of each image.
      shares: where on the segment from the reference to the image the gradient is taken.
    """

    def one(step: tuple[Image, Float[AnyArray, " b"]]) -> Image:
        reference, share = step
        change = image - reference
        return _gradient(classify, reference + share[:, None, None, None] * change) * change

    steps = jnp.moveaxis(references, 1, 0), shares.T
    return _total(one, steps, like=image) / references.shape[1]


def smooth_grad(classify: Classify, image: Image, noise: Float[AnyArray, "m b h w 1"]) -> Image:
    """The mean signed gradient of noisy copies of the image (Smilkov et al., 2017).

    Args:
      noise: what is added to the image, one copy after the other, on its scale.
    """
    return _total(lambda eps: _gradient(classify, image + eps), noise, like=image) / len(noise)


def latent_integrated_gradients(
    classify: Classify, frames: Float[AnyArray, "k b h w 1"], end: Int[AnyArray, " b"]
) -> Image:
    """Signed shares of f(frame `end`) - f(frame 0): integrated gradients along a walk.

    Path-integrated gradients (Sundararajan et al., 2017, section 3) on the polyline through the
    frames: the sum over segments before `end` of the gradient at the segment's middle times the
    segment.
    """

    def share(k: Int[AnyArray, ""]) -> Image:
        before, after = frames[k], frames[k + 1]
        gain = _gradient(classify, (before + after) / 2) * (after - before)
        return jnp.where((k < end)[:, None, None, None], gain, 0.0)

    return _total(share, jnp.arange(len(frames) - 1), like=frames[0])


# 2. Undoing a change.


def occluded_change(
    classify: Classify, image: Image, counterfactual: Image, *, num_windows: int
) -> Image:
    """|change| * sqrt(what f owes to a unit of it there); never negative.

    Occlusion (Zeiler & Fergus, 2014) without grey patches, which are evidence of their own: in a
    window the counterfactual is given the film's pixels back, and what f rises by is what it
    owes to the change there. A pixel's rate is the rise over the change, sum |change|, of all
    windows that hold it. Change times rate would be the evidence, which f, soon satisfied, finds in
    few places; the geometric mean of it and the change shows the finding to its edges.

    Args:
      image: what f calls more positive than `counterfactual`.
      num_windows: across the image, side by side; between them, and half beyond the borders, lie
        as many more and one.
    """
    margin, size = classify(counterfactual), jnp.abs(counterfactual - image)
    windows = _windows(*image.shape[1:3], num_windows)

    def rise(window: Bool[AnyArray, "1 h w 1"]) -> Image:
        gain = classify(jnp.where(window, image, counterfactual)) - margin
        return window * jax.nn.relu(gain)[:, None, None, None]

    def held(window: Bool[AnyArray, "1 h w 1"]) -> Image:
        return window * (window * size).sum(axis=(1, 2, 3), keepdims=True)

    rate = _total(rise, windows, like=image) / (_total(held, windows, like=image) + LEAST_CHANGE)
    return size * jnp.sqrt(rate)


def occlusion(classify: Classify, image: Image, healthy: Image, *, num_windows: int) -> Image:
    """What f falls by where a window is given a healthy film's pixels (Zeiler & Fergus, 2014).

    The mean over the windows that hold a pixel; never negative.

    Args:
      healthy: what a window is covered with, [1, h, w, 1] or one for each image.
    """
    margin, windows = classify(image), _windows(*image.shape[1:3], num_windows)

    def fall(window: Bool[AnyArray, "1 h w 1"]) -> Image:
        lost = margin - classify(jnp.where(window, healthy, image))
        return window * jax.nn.relu(lost)[:, None, None, None]

    return _total(fall, windows, like=image) / 4  # every pixel lies in four


def _windows(height: int, width: int, num_windows: int) -> Bool[AnyArray, "m 1 h w 1"]:
    """Windows half their side apart, the outermost half outside: every pixel lies in four."""
    start = np.arange(-1, 2 * num_windows)[:, None] / 2  # in windows, as are the pixels' centres
    place = [(np.arange(side) + 0.5) * num_windows / side for side in (height, width)]
    rows, columns = ((start <= at) & (at < start + 1) for at in place)
    grid = rows[:, None, :, None] & columns[None, :, None, :]
    return jnp.asarray(grid.reshape(-1, 1, height, width, 1))


# 3. Gradients at a feature map.


def grad_cam(classifier: Model, image: Image, stage: str) -> Image:
    """ReLU(sum over c of mean_hw(df/dA_c) A_c) of the feature maps A (Selvaraju et al., 2017).

    Upsampled bilinearly to the image.

    Args:
      classifier: returns (margin, feature maps by name) and calls `perturb` on each map by name.
      stage: the name of A.
    """
    maps, gradient = _at_stage(classifier, image, stage)
    weight = gradient.mean(axis=(1, 2), keepdims=True)
    return _upsample(nn.relu((weight * maps).sum(axis=-1, keepdims=True)), image)


def layer_cam(classifier: Model, image: Image, stage: str) -> Image:
    """ReLU(sum over c of ReLU(df/dA_c) A_c) of the feature maps A (Jiang et al., 2021).

    Each place has a weight of its own, so that finer maps than the last make sense; see `grad_cam`.
    """
    maps, gradient = _at_stage(classifier, image, stage)
    return _upsample(nn.relu((nn.relu(gradient) * maps).sum(axis=-1, keepdims=True)), image)


def _upsample(evidence: Float[AnyArray, "b p q 1"], image: Image) -> Image:
    return jax.image.resize(evidence, image.shape, "bilinear")


def _at_stage(
    classifier: Model, image: Image, stage: str
) -> tuple[Float[AnyArray, "b p q c"], Float[AnyArray, "b p q c"]]:
    """Feature maps and the margin's gradient with respect to them."""
    (_, features), zeros = classifier(image, mutable=["perturbations"])

    def margin(perturbations: Params) -> Float[AnyArray, ""]:
        variables = {"params": classifier.params, **perturbations}
        return classifier.network.apply(variables, image)[0].sum()

    gradients = jax.grad(margin)(zeros)["perturbations"]
    maps, gradient = (tree[stage].astype(jnp.float32) for tree in (features, gradients))
    return maps, gradient
