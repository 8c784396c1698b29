"""The films that are explained: what f and h say of them, their latents, and the gate.

A film is *not explainable* where its reconstruction is not seen by f or by h as the film is, or
where the lungs are drawn worse than this generator draws validation films': a walk from there would
explain another image. The latter says nothing of how well the generator draws at all.
"""

import dataclasses
from collections.abc import Callable

import flax
import jax
import jax.numpy as jnp
import numpy as np

from cxr_jax import metrics
from cxr_jax.data.arrays import to_unit_range
from cxr_jax.explain import inversion
from cxr_jax.explain.inversion import InversionSettings, Latents, Target
from cxr_jax.networks.restore import TrainedModels
from cxr_jax.types import Image, Margin, Pixels, ZClass, ZStructure


@flax.struct.dataclass(kw_only=True)
class Films:
    """Films and their inversions; N rows each.

    Attributes:
      image: the film in [-1, 1].
      margin, judge_margin: f and h on it.
      z_structure, z_class: its latents.
      drawn: G(z_structure, z_class).
      drawn_margin, drawn_judge_margin: f and h on `drawn`.
      origin: G(z_structure, 0), the film without what f reacts to.
    """

    image: Image
    margin: Margin
    judge_margin: Margin
    z_structure: ZStructure
    z_class: ZClass
    drawn: Image
    drawn_margin: Margin
    drawn_judge_margin: Margin
    origin: Image

    def rows(self, picked: np.ndarray | slice) -> "Films":
        """Some of the films."""
        return jax.tree.map(lambda array: array[picked], self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Read off validation films.

    Attributes:
      gap, judge_gap: mean margin of real positives minus that of real negatives, of f and of h; by
        their own decisions where they say the opposite of labels, see `gate_unit`.
      positive, negative: median margin of the films that f calls so: where walks towards it stop.
      lung_error: largest accepted reconstruction error in the lungs, RMSE on the [-1, 1] scale.
      film_error: the same over the whole film, for films whose lungs nobody knows.
    """

    gap: float
    judge_gap: float
    positive: float
    negative: float
    lung_error: float
    film_error: float

    def target(self, towards: int) -> float:
        """The margin at which a walk stops."""
        return self.positive if towards > 0 else self.negative


def first_latents(models: TrainedModels, target: Target, settings: InversionSettings) -> Latents:
    """Where the inversion of these films begins."""
    if settings.start == "encoder":
        return inversion.guess(
            models.encoder, models.generator, target, corrections=settings.corrections
        )
    num_structure, num_class = models.generator.network.latent_sizes
    rows = len(target.image)
    return Latents(
        z_structure=jnp.zeros((rows, num_structure)), direction=jnp.zeros((rows, num_class))
    )


def make_invert(settings: InversionSettings) -> Callable[[TrainedModels, Pixels], Films]:
    """The pure function that inverts a batch of films."""

    def invert(models: TrainedModels, pixels: Pixels) -> Films:
        image = to_unit_range(pixels)
        target = inversion.make_target(models.classifier, models.scale, image)
        latents, _ = inversion.refine(
            first_latents(models, target, settings),
            target,
            models.generator,
            classify=models.classifier,
            span=models.scale.span,
            settings=settings,
        )
        z_class = latents.z_class(target.radius)
        drawn = models.generator(latents.z_structure, z_class)
        return Films(
            image=image,
            margin=target.margin,
            judge_margin=models.judge_margin(image),
            z_structure=latents.z_structure,
            z_class=z_class,
            drawn=drawn,
            drawn_margin=models.classify(drawn),
            drawn_judge_margin=models.judge_margin(drawn),
            origin=models.generator(latents.z_structure, jnp.zeros_like(z_class)),
        )

    return invert


def rms(difference: np.ndarray) -> np.ndarray:
    """Root mean square of each image [N, h, w, 1]."""
    return np.sqrt(np.square(difference).mean(axis=(1, 2, 3)))


def lung_error(films: Films, lungs: np.ndarray) -> np.ndarray:
    """RMSE of each reconstruction over the lungs' pixels [N, h, w, 1] bool."""
    squared = np.square(films.drawn - films.image)
    return np.sqrt((squared * lungs).sum((1, 2, 3)) / lungs.sum((1, 2, 3)))


def gate_unit(margin: np.ndarray, label: np.ndarray) -> float:
    """The class gap by the labels, or by the classifier's own decisions where it says the opposite.

    In a unit of zero no film would pass the gate, and in one below zero every film.
    """
    gap = metrics.class_gap(margin, label)
    return gap if gap > 0 else metrics.class_gap(margin, margin > 0)


def set_thresholds(
    margin: np.ndarray,
    judge_margin: np.ndarray,
    label: np.ndarray,
    *,
    lung_errors: np.ndarray,
    film_errors: np.ndarray,
    percentile: float,
) -> Thresholds:
    """Thresholds from the validation split's margins and its inverted films' errors.

    Args:
      margin, judge_margin: f and h on the whole split.
      lung_errors, film_errors: of the inverted films, in the lungs and over the whole film.
    """
    return Thresholds(
        gap=gate_unit(margin, label),
        judge_gap=gate_unit(judge_margin, label),
        positive=float(np.median(margin[margin > 0])),
        negative=float(np.median(margin[margin <= 0])),
        lung_error=float(np.percentile(lung_errors, percentile)),
        film_error=float(np.percentile(film_errors, percentile)),
    )


def reasons_to_reject(
    films: Films,
    thresholds: Thresholds,
    gate_margin: float,
    *,
    lungs: np.ndarray | None,
) -> list[str]:
    """Why each film is not explainable; "" where it is.

    Args:
      gate_margin: in units of the class gap.
      lungs: their pixels [N, h, w, 1] bool; all pixels of a film, or None for all films, where
        nobody knows: then the whole film counts, and has a bound of its own.
    """
    off = np.abs(films.drawn_margin - films.margin) / thresholds.gap
    off_judge = np.abs(films.drawn_judge_margin - films.judge_margin) / thresholds.judge_gap
    error, whole = rms(films.drawn - films.image), is_whole(lungs, len(off))
    if lungs is not None:
        error = np.where(whole, error, lung_error(films, lungs))
    bound = np.where(whole, thresholds.film_error, thresholds.lung_error)
    where, gate = np.where(whole, "", "lung "), np.full(len(off), gate_margin)
    checks = (
        ("f differs on the reconstruction by {value:.2f} of the class gap", off, gate),
        ("h differs on the reconstruction by {value:.2f} of the class gap", off_judge, gate),
        ("{where}reconstruction error is {value:.3f}", error, bound),
    )
    return [
        "; ".join(
            text.format(value=value[i], where=where[i])
            for text, value, limit in checks
            if not value[i] <= limit[i]
        )
        for i in range(len(off))
    ]


def is_whole(lungs: np.ndarray | None, count: int) -> np.ndarray:
    """Of which films [count] the gate looks at all: their lungs [N, h, w, 1] nobody has found."""
    return np.ones(count, bool) if lungs is None else lungs.all(axis=(1, 2, 3))
