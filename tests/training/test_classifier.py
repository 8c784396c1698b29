"""Task `classifier`: it resumes, and the checkpoint that is kept is the best on validation."""

from cxr_jax.training import classifier
from tests.training.resuming import assert_resumes, read_metrics
from tests.training.tasks import ROWS, SEED, SIZE, SPLITS


def test_a_resumed_classifier_equals_the_undisturbed(tiny_config, monkeypatch, tmp_path):
    section = tiny_config.classifier
    section.update(dict(batch_size=ROWS, num_steps=6, eval_every=2))

    def run(directory):
        classifier.train(section, SIZE, SEED, directory=directory, splits=SPLITS)

    assert_resumes(run, classifier, monkeypatch, tmp_path)
    assert all("validation_auroc" in line for line in read_metrics(tmp_path / "killed"))
