"""A finished run, ready to explain films without the data that it was trained on.

It lies either in the work directory, or exported as two files: networks.safetensors, with every
network's parameters and the calibration's arrays, and explainer.json, with everything else.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import flax
import ml_collections
import numpy as np
import safetensors
import safetensors.numpy

from cxr_jax.errors import InputError
from cxr_jax.explain.explained import Calibration
from cxr_jax.explain.paths import needed_evaluators
from cxr_jax.models.model import Model
from cxr_jax.networks import restore
from cxr_jax.networks.build import (
    make_classifier,
    make_gan_networks,
    make_robust,
    make_segmenter,
)
from cxr_jax.networks.prior import make_prior
from cxr_jax.networks.restore import TrainedModels
from cxr_jax.pipeline.calibrate import (
    GUIDE_ARRAYS,
    describe_calibration,
    guide_arrays,
    is_calibrated,
    load_calibration,
    parse_calibration,
)
from cxr_jax.runtime import parallel, precision
from cxr_jax.runtime.workdir import is_done, read_contents, read_json, write_json
from cxr_jax.types import Params

ARRAYS, FACTS = "networks.safetensors", "explainer.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """What explaining a new film needs.

    Attributes:
      config: of the run.
      segmenter: of the lungs; None where none was trained.
      contents: what identifies the data that it was trained on.
    """

    config: ml_collections.ConfigDict
    models: TrainedModels
    segmenter: Model | None
    calibration: Calibration
    contents: str


def load_run(path: Path, config: ml_collections.ConfigDict | None = None) -> FinishedRun:
    """A finished run of a work directory, or an exported one.

    Args:
      config: with other fields of `config.explain` than the run's own, where the calibration does
        not depend on them.

    Raises:
      InputError: if there is none, it has not come to its end, or it is damaged; or if it was
        calibrated for other fields of the config.
    """
    if (path / FACTS).exists():
        return _load_exported(path)
    if not (path / "config.json").exists():
        raise InputError(f"{path} holds no run; give the --workdir of a finished one")
    if not is_done(path / "explain"):
        raise InputError(f"{path / 'explain'} is not complete; run --task=all there first")
    config = config or ml_collections.ConfigDict(read_json(path / "config.json"))
    if not is_calibrated(path / "explain", config.explain, restore.digests(config, path)):
        raise InputError(
            f"{path / 'explain'} was made with other networks, another config.explain or an "
            "earlier version; run --task=explain there first, without config.explain.dir"
        )
    has_segmenter = not restore.missing_reason(path, "segmenter")
    exact = precision.in_float32(config)
    return FinishedRun(
        config=config,
        models=restore.load_trained(config, path, needed_evaluators(config.explain.paths)),
        segmenter=restore.load_segmenter(exact, path) if has_segmenter else None,
        calibration=load_calibration(path / "explain"),
        contents=read_contents(path),
    )


def export_run(run: FinishedRun, directory: Path, *, prior: bool = True) -> None:
    """Writes a finished run as two files.

    Args:
      prior: whether that of the latents, which no explanation needs, is among the networks.

    Raises:
      InputError: if its classifier is a function of the user's own, which no file can hold.
    """
    models, calibration = run.models, run.calibration
    if run.config.classifier.module or run.config.judge.module:
        raise InputError("a classifier of your own (config.*.module) cannot be exported")
    networks = {name: getattr(models, name) for name in ("classifier", "judge", "generator")}
    networks |= {"encoder": models.encoder, "robust": models.robust, "segmenter": run.segmenter}
    trees = {name: model.params for name, model in networks.items() if model is not None}
    if prior and models.prior is not None:
        trees["prior"] = models.prior.arrays
    trees["calibration"] = guide_arrays(calibration.guide)
    directory.mkdir(parents=True, exist_ok=True)
    arrays = flax.traverse_util.flatten_dict(trees, sep="/")
    local = {name: np.ascontiguousarray(np.asarray(array)) for name, array in arrays.items()}
    # Written by us, with the user's own permissions: safetensors' writer leaves the owner alone.
    (directory / ARRAYS).write_bytes(safetensors.numpy.save(local))
    write_json(
        directory / FACTS,
        {
            "config": run.config.to_dict(),
            "scale": restore.describe_scale(models.scale),
            "calibration": describe_calibration(calibration),
            "data": run.contents,
        },
    )


def _load_exported(path: Path) -> FinishedRun:
    facts = read_json(path / FACTS)
    config = ml_collections.ConfigDict(facts["config"])
    exact = precision.in_float32(config)
    trees = _read_arrays(path / ARRAYS)
    if trees["calibration"].keys() != set(GUIDE_ARRAYS):
        raise InputError(f"{path} was exported by an earlier version; export the run again")
    gan = make_gan_networks(exact)
    modules = {
        "classifier": make_classifier(exact.classifier),
        "judge": make_classifier(exact.judge),
        "generator": gan.generator,
        "encoder": gan.encoder,
        "robust": make_robust(exact.evaluators.robust),
        "segmenter": make_segmenter(exact.evaluators.segmenter),
    }
    models = {
        name: Model(module, parallel.replicate(trees[name])) if name in trees else None
        for name, module in modules.items()
    }
    if "prior" in trees:
        arrays = parallel.replicate(trees["prior"])
        models["prior"] = make_prior(exact, seed=0).with_arrays(arrays)
    segmenter = models.pop("segmenter")
    return FinishedRun(
        config=config,
        models=TrainedModels(scale=restore.parse_scale(facts["scale"]), **models),
        segmenter=segmenter,
        calibration=parse_calibration(facts["calibration"], trees["calibration"]),
        contents=facts["data"],
    )


def _read_arrays(path: Path) -> Mapping[str, Params]:
    try:
        arrays = safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path} cannot be read ({error}); export the run again") from error
    return flax.traverse_util.unflatten_dict(arrays, sep="/")
