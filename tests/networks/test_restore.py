"""Which network is loaded from which folder of a work directory."""

import jax
import numpy as np
import pytest

from cxr_jax.errors import InputError
from cxr_jax.networks import restore
from cxr_jax.networks.grading import Scale
from cxr_jax.runtime.workdir import mark_done

# What the arrays of each folder are filled with.
FILLED = {
    "classifier": 1.0,
    "classifier/judge": 2.0,
    "gan": 3.0,
    "encoder": 4.0,
    "evaluators/robust": 5.0,
    "evaluators/segmenter": 6.0,
    "evaluators/regressor": 7.0,
    "prior": 8.0,
}
SCALE = Scale(negative=np.float32(-1.1), strong=np.float32(2.2), graded=np.float32(0))


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """One with networks in every folder, of which the segmenter could not be trained."""

    def load(directory, init):
        number = FILLED[directory.relative_to(tmp_path).as_posix()]
        fill = lambda leaf: np.full(leaf.shape, number, leaf.dtype)
        return jax.tree.map(fill, jax.eval_shape(init))

    monkeypatch.setattr(restore, "load_networks", load)
    monkeypatch.setattr(
        restore, "networks_digest", lambda directory: directory.relative_to(tmp_path).as_posix()
    )
    restore.save_scale(tmp_path, SCALE)
    figures = {"regressor": {"error": 0.1}, "robust": {"auroc": 0.9}}
    mark_done(tmp_path / "evaluators", segmenter={"skipped": "there are no masks"}, **figures)
    return tmp_path


def filled(model) -> set[float]:
    return {float(number) for leaf in jax.tree.leaves(model.params) for number in np.unique(leaf)}


def test_every_model_has_the_networks_of_its_own_folder(tiny_config, workdir):
    models = restore.load_trained(tiny_config, workdir)
    assert filled(models.classifier) == {1.0} and filled(models.judge) == {2.0}
    assert filled(models.generator) == {3.0}
    assert filled(models.encoder) == {4.0}  # not the one that was trained with the GAN
    assert models.robust is None  # no path asks for it
    assert {float(number) for number in np.unique(models.prior.structure.axes)} == {8.0}
    assert filled(restore.load_segmenter(tiny_config, workdir)) == {6.0}
    assert filled(restore.load_regressor(tiny_config, workdir)) == {7.0}


def test_models_compute_in_float32_whatever_they_were_trained_in(tiny_config, workdir):
    for section in (tiny_config.classifier, tiny_config.judge, tiny_config.gan):
        section.dtype = "bfloat16"
    models = restore.load_trained(tiny_config, workdir)
    for model in (models.classifier, models.judge, models.generator, models.encoder):
        assert model.network.dtype == "float32"


def test_an_evaluator_that_a_path_needs_is_loaded_or_missed_by_name(tiny_config, workdir):
    assert restore.load_trained(tiny_config, workdir).robust is None
    assert filled(restore.load_trained(tiny_config, workdir, {"robust"}).robust) == {5.0}
    mark_done(workdir / "evaluators")  # none was trained
    with pytest.raises(InputError, match="'robust', but no robust.*evaluators.names") as raised:
        restore.load_trained(tiny_config, workdir, {"robust"})
    assert "\n" not in str(raised.value)


def test_a_scale_is_loaded_bit_by_bit(workdir, tmp_path):
    loaded = restore.load_scale(workdir)
    for name in ("negative", "strong", "graded"):
        value = getattr(loaded, name)
        assert value.dtype == np.float32 and value == getattr(SCALE, name)
    with pytest.raises(InputError, match="scale.json is missing; run --task=gan"):
        restore.load_scale(tmp_path / "elsewhere")


def test_digests_are_of_the_networks_that_are_there(tiny_config, workdir):
    tiny_config.evaluators.names = ("segmenter", "regressor")
    folders = ["classifier", "classifier/judge", "gan", "encoder", "prior", "evaluators/regressor"]
    assert restore.digests(tiny_config, workdir) == dict(zip(folders, folders, strict=True))
    tiny_config.classifier.module = "theirs:function"
    assert "classifier" not in restore.digests(tiny_config, workdir)
    tiny_config.gan.networks = "paper"
    assert "encoder" not in restore.digests(tiny_config, workdir)
    tiny_config.gan.objective = "paper"
    assert "prior" not in restore.digests(tiny_config, workdir)
    assert restore.load_prior(tiny_config, workdir) is None


def test_why_an_evaluator_is_not_there(workdir, tmp_path):
    assert restore.missing_reason(workdir, "regressor") == ""
    assert restore.missing_reason(workdir, "segmenter") == "there are no masks"
    reason = "no robust was trained; config.evaluators.names lacks it"
    assert restore.missing_reason(tmp_path / "elsewhere", "robust") == reason
