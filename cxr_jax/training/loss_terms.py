"""The terms of the GAN's objective by name, each a function of what a step has drawn and heard.

A new term is a function here, under `@loss_term`, and its weight in configs/base.py: the loss, the
records and the checks of a config go by this registry.
"""

from collections.abc import Callable

import flax
import jax
import jax.numpy as jnp
from jaxtyping import Float

from cxr_jax import losses
from cxr_jax.networks.grading import Scale
from cxr_jax.types import AnyArray, Each, FeatureMaps, Image, Margin, Scalar, ZStructure

Gaussian = tuple[jax.Array, jax.Array]  # mean, log_std


@flax.struct.dataclass(kw_only=True)
class Grafts:
    """Of each pair the negative film with its partner's change on it, as it was drawn.

    Attributes:
      removal: without a class latent.
      twin: the negative film itself, which `removal` ought to be.
      has_twin: 1 where the pair is taken for a negative and a positive, else 0.
      change: what the graft's class latent, its mean, adds to `removal`.
      carried: what the graft has more than the film, which `change` ought to be.
      has_change: 1 where there is a twin and the graft is taken for a positive, else 0.
    """

    removal: Image
    twin: Image
    has_twin: Each
    change: Image
    carried: Image
    has_change: Each


@flax.struct.dataclass(kw_only=True)
class StepImages:
    """The images of a step, what the classifier ought to say of them, and the films' latents.

    Attributes:
      reconstruction, swap: one for each encoded film; sample, null_change: one for each pair.
      felt: of each swap's change, how much f feels of it at each place, in [0, 1].
      swap_target, sample_target: the margins that f is asked for.
      null_change: what the pair's negative film changes by at the full radius.
      is_negative: 1 where that film is taken for a negative, else 0.
      z_structure: of each film, as drawn from its posterior.
      structure_moments, class_moments: of each film's z_structure and unit class latent.
      is_positive: 1 where the film is taken for a positive, else 0.
    """

    reconstruction: Image
    swap: Image
    felt: Image
    sample: Float[AnyArray, "pairs h w 1"]
    swap_target: Margin
    sample_target: Float[AnyArray, " pairs"]
    grafts: Grafts
    null_change: Float[AnyArray, "pairs h w 1"]
    is_negative: Float[AnyArray, " pairs"]
    z_structure: ZStructure
    structure_moments: Gaussian
    class_moments: Gaussian
    is_positive: Each


@flax.struct.dataclass(kw_only=True)
class StepAnswers:
    """A step's images and what the other networks say of them.

    Attributes:
      film: the encoded films; `features`: f's maps of them.
      margin: f on reconstructions, swaps and samples, in this order; `target`: what it ought to be.
      drawn_features: f's maps of the reconstructions.
      realness: the discriminator on swaps and samples.
      leak: what the critic reads off z_structure.
    """

    film: Image
    features: FeatureMaps
    images: StepImages
    scale: Scale
    margin: Float[AnyArray, " drawn"]
    target: Float[AnyArray, " drawn"]
    drawn_features: FeatureMaps
    realness: Float[AnyArray, " fakes"]
    leak: Margin

    @property
    def pixels(self) -> int:
        """Of a film: the divergences are in nats a pixel."""
        return self.film[0].size


LossTerm = Callable[[StepAnswers], Scalar]
TERMS: dict[str, LossTerm] = {}


def loss_term(term: LossTerm) -> LossTerm:
    """Enters a function under its own name, which its weight in `config.gan.weights` has too."""
    TERMS[term.__name__] = term
    return term


@loss_term
def pixel(step: StepAnswers) -> Scalar:
    """Mean squared error of the reconstruction: 1/(2 sigma^2) of a Gaussian likelihood a pixel."""
    return losses.pixel_error(step.images.reconstruction, step.film).mean()


@loss_term
def feature(step: StepAnswers) -> Scalar:
    """The reconstruction's error in the classifier's feature maps."""
    return losses.feature_error(step.drawn_features, step.features).mean()


@loss_term
def margin(step: StepAnswers) -> Scalar:
    """Classifier consistency: squared error of the margin in units of the scale's span.

    A reconstruction must get the film's own margin; a swap or a sample that is to be negative may
    be more so than asked for.
    """
    rows, span = len(step.film), step.scale.span
    exact = jnp.square((step.margin[:rows] - step.target[:rows]) / span)
    return jnp.concatenate(
        [exact, margin_error(step.margin[rows:], step.target[rows:], step.scale)]
    ).mean()


def margin_error(margin: Margin, target: Margin, scale: Scale) -> Margin:
    """Squared distance from the target in spans; a negative may be more so than asked for."""
    error = (margin - target) / scale.span
    return jnp.where(target <= scale.negative, jax.nn.relu(error), error) ** 2


@loss_term
def locality(step: StepAnswers) -> Scalar:
    """Mean absolute difference of a swap from the reconstruction with the same lungs."""
    return losses.change(step.images.swap, step.images.reconstruction).mean()


@loss_term
def smoothness(step: StepAnswers) -> Scalar:
    """Total variation of that difference.

    Without it the change swings about zero from pixel to pixel, and its size says little about
    where the finding ends.
    """
    return losses.roughness(step.images.swap - step.images.reconstruction).mean()


@loss_term
def necessity(step: StepAnswers) -> Scalar:
    """Mean absolute part of that difference which f does not feel: see cxr_jax/necessity.py.

    What merely goes with f's answer, in a place where f does not look, belongs to z_structure.
    """
    images = step.images
    unfelt = (1 - images.felt) * (images.swap - images.reconstruction)
    return losses.change(unfelt, jnp.zeros_like(unfelt)).mean()


@loss_term
def removal(step: StepAnswers) -> Scalar:
    """Mean squared error of a graft's film without the finding."""
    grafts = step.images.grafts
    return (grafts.has_twin * losses.pixel_error(grafts.removal, grafts.twin)).mean()


@loss_term
def transplant(step: StepAnswers) -> Scalar:
    """Mean absolute difference of the change drawn in a graft from the change grafted."""
    grafts = step.images.grafts
    return (grafts.has_change * losses.change(grafts.change, grafts.carried)).mean()


@loss_term
def null_change(step: StepAnswers) -> Scalar:
    """Mean absolute change that a negative's own class latent draws at rho = 1."""
    images = step.images
    nothing = jnp.zeros_like(images.null_change)
    return (images.is_negative * losses.change(images.null_change, nothing)).mean()


@loss_term
def kl_z_structure(step: StepAnswers) -> Scalar:
    """Kullback-Leibler divergence of the encoded z_structure from N(0, I), in nats a pixel.

    Where that of z_class is the cheaper, a finding is not encoded as structure.
    """
    return losses.gaussian_kl(*step.images.structure_moments).mean() / step.pixels


@loss_term
def kl_z_class(step: StepAnswers) -> Scalar:
    """The same of the unit class latent, of films that are taken for positives."""
    images = step.images
    return (images.is_positive * losses.gaussian_kl(*images.class_moments)).mean() / step.pixels


@loss_term
def confusion(step: StepAnswers) -> Scalar:
    """Of the critic that tries to read f's answer off z_structure (Lample et al., 2017).

    Without it a finding hides in the structure, and z_class is only the switch that shows it.
    """
    return losses.confusion(step.leak)


@loss_term
def adversarial(step: StepAnswers) -> Scalar:
    """The non-saturating logistic loss."""
    return losses.generator_logistic(step.realness)
