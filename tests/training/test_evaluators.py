"""The networks that judge: what is recorded of them, what is skipped and why, and loading."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax import losses
from cxr_jax.data.augment import Augmentation
from cxr_jax.data.film_parameters import NAMES, SOURCES
from cxr_jax.datasets.cxr_phantom.phantom import PhantomSpec, draw
from cxr_jax.errors import InputError
from cxr_jax.models.model import Model
from cxr_jax.networks.build import init_params, make_compact
from cxr_jax.networks.restore import (
    load_regressor,
    load_robust,
    load_segmenter,
    margins,
    missing_reason,
)
from cxr_jax.training import evaluators, robust, segmenter, supervised
from cxr_jax.training.attack import Attack
from cxr_jax.training.regressor import fit_standardisation
from cxr_jax.training.robust import attacked_margins, robust_loss
from cxr_jax.training.segmenter import find_lungs, segmenter_loss, with_lungs
from tests.training import resuming
from tests.training.tasks import ROWS as TASK_ROWS
from tests.training.tasks import SPLITS

SIZE, ROWS = 32, 16
STILL = Augmentation(**{field.name: 0.0 for field in dataclasses.fields(Augmentation)})


@pytest.fixture(scope="module")
def splits() -> dict[str, dict[str, np.ndarray]]:
    """Phantoms with all that is true of them."""
    fields = ("image", "label", *SOURCES)

    def stack(first: int, count: int) -> dict[str, np.ndarray]:
        examples = [draw(0, index, PhantomSpec(SIZE)) for index in range(first, first + count)]
        return {name: np.stack([example[name] for example in examples]) for name in fields}

    return {"train": stack(0, 2 * ROWS), "test": stack(1000, 12)}


@pytest.fixture
def config(tiny_config):
    tiny_config.data.image_size = SIZE
    for name in evaluators.EVALUATORS:
        section = tiny_config.evaluators[name]
        section.update(dict(batch_size=ROWS, num_steps=2, log_every=1, save_every=2, widths=(4, 4)))
        section.augmentation.update(dataclasses.asdict(STILL))  # less to compile
    return tiny_config


def attack(epsilon: float, step_size: float, num_steps: int) -> Attack:
    return Attack(epsilon=epsilon, step_size=step_size, num_steps=num_steps)


def recorded(workdir) -> dict:
    text = (workdir / "evaluators" / "done.json").read_text()
    return json.loads(text, parse_constant=lambda name: pytest.fail(name))


def without(splits, *names):
    return {
        split: {name: array for name, array in arrays.items() if name not in names}
        for split, arrays in splits.items()
    }


def test_nothing_is_trained_unless_asked_for(config, splits, tmp_path):
    evaluators.run(config, tmp_path, splits)
    assert not list(tmp_path.iterdir())
    assert evaluators.needed_truths(()) == ()


def test_each_asks_for_its_truths_and_another_is_refused_by_name():
    asked = evaluators.needed_truths(("segmenter", "regressor", "robust"))
    assert {"lung_mask", "has_lung_mask", *SOURCES} == set(asked)
    assert "severity" not in evaluators.needed_truths(("segmenter", "robust"))
    with pytest.raises(InputError, match="'segmentor'.*segmenter, regressor, robust"):
        evaluators.needed_truths(("robust", "segmentor"))


def test_all_three_are_trained_recorded_and_loaded(config, splits, tmp_path):
    config.evaluators.names = ("segmenter", "regressor", "robust")
    evaluators.run(config, tmp_path, splits)
    figures = recorded(tmp_path)
    assert figures["segmenter"].keys() == {"dice", "images"}
    assert 0 <= figures["segmenter"]["dice"] <= 1
    regressor = figures["regressor"]
    assert list(regressor["r_squared"]) == list(regressor["mean"]) == list(NAMES)
    assert all(value <= 1 for value in regressor["r_squared"].values())
    severity = splits["train"]["severity"]
    assert regressor["mean"]["severity"] == pytest.approx(float(severity.mean()), rel=1e-5)
    assert regressor["std"]["severity"] == pytest.approx(float(severity.std()), rel=1e-5)
    # The explained classifier was not trained here, so that nothing is said of it.
    assert figures["robust"].keys() == {"auroc", "auroc_attacked", "images"}
    assert {figures[name]["images"] for name in config.evaluators.names} == {12}
    for name, load in [
        ("segmenter", load_segmenter),
        ("regressor", load_regressor),
        ("robust", load_robust),
    ]:
        lines = (tmp_path / "evaluators" / name / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [1, 2]
        assert missing_reason(tmp_path, name) == ""
        outputs = load(config, tmp_path)(jnp.zeros((2, SIZE, SIZE, 1)))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(outputs))
    found = find_lungs(load_segmenter(config, tmp_path), splits["test"]["image"])
    truth = splits["test"]["lung_mask"] > 0
    each = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in zip(found, truth, strict=True)]
    assert figures["segmenter"]["dice"] == pytest.approx(np.mean(each))


def test_one_more_may_be_asked_for_later(config, splits, tmp_path, caplog):
    config.evaluators.names = ("segmenter",)
    evaluators.run(config, tmp_path, splits)
    first = recorded(tmp_path)
    lines = tmp_path / "evaluators" / "segmenter" / "metrics.jsonl"
    written = lines.read_text()
    config.evaluators.names = ("segmenter", "robust")
    evaluators.run(config, tmp_path, splits)
    second = recorded(tmp_path)
    assert second["segmenter"] == first["segmenter"] and "auroc" in second["robust"]
    assert lines.read_text() == written
    caplog.set_level("INFO", "cxr_jax")
    evaluators.run(config, tmp_path, splits)
    assert [record.getMessage() for record in caplog.records] == ["evaluators: complete, skipped"]


def test_only_films_whose_lungs_are_known_teach_the_segmenter(
    config, splits, tmp_path, monkeypatch
):
    known = {"train": np.arange(2 * ROWS) % 4 > 0, "test": np.arange(12) < 5}
    partly = {split: arrays | {"has_lung_mask": known[split]} for split, arrays in splits.items()}
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


class Threshold:
    """A segmenter that is right wherever lungs are bright and all else is dark."""

    def apply(self, variables, image):
        return variables["params"] * image


def test_films_of_the_segmenter_are_moved_together_with_their_masks(key):
    mask = np.zeros((ROWS, SIZE, SIZE, 1), np.uint8)
    mask[:, 8:20, 10:24] = 255
    batch, keys = {"image": mask, "lung_mask": mask}, jax.random.split(key, ROWS)
    moving = dataclasses.replace(STILL, shift=0.2, rotation=10.0)
    loss = segmenter_loss(Threshold(), moving)
    assert float(loss(20.0, batch, keys, jnp.int32(0))) < 0.1
    stays = segmenter_loss(Threshold(), STILL)
    assert float(stays(-20.0, batch, keys, jnp.int32(0))) > 10


@pytest.mark.parametrize(
    ("lacks", "name", "reason"),
    [
        (("lung_mask",), "segmenter", "has no lung masks"),
        (("severity", "parameters"), "regressor", "does not know severity, parameters"),
    ],
)
def test_what_the_data_cannot_teach_is_skipped_with_a_reason(
    lacks, name, reason, config, splits, tmp_path, caplog
):
    caplog.set_level("INFO", "cxr_jax")
    config.evaluators.names = (name,)
    evaluators.run(config, tmp_path, without(splits, *lacks))
    assert reason in recorded(tmp_path)[name]["skipped"]
    assert reason in missing_reason(tmp_path, name)
    assert len(caplog.records) == 1 and reason in caplog.text
    assert not (tmp_path / "evaluators" / name).exists()
    assert "lacks it" in missing_reason(tmp_path, "robust")


@pytest.mark.parametrize(("train", "test"), [(ROWS - 1, 12), (2 * ROWS, 0)])
def test_too_few_lung_masks_are_counted(train, test, config, splits, tmp_path):
    masked = {"train": np.arange(2 * ROWS) < train, "test": np.arange(12) < test}
    partly = {split: arrays | {"has_lung_mask": masked[split]} for split, arrays in splits.items()}
    config.evaluators.names = ("segmenter",)
    evaluators.run(config, tmp_path, partly)
    reason = recorded(tmp_path)["segmenter"]["skipped"]
    assert f"{train} training and {test} test films have a lung mask" in reason


def test_nothing_there_is_a_reason_too(tmp_path):
    assert "lacks it" in missing_reason(tmp_path, "segmenter")


def test_a_parameter_that_never_varies_keeps_its_unit():
    standard = fit_standardisation(np.array([[1.0, 5.0], [3.0, 5.0]], np.float32))
    np.testing.assert_array_equal(standard.mean, [2.0, 5.0])
    np.testing.assert_array_equal(standard.std, [1.0, 1.0])
    standard = fit_standardisation(np.array([[1.0], [5.0]], np.float32))
    np.testing.assert_array_equal(standard.std, [2.0])


@pytest.fixture
def classifier(config, random_like, splits):
    """A classifier whose answers differ among the films."""
    network = make_compact(config.evaluators.robust)
    return Model(network, random_like(lambda: init_params(network, SIZE, 0)))


def test_the_test_attack_turns_answers_against_the_label(classifier, splits):
    arrays = splits["test"] | {"label": np.arange(12) % 2}
    clean = margins(classifier, arrays["image"])
    before = clean
    for steps, epsilon in [(1, 0.02), (4, 0.1)]:
        strength = attack(epsilon, 1.25 * epsilon / steps, steps)
        attacked = attacked_margins(classifier, arrays, strength, seed=0)
        sign = np.where(arrays["label"] == 1, 1, -1)
        assert (sign * attacked < sign * before).all(), "the stronger attack does more"
        before = attacked
    nothing = attacked_margins(classifier, arrays, attack(0.0, 0.0, 1), seed=0)
    np.testing.assert_allclose(nothing, clean, atol=1e-4)


def test_the_robust_loss_is_that_of_attacked_films(classifier, splits, key):
    batch = {name: splits["test"][name] for name in ("image", "label")}
    keys = jax.random.split(key, 12)

    def loss(strength: Attack, step: int) -> float:
        fn = robust_loss(classifier.network, STILL, strength, warmup_steps=10, smoothing=0.0)
        return float(fn(classifier.params, batch, keys, jnp.int32(step)))

    margin = margins(classifier, batch["image"])
    clean = float(losses.classification(jnp.asarray(margin), batch["label"], 0.0))
    assert loss(attack(0.0, 0.0, 1), 99) == pytest.approx(clean, rel=1e-4)
    strength = attack(0.2, 0.25, 1)
    assert loss(strength, 99) > clean + 0.01
    # It grows over ten steps and then no more.
    assert clean < loss(strength, 0) < loss(strength, 4) < loss(strength, 9)
    assert loss(strength, 9) == loss(strength, 99)
    assert loss(strength, 4) == pytest.approx(loss(attack(0.1, 0.125, 1), 99), rel=1e-5)


def test_the_explained_classifier_meets_the_same_attack(config, splits, tmp_path, monkeypatch):
    """A network attacked by itself: where both are the same, so are the figures."""
    config.evaluators.names = ("robust",)
    monkeypatch.setattr(robust, "load_classifier", lambda *arguments: load_robust(config, tmp_path))
    (tmp_path / "classifier").mkdir()
    (tmp_path / "classifier" / "done.json").write_text("{}")
    evaluators.run(config, tmp_path, splits)
    figures = recorded(tmp_path)["robust"]
    assert figures["auroc_attacked_classifier"] == figures["auroc_attacked"]


def test_one_convention_is_that_of_one_class():
    arrays = {
        "image": np.arange(4),
        "lung_mask": np.arange(4),
        "label": np.array([0, 1, 0, 1]),
        "has_lung_mask": np.array([True, True, False, True]),
    }
    for label, rows in ((-1, [0, 1, 3]), (0, [0]), (1, [1, 3])):
        np.testing.assert_array_equal(with_lungs(arrays, label)["image"], rows)


def test_a_resumed_evaluator_equals_the_undisturbed(tiny_config, monkeypatch, tmp_path):
    tiny_config.evaluators.names = ("segmenter",)
    tiny_config.evaluators.segmenter.update(
        dict(batch_size=TASK_ROWS, num_steps=6, log_every=2, save_every=2, widths=(8, 8))
    )

    def run(workdir):
        evaluators.run(tiny_config, workdir, SPLITS)

    resuming.assert_resumes(run, supervised, monkeypatch, tmp_path, "evaluators/segmenter")
    one, other = (tmp_path / name / "evaluators" for name in ("undisturbed", "killed"))
    assert (one / "done.json").read_text() == (other / "done.json").read_text()
