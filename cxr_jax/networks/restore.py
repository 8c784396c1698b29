"""From a work directory to trained models: what later tasks load of earlier ones."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path

import flax
import flax.linen as nn
import ml_collections
import numpy as np

from cxr_jax.data.arrays import to_unit_range
from cxr_jax.errors import InputError
from cxr_jax.models.model import Model
from cxr_jax.networks.build import (
    GanNetworks,
    init_gan_params,
    init_params,
    make_classifier,
    make_gan_networks,
    make_regressor,
    make_robust,
    make_segmenter,
)
from cxr_jax.networks.grading import Scale
from cxr_jax.networks.prior import LatentPrior, make_prior
from cxr_jax.runtime import parallel, precision
from cxr_jax.runtime.checkpoint import load_networks, networks_digest
from cxr_jax.runtime.workdir import is_done, read_json, write_json
from cxr_jax.types import Image, Margin, Params, Pixels

SCALE_FILE = Path("gan") / "scale.json"


@flax.struct.dataclass(kw_only=True)
class TrainedModels:
    """Everything that was learned before explaining.

    Attributes:
      classifier, judge: f and h; an image to (margin, feature maps by name).
      generator: (z_structure, z_class) to an image.
      encoder: an image to the moments of both latents; None where there is none.
      scale: of the class latent.
      robust: the adversarially trained classifier; None where it was not trained or not asked for.
      prior: of both latents; None where it is N(0, I), as the paper's.
    """

    classifier: Model
    judge: Model
    generator: Model
    encoder: Model | None
    scale: Scale
    robust: Model | None = None
    prior: LatentPrior | None = None

    def classify(self, image: Image) -> Margin:
        """f: the margin of the explained classifier [b]."""
        return self.classifier(image)[0]

    def judge_margin(self, image: Image) -> Margin:
        """h: the margin of the classifier that judges [b]."""
        return self.judge(image)[0]


def load_trained(
    config: ml_collections.ConfigDict,
    workdir: Path,
    evaluators: Collection[str] = (),
    *,
    prior: bool = True,
) -> TrainedModels:
    """Every model of a finished run; they compute in float32, whatever they were trained in.

    Args:
      evaluators: what paths of the run need of `config.evaluators.names`.
      prior: whether that of the latents is one of them, which only drawing new patients needs.

    Raises:
      InputError: if one of them was not trained.
    """
    for name in evaluators:
        reason = missing_reason(workdir, name)
        if reason:
            raise InputError(f"a path of config.explain.paths needs {name!r}, but {reason}")
    models, config = load_without_prior(config, workdir), precision.in_float32(config)
    return models.replace(
        robust=load_robust(config, workdir) if "robust" in evaluators else None,
        prior=load_prior(config, workdir) if prior else None,
    )


def load_without_prior(config: ml_collections.ConfigDict, workdir: Path) -> TrainedModels:
    """What the prior is fitted by: every model but it and those that single paths need."""
    config = precision.in_float32(config)
    networks, size = make_gan_networks(config), config.data.image_size
    return TrainedModels(
        classifier=load_classifier(config.classifier, size, workdir / "classifier"),
        judge=load_classifier(config.judge, size, workdir / "classifier" / "judge"),
        generator=Model(networks.generator, load_gan(networks, workdir)["generator"]),
        encoder=load_encoder(networks, workdir),
        scale=load_scale(workdir),
    )


def digests(config: ml_collections.ConfigDict, workdir: Path) -> dict[str, str]:
    """The SHA-256 of every trained network of a run, by its folder.

    What is explained is done anew when one of them has changed.
    """
    folders = [] if config.classifier.module else ["classifier"]
    folders += [] if config.judge.module else ["classifier/judge"]
    folders += ["gan"] if config.gan.networks == "paper" else ["gan", "encoder"]
    folders += ["prior"] if has_prior(config) else []
    trained = [name for name in config.evaluators.names if not missing_reason(workdir, name)]
    folders += [f"evaluators/{name}" for name in trained]
    return {folder: networks_digest(workdir / folder) for folder in folders}


# Classifiers.


def load_classifier(config: ml_collections.ConfigDict, image_size: int, directory: Path) -> Model:
    """The classifier of a section with its best checkpoint; {} of a function of one's own."""
    network = make_classifier(config)
    if config.module:
        return Model(network, {})
    init = partial(init_params, network, image_size, seed=0)
    return Model(network, load_networks(directory, init))


