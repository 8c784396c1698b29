"""The segmenter's training: what teaches it, and that it resumes."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.training import evaluators, segmenter, supervised
from cxr_jax.training.segmenter import segmenter_loss, with_lungs
from tests.training import resuming, tasks
from tests.training.evaluating import ROWS, SIZE, STILL, recorded


def test_only_films_whose_lungs_are_known_teach_the_segmenter(
    config, phantoms, tmp_path, monkeypatch
):
    known = {"train": np.arange(2 * ROWS) % 4 > 0, "test": np.arange(12) < 5}
    partly = {split: arrays | {"has_lung_mask": known[split]} for split, arrays in phantoms.items()}
    for split, arrays in partly.items():
        arrays["image"] = arrays["image"] * known[split][:, None, None, None].astype(np.uint8)
    config.evaluators.names = ("segmenter",)
    taught = []

    def spy(section, network, loss, *, arrays, **rest):
        taught.append(arrays)
        return supervised.train(section, network, loss, arrays=arrays, **rest)

    monkeypatch.setattr(segmenter, "train", spy)
    evaluators.run(config, tmp_path, partly)
    assert len(taught[0]["image"]) == len(taught[0]["lung_mask"]) == known["train"].sum()
    assert taught[0]["image"].any(axis=(1, 2, 3)).all()
    assert recorded(tmp_path)["segmenter"]["images"] == 5


class Threshold(nn.Module):
    """A segmenter that is right wherever lungs are bright and all else is dark."""

    @nn.compact
    def __call__(self, image):
        return self.param("gain", nn.initializers.ones_init(), ()) * image


def test_films_of_the_segmenter_are_moved_together_with_their_masks(key):
    mask = np.zeros((ROWS, SIZE, SIZE, 1), np.uint8)
    mask[:, 8:20, 10:24] = 255
    batch, keys = {"image": mask, "lung_mask": mask}, jax.random.split(key, ROWS)
    moving = dataclasses.replace(STILL, shift=0.2, rotation=10.0)
    loss = segmenter_loss(Threshold(), moving)
    assert float(loss({"gain": 20.0}, batch, keys, jnp.int32(0))) < 0.1
    stays = segmenter_loss(Threshold(), STILL)
    assert float(stays({"gain": -20.0}, batch, keys, jnp.int32(0))) > 10


@pytest.mark.parametrize(("train", "test"), [(ROWS - 1, 12), (2 * ROWS, 0)])
def test_too_few_lung_masks_are_counted(train, test, config, phantoms, tmp_path):
    masked = {"train": np.arange(2 * ROWS) < train, "test": np.arange(12) < test}
    partly = {name: arrays | {"has_lung_mask": masked[name]} for name, arrays in phantoms.items()}
    config.evaluators.names = ("segmenter",)
    evaluators.run(config, tmp_path, partly)
    reason = recorded(tmp_path)["segmenter"]["skipped"]
    assert f"{train} training and {test} test films have a lung mask" in reason


def test_one_convention_is_that_of_one_class():
    arrays = {
        "image": np.arange(4),
        "lung_mask": np.arange(4),
        "label": np.array([0, 1, 0, 1]),
        "has_lung_mask": np.array([True, True, False, True]),
    }
    for label, rows in ((-1, [0, 1, 3]), (0, [0]), (1, [1, 3])):
        np.testing.assert_array_equal(with_lungs(arrays, label)["image"], rows)


@pytest.mark.slow
def test_a_resumed_evaluator_equals_the_undisturbed(tiny_config, monkeypatch, tmp_path):
    tiny_config.evaluators.names = ("segmenter",)
    tiny_config.evaluators.segmenter.update(
        dict(batch_size=tasks.ROWS, num_steps=6, log_every=2, save_every=2, widths=(8, 8))
    )

    def run(workdir):
        evaluators.run(tiny_config, workdir, tasks.SPLITS)

    resuming.assert_resumes(run, supervised, monkeypatch, tmp_path, "evaluators/segmenter")
    one, other = (tmp_path / name / "evaluators" for name in ("undisturbed", "killed"))
    assert (one / "done.json").read_text() == (other / "done.json").read_text()
