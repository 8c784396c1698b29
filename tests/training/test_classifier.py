"""Task `classifier`: it resumes, and the checkpoint that is kept is the best on validation."""

import jax
import numpy as np
import pytest

from cxr_jax.errors import InputError
from cxr_jax.networks.restore import load_classifier, load_segmenter
from cxr_jax.training import classifier, evaluators
from tests.training.resuming import assert_resumes, read_metrics
from tests.training.tasks import ROWS, SEED, SIZE, SPLITS


def test_a_resumed_classifier_equals_the_undisturbed(tiny_config, monkeypatch, tmp_path):
    section = tiny_config.classifier
    section.update(dict(batch_size=ROWS, num_steps=6, eval_every=2))

    def run(directory):
        classifier.train(section, SIZE, SEED, directory=directory, splits=SPLITS)

    assert_resumes(run, classifier, monkeypatch, tmp_path)
    assert all("validation_auroc" in line for line in read_metrics(tmp_path / "killed"))


@pytest.fixture
def lungs_config(tiny_config):
    """f sees lungs alone; its segmenter is taught by one batch a step."""
    tiny_config.data.image_size = SIZE
    tiny_config.evaluators.names = ("segmenter",)
    tiny_config.evaluators.segmenter.update(dict(batch_size=ROWS, num_steps=3, widths=(4, 4)))
    for section in (tiny_config.classifier, tiny_config.judge):
        section.update(dict(batch_size=ROWS, num_steps=2, eval_every=2, weight_decay=0.5))
    tiny_config.classifier.update(dict(visible="lungs", segmenter_widths=(4, 4)))
    return tiny_config


def test_a_classifier_of_lungs_brings_the_segmenter_that_finds_them(lungs_config, tmp_path):
    classifier.run(lungs_config, tmp_path, SPLITS)
    segmenter = load_segmenter(lungs_config, tmp_path)
    model = load_classifier(lungs_config.classifier, SIZE, tmp_path / "classifier")
    # Neither weight decay nor averaging has touched it.
    jax.tree.map(np.testing.assert_array_equal, model.params["segmenter"], segmenter.params)
    judge = load_classifier(lungs_config.judge, SIZE, tmp_path / "classifier" / "judge")
    assert "segmenter" not in judge.params
    # The task `evaluators` finds it trained.
    evaluators.run(lungs_config, tmp_path, SPLITS)
    again = load_segmenter(lungs_config, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, again.params, segmenter.params)


def test_a_classifier_of_lungs_needs_masks(lungs_config, tmp_path):
    splits = {
        split: {name: array for name, array in arrays.items() if name != "lung_mask"}
        for split, arrays in SPLITS.items()
    }
    with pytest.raises(InputError, match="visible='lungs' needs a segmenter, but .* no lung masks"):
        classifier.run(lungs_config, tmp_path, splits)
    with pytest.raises(InputError, match="by main.py alone"):
        classifier.train(lungs_config.classifier, SIZE, SEED, directory=tmp_path, splits=splits)