def make_margins(network: nn.Module, batch_size: int = 128) -> Callable:
    """A function (params, stored images [N, h, w, 1] uint8) -> logit margins [N], compiled once."""

    def margin(params: Params, pixels: Pixels) -> Margin:
        return Model(network, params)(to_unit_range(pixels))[0]

    return parallel.in_batches(margin, batch_size)


def margins(model: Model, pixels: np.ndarray) -> np.ndarray:
    """Logit margins of stored images [N, h, w, 1] uint8 -> [N]."""
    return make_margins(model.network)(model.params, pixels)


# The GAN.


def load_gan(networks: GanNetworks, workdir: Path) -> Params:
    """Averaged {"generator", "encoder"} and the "discriminator" of the newest checkpoint."""

    def init() -> Params:
        generator, discriminator = init_gan_params(networks, seed=0)
        return {**generator, "discriminator": discriminator}

    return load_networks(workdir / "gan", init)


def load_encoder(networks: GanNetworks, workdir: Path) -> Model | None:
    """The trained encoder; None where there is none."""
    if networks.encoder is None:
        return None
    init = lambda: init_gan_params(networks, seed=0)[0]["encoder"]
    return Model(networks.encoder, load_networks(workdir / "encoder", init))


def has_prior(config: ml_collections.ConfigDict) -> bool:
    """Whether a prior is fitted to the latents of films; without one it is N(0, I)."""
    return config.gan.objective != "paper"


def load_prior(config: ml_collections.ConfigDict, workdir: Path) -> LatentPrior | None:
    """The fitted prior; None where there is none."""
    if not has_prior(config):
        return None
    prior = make_prior(config, seed=0)
    return prior.with_arrays(load_networks(workdir / "prior", lambda: prior.arrays))


def save_scale(workdir: Path, scale: Scale) -> None:
    """Writes the scale that the GAN of a work directory is trained by."""
    write_json(workdir / SCALE_FILE, describe_scale(scale))


def describe_scale(scale: Scale) -> dict[str, float]:
    """A scale as JSON holds it: exactly."""
    return {name: float(value) for name, value in dataclasses.asdict(scale).items()}


def load_scale(workdir: Path) -> Scale:
    """The scale that the GAN of a work directory was trained by.

    Raises:
      InputError: if there is none.
    """
    path = workdir / SCALE_FILE
    if not path.exists():
        raise InputError(f"{path} is missing; run --task=gan with this --workdir first")
    return parse_scale(read_json(path))


def parse_scale(described: Mapping[str, float]) -> Scale:
    """What `describe_scale` told."""
    return Scale(**{name: np.float32(value) for name, value in described.items()})


# Evaluators.


def load_segmenter(config: ml_collections.ConfigDict, workdir: Path) -> Model:
    """The trained segmenter; its logits are positive in the lungs."""
    network = make_segmenter(config.evaluators.segmenter)
    return _load_evaluator(config, network, "segmenter", workdir=workdir)


def load_regressor(config: ml_collections.ConfigDict, workdir: Path) -> Model:
    """The trained regressor; its second output are the features."""
    network = make_regressor(config.evaluators.regressor)
    return _load_evaluator(config, network, "regressor", workdir=workdir)


def load_robust(config: ml_collections.ConfigDict, workdir: Path) -> Model:
    """The adversarially trained classifier."""
    network = make_robust(config.evaluators.robust)
    return _load_evaluator(config, network, "robust", workdir=workdir)


def _load_evaluator(
    config: ml_collections.ConfigDict, network: nn.Module, name: str, *, workdir: Path
) -> Model:
    init = partial(init_params, network, config.data.image_size, seed=0)
    return Model(network, load_networks(workdir / "evaluators" / name, init))


def missing_reason(workdir: Path, name: str) -> str:
    """Why the evaluator `name` is not there to be loaded; "" if it is."""
    directory = workdir / "evaluators"
    figures = read_json(directory / "done.json") if is_done(directory) else {}
    if name not in figures:
        return f"no {name} was trained; config.evaluators.names lacks it"
    return figures[name]["skipped"] if "skipped" in figures[name] else ""
