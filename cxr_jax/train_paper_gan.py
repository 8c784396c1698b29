"""The training step of the paper's objective, for any generator and discriminator."""

from collections.abc import Callable

import flax
import jax
import jax.numpy as jnp
from clu import metrics as clu_metrics

from cxr_jax import losses, paper_objective, parallel
from cxr_jax.data import Arrays, to_unit_range
from cxr_jax.gan_objective import Networks
from cxr_jax.gan_state import GanState, Optimizers, update_discriminator, update_generator
from cxr_jax.grading import Scale
from cxr_jax.types import Image, Params


@flax.struct.dataclass
class PaperMetrics(clu_metrics.Collection):
    """Averages over a log interval."""

    generator: clu_metrics.Average.from_output("generator")
    discriminator: clu_metrics.Average.from_output("discriminator")
    adversarial: clu_metrics.Average.from_output("adversarial")
    entropy: clu_metrics.Average.from_output("entropy")


def make_train_step(
    networks: Networks,
    optimizers: Optimizers,
    weight: float,
    average_half_life: float,
    seed: int,
) -> Callable:
    """Builds the pure step (state, batch, classifier, scale) -> (state, metrics).

    Generator and discriminator move from the same drawn images; the scale plays no part.
    """
    sizes = networks.generator.latent_sizes

    def judge(params: Params, image: Image) -> jax.Array:
        grade = jnp.zeros(len(image), jnp.int32)
        return networks.discriminator.apply({"params": params["image"]}, image, grade)

    def step(
        state: GanState, batch: Arrays, classifier: Params, scale: Scale
    ) -> tuple[GanState, PaperMetrics]:
        del scale
        keys = parallel.example_keys(seed, state.step, batch["index"])
        draw = paper_objective.draw_latents(keys, batch["index"], *sizes)
        real = to_unit_range(batch["image"])

        def generator_loss(params: Params):
            image = networks.generator.apply(
                {"params": params["generator"]}, draw.structure, draw.severity
            )
            judged = judge(state.discriminator, image)
            loss, terms = paper_objective.generator_loss(
                networks.classifier, classifier, weight, image, judged, draw
            )
            return loss, (terms, image)

        def discriminator_loss(params: Params, fake: Image) -> jax.Array:
            return losses.discriminator_logistic(judge(params, real), judge(params, fake))

        (loss, (terms, fake)), generator_gradient = jax.value_and_grad(
            generator_loss, has_aux=True
        )(state.generator)
        logistic, discriminator_gradient = jax.value_and_grad(discriminator_loss)(
            state.discriminator, jax.lax.stop_gradient(fake)
        )
        terms |= dict(generator=loss, discriminator=logistic)
        generator_gradient, discriminator_gradient, terms = parallel.mean(
            (generator_gradient, discriminator_gradient, terms)
        )
        state = update_generator(state, generator_gradient, optimizers.generator, average_half_life)
        state = update_discriminator(state, discriminator_gradient, optimizers.discriminator)
        return state.replace(step=state.step + 1), PaperMetrics.single_from_model_output(**terms)

    return step
