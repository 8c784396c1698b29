"""Task `encoder`: trains the encoder alone against the finished, averaged generator.

During the GAN task the encoder chases a moving generator. Here it minimises the same loss with
everything else frozen. The whole loss, swaps and critic included: an encoder trained on
reconstruction alone hides the findings in z_structure again, and walks then change nothing.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import flax
import jax
import jax.numpy as jnp
import ml_collections
import optax
from clu import metrics as clu_metrics

from cxr_jax import gan_objective, grading, invert, parallel, train_gan, training
from cxr_jax.augment import Augmentation, augment, view_keys
from cxr_jax.checkpoint import load_networks
from cxr_jax.data import Arrays, to_unit_range, train_batches
from cxr_jax.gan_objective import Networks
from cxr_jax.gan_state import Setting
from cxr_jax.grading import Scale
from cxr_jax.models.encoder import Encoder
from cxr_jax.records import is_done, mark_done
from cxr_jax.training import Plan, Snapshot
from cxr_jax.types import Image, Params

logger = logging.getLogger(__name__)


@flax.struct.dataclass
class EncoderState:
    """Everything that training changes."""

    step: jax.Array
    encoder: Params
    optimizer: optax.OptState


@flax.struct.dataclass
class EncoderMetrics(clu_metrics.Collection):
    """Averages over a log interval."""

    error: clu_metrics.Average.from_output("error")


def first_guess(encoder: Encoder, params: Params, image: Image) -> invert.Latents:
    """The encoder's means."""
    structure, direction = encoder.apply({"params": params}, image)
    return invert.Latents(structure[0], direction[0])


def make_target(
    networks: Networks, classifier: Params, scale: Scale, image: Image
) -> invert.Target:
    """What inversion of these films aims at."""
    margin, features = networks.classifier.apply({"params": classifier}, image)
    return invert.Target(image, margin, features, grading.film_radius(scale, margin))


def make_train_step(
    networks: Networks,
    optimizer: optax.GradientTransformation,
    augmentation: Augmentation,
    by_label: bool = False,
) -> Callable:
    """Builds the pure step (state, batch, gan, classifier, scale, setting) -> (state, metrics).

    `gan` holds the parameters {"generator", "discriminator"}; `by_label` as in `train_gan`.
    """
    sizes = networks.generator.latent_sizes

    def step(
        state: EncoderState,
        batch: Arrays,
        gan: Params,
        classifier: Params,
        scale: Scale,
        setting: Setting,
    ) -> tuple[EncoderState, EncoderMetrics]:
        keys = parallel.example_keys(setting.seed, state.step, batch["index"])
        image = augment(to_unit_range(batch["image"]), view_keys(keys), augmentation)
        draw = gan_objective.draw_noise(keys, *sizes)

        def loss_fn(encoder: Params) -> jax.Array:
            params = {"generator": gan["generator"], "encoder": encoder}
            frozen = gan["discriminator"], classifier, scale
            label = batch["label"] if by_label else None
            return gan_objective.generator_loss(
                networks, setting.weights, params, frozen, image, draw, label
            )[0]

        loss, gradient = parallel.mean(jax.value_and_grad(loss_fn)(state.encoder))
        moves, optimizer_state = optimizer.update(gradient, state.optimizer)
        encoder = optax.apply_updates(state.encoder, moves)
        state = EncoderState(state.step + 1, encoder, optimizer_state)
        return state, EncoderMetrics.single_from_model_output(error=loss)

    return step


def make_optimizer(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
    """Adam with a cosine decay to zero, of the section `encoder`."""
    return optax.adam(optax.cosine_decay_schedule(config.learning_rate, max(config.num_steps, 1)))


def make_setting(config: ml_collections.ConfigDict) -> Setting:
    """Of our objective, also where the GAN was trained by the paper's, which has no encoder."""
    return train_gan.make_setting(config, "ours")


def map_train_step(
    config: ml_collections.ConfigDict,
    networks: Networks,
    optimizer: optax.GradientTransformation,
    devices: parallel.Devices | None = None,
) -> Callable:
    """`make_train_step` of a config, on every device or on those given."""
    step = make_train_step(
        networks,
        optimizer,
        Augmentation(**config.gan.augmentation),
        by_label=config.gan.conditioning == "label",
    )
    return parallel.pmap_step(step, num_frozen=4, devices=devices)


def run(config: ml_collections.ConfigDict, workdir: Path, splits: dict[str, Arrays]) -> None:
    """Trains the encoder to its end, resuming where a killed run was."""
    directory, section = workdir / "encoder", config.encoder
    if is_done(directory):
        logger.info("encoder: complete, skipped")
        return
    if config.gan.networks == "paper":
        logger.info("encoder: the paper has none")
        directory.mkdir(parents=True, exist_ok=True)
        mark_done(directory, steps=0)
        return
    parallel.check_batch_size("encoder", section.batch_size, train_gan.PAIRED_SHARE)
    networks = train_gan.make_networks(config)
    classifier, scale, positive = train_gan.load_frozen(config, workdir, splits)
    gan = train_gan.load(networks, workdir)
    optimizer = make_optimizer(section)
    step = map_train_step(config, networks, optimizer)
    frozen = parallel.replicate((gan, classifier, scale, make_setting(config)))
    seed = train_gan.seed_of(config)
    training.train(
        directory,
        Plan(section.num_steps, section.batch_size, section.log_every, section.save_every),
        EncoderState(jnp.int32(0), gan["encoder"], optimizer.init(gan["encoder"])),
        lambda number, state, batch: step(state, batch, *frozen),
        lambda start: train_batches(splits["train"], section.batch_size, seed, start, positive),
        lambda state: Snapshot(state.encoder, score=int(state.step)),
    )
    mark_done(directory, steps=section.num_steps)


def load(networks: Networks, workdir: Path) -> Params:
    """The trained encoder's parameters; {} where there is none."""
    if networks.encoder is None:
        return {}
    return load_networks(
        workdir / "encoder", lambda: train_gan.init_params(networks, seed=0)[0]["encoder"]
    )
