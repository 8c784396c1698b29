"""The training step of the paper's objective, for any generator and discriminator."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from clu import metrics as clu_metrics

from cxr_jax import losses
from cxr_jax.data.arrays import Arrays, to_unit_range
from cxr_jax.models.model import Model
from cxr_jax.networks.build import GanNetworks
from cxr_jax.runtime import parallel
from cxr_jax.runtime.streams import Stream, fold_keys
from cxr_jax.training import paper_objective
from cxr_jax.training.gan_state import (
    FrozenInputs,
    GanState,
    Optimizers,
    update_discriminator,
    update_generator,
)
from cxr_jax.training.loop import make_averages
from cxr_jax.training.paper_objective import PaperNoise
from cxr_jax.types import Image, Keys, Params


def make_train_step(
    networks: GanNetworks, optimizers: Optimizers, ema_half_life: float
) -> Callable:
    """Builds the pure step (state, batch, frozen) -> (state, metrics).

    Generator and discriminator move from the same drawn images; the scale plays no part.
    """
    averages = make_averages("generator", "discriminator", *paper_objective.TERMS)

    def draw_images(params: Params, noise: PaperNoise, keys: Keys) -> tuple[Image, Params]:
        """The images, and the statistics of the batch where the generator keeps any."""
        generate = Model(networks.generator, params)
        image, changed = generate(noise.z_structure, noise.z_class, keys, mutable=["statistics"])
        return image, changed.get("statistics", {})

    def realness(params: Params, image: Image, keys: Keys) -> jax.Array:
        """In training, as ever: a discriminator's running statistics are never asked for."""
        grade = jnp.zeros(len(image), jnp.int32)
        return Model(networks.discriminator, params["image"])(image, grade, keys)

    def step(
        state: GanState, batch: Arrays, frozen: FrozenInputs
    ) -> tuple[GanState, clu_metrics.Collection]:
        keys = parallel.example_keys(frozen.hparams.seed, state.step, batch["index"])
        noise = paper_objective.draw_noise(keys, batch["index"], networks.generator.latent_sizes)
        real = to_unit_range(batch["image"])
        drawing_keys = fold_keys(keys, Stream.NETWORK)
        real_keys, fake_keys = fold_keys(keys, Stream.REAL_PASS), fold_keys(keys, Stream.FAKE_PASS)

        def generator_loss(params: Params):
            image, statistics = draw_images(params["generator"], noise, drawing_keys)
            terms = paper_objective.generator_terms(
                image,
                noise,
                margin=frozen.classifier(image)[0],
                realness=realness(state.discriminator, image, drawing_keys),
            )
            loss = paper_objective.weigh(terms, frozen.hparams.weights)
            return loss, (terms, image, statistics)

        def discriminator_loss(params: Params, fake: Image) -> jax.Array:
            return losses.discriminator_logistic(
                realness(params, real, real_keys), realness(params, fake, fake_keys)
            )

        (loss, (terms, fake, statistics)), generator_gradient = jax.value_and_grad(
            generator_loss, has_aux=True
        )(state.generator)
        logistic, discriminator_gradient = jax.value_and_grad(discriminator_loss)(
            state.discriminator, jax.lax.stop_gradient(fake)
        )
        scalars = dict(terms, generator=loss, discriminator=logistic)
        generator_gradient, discriminator_gradient, scalars = parallel.mean(
            (generator_gradient, discriminator_gradient, scalars)
        )
        state = update_generator(
            state,
            generator_gradient,
            optimizers.generator,
            ema_half_life=ema_half_life,
            statistics={"generator": statistics},
        )
        state = update_discriminator(state, discriminator_gradient, optimizers.discriminator)
        return state.replace(step=state.step + 1), averages.single_from_model_output(**scalars)

    return step
