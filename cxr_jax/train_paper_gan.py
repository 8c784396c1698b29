"""The training step of the paper's objective, for any generator and discriminator."""

from collections.abc import Callable

import flax
import jax
import jax.numpy as jnp
from clu import metrics as clu_metrics

from cxr_jax import losses, paper_objective, parallel
from cxr_jax.data import Arrays, to_unit_range
from cxr_jax.gan_objective import Networks
from cxr_jax.gan_state import (
    GanState,
    Optimizers,
    Setting,
    update_discriminator,
    update_generator,
)
from cxr_jax.grading import Scale
from cxr_jax.types import Image, Keys, Params

# Folded into an example's key: the discriminator draws its dropout anew in each of its passes.
PASSES = (1 << 20, 2 << 20, 3 << 20)


@flax.struct.dataclass
class PaperMetrics(clu_metrics.Collection):
    """Averages over a log interval."""

    generator: clu_metrics.Average.from_output("generator")
    discriminator: clu_metrics.Average.from_output("discriminator")
    adversarial: clu_metrics.Average.from_output("adversarial")
    entropy: clu_metrics.Average.from_output("entropy")
    mode_seeking: clu_metrics.Average.from_output("mode_seeking")


def make_train_step(
    networks: Networks,
    optimizers: Optimizers,
    average_half_life: float,
) -> Callable:
    """Builds the pure step (state, batch, classifier, scale, setting) -> (state, metrics).

    Generator and discriminator move from the same drawn images; the scale plays no part.
    """
    sizes = networks.generator.latent_sizes

    def draw_images(params: Params, draw: paper_objective.Draw, keys: Keys) -> tuple[Image, Params]:
        """The images, and the statistics of the batch where the generator keeps any."""
        image, changed = networks.generator.apply(
            {"params": params}, draw.structure, draw.severity, keys, mutable=["statistics"]
        )
        return image, changed.get("statistics", {})

    def judge(params: Params, image: Image, keys: Keys) -> jax.Array:
        """In training, as ever: a discriminator's running statistics are never asked for."""
        grade = jnp.zeros(len(image), jnp.int32)
        return networks.discriminator.apply({"params": params["image"]}, image, grade, keys)

    def step(
        state: GanState, batch: Arrays, classifier: Params, scale: Scale, setting: Setting
    ) -> tuple[GanState, PaperMetrics]:
        del scale
        keys = parallel.example_keys(setting.seed, state.step, batch["index"])
        draw = paper_objective.draw_latents(keys, batch["index"], *sizes)
        real = to_unit_range(batch["image"])
        for_generator, for_real, for_fake = (
            jax.vmap(lambda key, i=i: jax.random.fold_in(key, i))(keys) for i in PASSES
        )

        def generator_loss(params: Params):
            image, statistics = draw_images(params["generator"], draw, for_generator)
            judged = judge(state.discriminator, image, for_generator)
            loss, terms = paper_objective.generator_loss(
                networks.classifier, classifier, setting.weights, image, judged, draw
            )
            return loss, (terms, image, statistics)

        def discriminator_loss(params: Params, fake: Image) -> jax.Array:
            return losses.discriminator_logistic(
                judge(params, real, for_real), judge(params, fake, for_fake)
            )

        (loss, (terms, fake, statistics)), generator_gradient = jax.value_and_grad(
            generator_loss, has_aux=True
        )(state.generator)
        logistic, discriminator_gradient = jax.value_and_grad(discriminator_loss)(
            state.discriminator, jax.lax.stop_gradient(fake)
        )
        terms |= dict(generator=loss, discriminator=logistic)
        generator_gradient, discriminator_gradient, terms = parallel.mean(
            (generator_gradient, discriminator_gradient, terms)
        )
        state = update_generator(
            state,
            generator_gradient,
            optimizers.generator,
            average_half_life,
            {"generator": statistics},
        )
        state = update_discriminator(state, discriminator_gradient, optimizers.discriminator)
        return state.replace(step=state.step + 1), PaperMetrics.single_from_model_output(**terms)

    return step
