"""The films that are explained: what f and h say of them, their latents, and the gate.

A film is *not explainable* where its reconstruction is not seen by f or by h as the film is, or
where the lungs are drawn worse than this generator draws validation films': a walk from there would
explain another image. The latter says nothing of how well the generator draws at all.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cxr_jax import invert, metrics
from cxr_jax.data import to_unit_range
from cxr_jax.gan_objective import Networks
from cxr_jax.grading import Scale
from cxr_jax.train_encoder import first_guess, make_target
from cxr_jax.types import Image, Margin, Params, Pixels, Render, Severity, Structure


class Trained(NamedTuple):
    """Everything that was learned before explaining, as arrays.

    Attributes:
      robust: of the adversarially trained classifier; None where it was not trained.
    """

    classifier: Params
    judge: Params
    generator: Params
    encoder: Params
    scale: Scale
    robust: Params | None = None


class Films(NamedTuple):
    """Films and their inversions; N rows each.

    Attributes:
      image: the film in [-1, 1].
      margin, judged: f and h on it.
      structure, severity: z_structure and z_class.
      drawn: G(z_structure, z_class).
      drawn_margin, drawn_judged: f and h on `drawn`.
      origin: G(z_structure, 0), the film without what f reacts to.
    """

    image: Image
    margin: Margin
    judged: Margin
    structure: Structure
    severity: Severity
    drawn: Image
    drawn_margin: Margin
    drawn_judged: Margin
    origin: Image

    def rows(self, picked: np.ndarray) -> "Films":
        """Some of the films."""
        return jax.tree.map(lambda array: array[picked], self)


class Thresholds(NamedTuple):
    """Read off validation films.

    Attributes:
      gap, judged_gap: mean margin of real positives minus that of real negatives, of f and of h.
      positive, negative: median margin of the films that f calls so: where walks towards it stop.
      lung_error: largest accepted reconstruction error in the lungs, RMSE on the [-1, 1] scale.
    """

    gap: float
    judged_gap: float
    positive: float
    negative: float
    lung_error: float

    def target(self, towards: int) -> float:
        """The margin at which a walk stops."""
        return self.positive if towards > 0 else self.negative


def first_latents(
    networks: Networks,
    trained: Trained,
    target: invert.Target,
    render: Render,
    settings: invert.Settings,
) -> invert.Latents:
    """Where the inversion of these films begins."""
    if settings.start == "encoder":
        encode = lambda image: first_guess(networks.encoder, trained.encoder, image)
        return invert.guess(encode, target, render, settings.corrections)
    sizes = networks.generator.latent_sizes
    return invert.Latents(*(jnp.zeros((len(target.image), size)) for size in sizes))


def make_invert(
    networks: Networks, judge: nn.Module, settings: invert.Settings
) -> Callable[[Trained, Pixels], Films]:
    """The pure function that inverts a batch of films."""

    def invert_batch(trained: Trained, pixels: Pixels) -> Films:
        def render(*latents: jax.Array) -> Image:
            return networks.generator.apply({"params": trained.generator}, *latents)

        def classify(image: Image) -> tuple[Margin, invert.Features]:
            return networks.classifier.apply({"params": trained.classifier}, image)

        def judged(image: Image) -> Margin:
            return judge.apply({"params": trained.judge}, image)[0]

        image = to_unit_range(pixels)
        target = make_target(networks, trained.classifier, trained.scale, image)
        first = first_latents(networks, trained, target, render, settings)
        latents, _ = invert.refine(first, target, render, classify, trained.scale.span, settings)
        severity = latents.severity(target.radius)
        drawn = render(latents.structure, severity)
        return Films(
            image=image,
            margin=target.margin,
            judged=judged(image),
            structure=latents.structure,
            severity=severity,
            drawn=drawn,
            drawn_margin=classify(drawn)[0],
            drawn_judged=judged(drawn),
            origin=render(latents.structure, jnp.zeros_like(severity)),
        )

    return invert_batch


def rms(difference: np.ndarray) -> np.ndarray:
    """Root mean square of each image [N, h, w, 1]."""
    return np.sqrt(np.square(difference).mean(axis=(1, 2, 3)))


def lung_error(films: Films, lungs: np.ndarray) -> np.ndarray:
    """RMSE of each reconstruction over the lungs' pixels [N, h, w, 1] bool."""
    squared = np.square(films.drawn - films.image)
    return np.sqrt((squared * lungs).sum((1, 2, 3)) / lungs.sum((1, 2, 3)))


def class_gap(margin: np.ndarray, label: np.ndarray) -> float:
    """The gap of a classifier by the labels, or by its own decisions where these say the opposite.

    It is the unit of the gate: at zero no film would pass, and below it every one.
    """
    gap = metrics.class_gap(margin, label)
    return gap if gap > 0 else metrics.class_gap(margin, margin > 0)


def set_thresholds(
    margin: np.ndarray,
    judged: np.ndarray,
    label: np.ndarray,
    errors: np.ndarray,
    percentile: float,
) -> Thresholds:
    """Thresholds from the validation split's margins and its inverted films' lung errors."""
    return Thresholds(
        gap=class_gap(margin, label),
        judged_gap=class_gap(judged, label),
        positive=float(np.median(margin[margin > 0])),
        negative=float(np.median(margin[margin <= 0])),
        lung_error=float(np.percentile(errors, percentile)),
    )


def reasons_to_reject(
    films: Films, errors: np.ndarray, thresholds: Thresholds, gate_margin: float
) -> list[str]:
    """Why each film is not explainable; "" where it is."""
    off = np.abs(films.drawn_margin - films.margin) / thresholds.gap
    off_judged = np.abs(films.drawn_judged - films.judged) / thresholds.judged_gap
    checks = [
        ("f differs on the reconstruction by {:.2f} of the class gap", off, gate_margin),
        ("h differs on the reconstruction by {:.2f} of the class gap", off_judged, gate_margin),
        ("lung reconstruction error is {:.3f}", errors, thresholds.lung_error),
    ]
    return [
        "; ".join(text.format(value[i]) for text, value, bound in checks if not value[i] <= bound)
        for i in range(len(errors))
    ]
