"""Training steps: any number of devices learns the same, and a resumed run equals the undisturbed.

The comparisons of devices run in 64 bits, where rounding cannot hide a forgotten average.
"""

import itertools
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import pytest

from benchmarks import steps
from cxr_jax.data import arrays
from cxr_jax.data import film_parameters
from cxr_jax.training import gan_objective
from cxr_jax.training import gan_state
from cxr_jax.training import paper_objective
from cxr_jax.runtime import parallel
from cxr_jax.training import classifier
from cxr_jax.training import encoder
from cxr_jax.training import evaluators
from cxr_jax.training import gan
from cxr_jax.training import paper_gan
from cxr_jax.training.attack import Attack
from cxr_jax.data.augment import Augmentation
from cxr_jax.training.ema import AveragedState
from cxr_jax.runtime.checkpoint import Checkpoints
from cxr_jax.training.gan_state import Setting
from cxr_jax.networks.grading import Scale
from cxr_jax.models.published.adapter import Adapted
from cxr_jax.models.published.densenet import DenseNet
from cxr_jax.models.paper import PaperDiscriminator
from cxr_jax.models.paper import PaperGenerator
from cxr_jax.models.published.vgg import VGG

SIZE, SEED = 16, np.uint32(3)
# The least that a GAN's step takes. To count the devices would start JAX, and the processes of
# test_processes.py, which import this file, must join each other first.
ROWS = 4 * int(os.environ.get("TEST_DEVICES", "4"))
AUGMENTATION = Augmentation(
    shift=0.05, rotation=5.0, zoom=0.05, brightness=0.1, contrast=0.1, noise=0.02, wires=0.2
)

WEIGHTS = paper_objective.Weights(entropy=np.float32(1.0), mode_seeking=np.float32(0.2))


class Task(NamedTuple):
    """A step with everything that it is called with."""

    step: Callable
    state: Any
    frozen: tuple


def make_arrays(count: int) -> dict[str, np.ndarray]:
    """Films whose positives have a bright upper half, which is also what counts as their lungs."""
    rng = np.random.default_rng(0)
    label = np.arange(count) % 4 < 2
    image = rng.integers(0, 120, (count, SIZE, SIZE, 1))
    image[:, : SIZE // 2] += 100 * label[:, None, None, None]
    lungs = np.zeros(image.shape, np.uint8)
    lungs[:, : SIZE // 2] = 255 * label[:, None, None, None]
    parameters = np.repeat(2.0 * label[:, None] - 1, len(film_parameters.NAMES), axis=1)
    return {
        "image": image.astype(np.uint8),
        "label": label.astype(np.int64),
        "lung_mask": lungs,
        "parameters": parameters.astype(np.float32),
    }


def batch_of(number: int) -> dict[str, np.ndarray]:
    """Batch `number`, with every row's position in the global batch."""
    arrays = make_arrays(3 * ROWS)
    rows = {name: array[number * ROWS : (number + 1) * ROWS] for name, array in arrays.items()}
    return {"index": np.arange(ROWS, dtype=np.int32), **rows}


def widened(tree):
    """Floating-point leaves in 64 bits; on NumPy, so that no device owns them."""

    def widen(leaf):
        leaf = np.asarray(leaf)
        return leaf.astype(np.float64) if leaf.dtype == np.float32 else leaf

    return jax.tree.map(widen, tree)


@pytest.fixture
def networks(tiny_config) -> Networks:
    return make_networks(tiny_config)


def double(networks: Networks) -> Networks:
    """The same networks, computing in 64 bits where they leave the choice."""
    return Networks(
        *(net.clone(dtype="float64") if hasattr(net, "dtype") else net for net in networks)
    )


def classifier_task(config, networks, random_like) -> Task:
    network = networks.classifier
    optimizer = optax.adamw(1e-3, weight_decay=1e-2)
    params = random_like(lambda: classifier.init_params(network, SIZE, 0))
    state = AveragedState(
        np.int32(0), params, jax.tree.map(np.copy, params), optimizer.init(params)
    )
    step = classifier.make_train_step(network, optimizer, AUGMENTATION, 0.05, 0.9, SEED)
    return Task(step, state, ())


def published_task(backbone, networks) -> Task:
    """A network with batch statistics, or with dropout, behind its convention."""
    network = Adapted(
        backbone.clone(dtype=networks.classifier.dtype),
        *(24, 2, (-2.0,), (3.0,)),
        positive_output=1,
        negative_output=0,
        threshold=0.5,
    )
    optimizer = optax.adamw(1e-3, weight_decay=1e-2)
    params = classifier.init_params(network, SIZE, 0)
    state = AveragedState(
        np.int32(0), params, jax.tree.map(np.copy, params), optimizer.init(params)
    )
    step = classifier.make_train_step(network, optimizer, AUGMENTATION, 0.05, 0.9, SEED)
    return Task(step, state, ())


def densenet_task(config, networks, random_like) -> Task:
    backbone = DenseNet(2, blocks=(1, 1), growth=4, stem=8, total=parallel.total)
    return published_task(backbone, networks)


def vgg_task(config, networks, random_like) -> Task:
    return published_task(VGG(2, hidden=(8,), blocks=(1, 1), widths=(4, 8)), networks)


def gan_parts(networks, random_like) -> tuple:
    """(optimisers, a state, frozen): a classifier whose answers differ among the films."""
    generator, discriminator = random_like(lambda: init_gan_params(networks, 0))
    optimizers = gan_state.Optimizers(optax.adam(1e-3, b1=0.5), optax.adam(1e-3, b1=0.5))
    state = gan_state.GanState(
        step=np.int32(0),
        generator=generator,
        discriminator=discriminator,
        average=jax.tree.map(np.copy, generator),
        generator_optimizer=optimizers.generator.init(generator),
        discriminator_optimizer=optimizers.discriminator.init(discriminator),
    )
    network = networks.classifier
    classifier = random_like(lambda: classifier.init_params(network, SIZE, 0))
    margin = margins(network, classifier, make_arrays(3 * ROWS)["image"])
    # Two answers are needed, or half of the step lies idle.
    head = classifier["Dense_0"]
    head = head | {"bias": head["bias"] - np.float32(np.median(margin))}
    spread = np.float32(margin.std())
    return optimizers, state, (classifier | {"Dense_0": head}, Scale(-spread, spread))


def setting_of(config) -> Setting:
    return gan.make_setting(config, "ours")._replace(seed=SEED)


def gan_task(config, networks, random_like) -> Task:
    optimizers, state, frozen = gan_parts(networks, random_like)
    step = gan.make_train_step(networks, optimizers, AUGMENTATION, 50.0)
    return Task(step, state, (*frozen, setting_of(config)))


def paper_task(config, networks, random_like) -> Task:
    optimizers, state, frozen = gan_parts(networks, random_like)
    step = paper_gan.make_train_step(networks, optimizers, 50.0)
    return Task(step, state, (*frozen, Setting(WEIGHTS, SEED)))


def paper_networks_task(config, networks, random_like) -> Task:
    """Batch statistics and dropout on both sides."""
    of_paper = Networks(
        generator=PaperGenerator(
            SIZE, (5, 2), (8, 4), total=parallel.total, dtype=networks.generator.dtype
        ),
        encoder=None,
        discriminator=PaperDiscriminator(
            (4, 4), total=parallel.total, dtype=networks.discriminator.dtype
        ),
        critic=None,
        classifier=networks.classifier,
    )
    optimizers, state, frozen = gan_parts(of_paper, random_like)
    step = paper_gan.make_train_step(of_paper, optimizers, 50.0)
    return Task(step, state, (*frozen, Setting(WEIGHTS, SEED)))


def label_task(config, networks, random_like) -> Task:
    """The GAN whose class latents follow the labels."""
    optimizers, state, (classifier, scale) = gan_parts(networks, random_like)
    step = gan.make_train_step(networks, optimizers, AUGMENTATION, 50.0, by_label=True)
    scale = scale._replace(graded=np.float32(0))
    return Task(step, state, (classifier, scale, setting_of(config)))


def penalty_task(config, networks, random_like) -> Task:
    optimizers, state, frozen = gan_parts(networks, random_like)
    step = gan.make_penalty_step(networks, optimizers.discriminator, 8.0)
    return Task(step, state, frozen)


def encoder_task(config, networks, random_like) -> Task:
    _, state, (classifier, scale) = gan_parts(networks, random_like)
    optimizer = optax.adam(1e-3)
    step = encoder.make_train_step(networks, optimizer, AUGMENTATION)
    gan = {**state.generator, "discriminator": state.discriminator}
    encoder = gan["encoder"]
    state = encoder.EncoderState(np.int32(0), encoder, optimizer.init(encoder))
    return Task(step, state, (gan, classifier, scale, setting_of(config)))


def evaluator_task(network, loss, random_like) -> Task:
    optimizer = optax.adam(1e-3)
    params = random_like(lambda: classifier.init_params(network, SIZE, 0))
    state = AveragedState(
        np.int32(0), params, jax.tree.map(np.copy, params), optimizer.init(params)
    )
    return Task(make_train_step(loss, optimizer, 0.9, SEED), state, ())


def segmenter_task(config, networks, random_like) -> Task:
    network = make_segmenter(config.evaluators.segmenter)
    network = network.clone(dtype=networks.classifier.dtype, widths=(8, 8))
    loss = segmenter_loss(network, AUGMENTATION)
    return evaluator_task(network, loss, random_like)


def regressor_task(config, networks, random_like) -> Task:
    network = make_regressor(config.evaluators.regressor)
    network = network.clone(dtype=networks.classifier.dtype, widths=(8, 8))
    loss = regressor_loss(network, AUGMENTATION)
    return evaluator_task(network, loss, random_like)


def robust_task(config, networks, random_like) -> Task:
    strength = Attack(epsilon=0.05, step_size=0.04, num_steps=2)
    network = networks.classifier.clone(widths=(8, 8))
    loss = robust_loss(network, AUGMENTATION, strength, 2, 0.05)
    return evaluator_task(network, loss, random_like)


TASKS = {
    "classifier": classifier_task,
    "densenet": densenet_task,
    "vgg": vgg_task,
    "gan": gan_task,
    "gan by label": label_task,
    "paper": paper_task,
    "paper's networks": paper_networks_task,
    "penalty": penalty_task,
    "encoder": encoder_task,
    "segmenter": segmenter_task,
    "regressor": regressor_task,
    "robust": robust_task,
}
# One of each kind of state is compared in every run of the tests, the others by `make test-all`.
OFTEN = ("classifier", "gan", "paper's networks", "penalty", "robust")
SOME_ARE_SLOW = [
    name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in TASKS
]


def on_one_device(step: Callable, num_frozen: int) -> Callable:
    """`parallel.pmap_step` for the first device alone, which gets the joined batch."""
    in_axes = (None, 0, *(None,) * num_frozen)
    mapped = jax.pmap(
        step,
        axis_name=parallel.AXIS,
        in_axes=in_axes,
        out_axes=None,
        devices=jax.local_devices()[:1],
    )
    return lambda state, batch, *frozen: mapped(
        state, jax.tree.map(lambda array: array[None], batch), *frozen
    )


def largest_difference(one, other) -> float:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs)


@pytest.mark.parametrize("name", SOME_ARE_SLOW)
def test_devices_learn_what_one_learns_from_the_joined_batch(
    name, tiny_config, networks, random_like
):
    task = TASKS[name](tiny_config, networks, random_like)
    with jax.enable_x64(True):
        task = TASKS[name](tiny_config, double(networks), random_like)
        start, frozen = widened(task.state), widened(task.frozen)
        alone = on_one_device(task.step, len(frozen))
        together = parallel.pmap_step(task.step, len(frozen))
        one, many = start, parallel.replicate(start)
        shared = parallel.replicate(frozen)
        for number in range(3):
            one, one_metrics = alone(one, batch_of(number), *frozen)
            many, many_metrics = together(many, parallel.shard(batch_of(number)), *shared)
        assert parallel.is_synced(many)
        assert largest_difference(start, one) > 1e-3, "nothing was learned"
        assert largest_difference(one, many) < 1e-5
        assert largest_difference(one_metrics, many_metrics) < 1e-5


@pytest.mark.slow
def test_eight_devices_learn_what_one_learns_too():
    """In a process of its own: the number of devices is chosen once."""
    chosen = f"{__file__}::test_devices_learn_what_one_learns_from_the_joined_batch"
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", chosen],
        env=os.environ | {"TEST_DEVICES": "8"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-3000:]
    assert f"{len(TASKS)} passed" in result.stdout


def scalar_of(name: str, metrics) -> float:
    """What ought to fall."""
    if name == "penalty":
        return float(metrics)
    field = {
        "gan": "pixel",
        "gan by label": "pixel",
        "paper": "entropy",
        "paper's networks": "discriminator",
        "encoder": "error",
    }
    return float(metrics.compute()[field[name] if name in field else "loss"])


@pytest.mark.parametrize("name", SOME_ARE_SLOW)
def test_a_step_counts_learns_and_compiles_once(name, tiny_config, networks, random_like, caplog):
    task = TASKS[name](tiny_config, networks, random_like)
    mapped = parallel.pmap_step(task.step, len(task.frozen))
    state, frozen = parallel.replicate(task.state), parallel.replicate(task.frozen)
    batch = parallel.shard(batch_of(0))
    history = []
    for number in range(24):
        if number == 1:
            caplog.set_level(logging.WARNING, "jax")
            jax.config.update("jax_log_compiles", True)
        state, metrics = mapped(state, batch, *frozen)
        history.append(metrics)
    jax.config.update("jax_log_compiles", False)
    assert not [record for record in caplog.records if "ompil" in record.getMessage()]
    assert int(state.step) == (0 if name == "penalty" else 24)
    values = [scalar_of(name, metrics) for metrics in history]
    assert np.isfinite(values).all()
    assert np.mean(values[-4:]) < np.mean(values[:4])
    assert parallel.is_synced(state)


@pytest.mark.parametrize(
    "step", [steps.gan_step, pytest.param(steps.encoder_step, marks=pytest.mark.slow)]
)
def test_gans_of_other_seeds_and_weights_share_a_program(step, tiny_config):
    programs, settings = set(), set()
    for seed, locality in ((0, 1.0), (7, 0.0)):
        tiny_config.gan.seed, tiny_config.gan.weights.locality = seed, locality
        programs.add(
            step(tiny_config, jax.local_devices()).lower(len(jax.local_devices())).as_text()
        )
        settings.add(str(gan.make_setting(tiny_config, "ours")))
    assert len(programs) == 1 and len(settings) == 2


def test_an_encoder_alone_learns_by_our_objective(tiny_config):
    """Also of a GAN that was trained by the paper's."""
    tiny_config.gan.objective = "paper"
    step = steps.encoder_step(tiny_config, jax.local_devices())
    step.lower(len(jax.local_devices()))
    of_paper = gan.make_setting(tiny_config, tiny_config.gan.objective)
    assert isinstance(of_paper.weights, paper_objective.Weights)


@pytest.mark.parametrize(("name", "module"), [("gan", train_gan), ("encoder", train_encoder)])
def test_films_are_moved_by_other_keys_than_latents(
    name, module, tiny_config, networks, random_like, monkeypatch
):
    used = {}

    def spy(owner, function, position):
        original = getattr(owner, function)

        def call(*arguments):
            used[function] = arguments[position]
            return original(*arguments)

        monkeypatch.setattr(owner, function, call)

    spy(module, "augment", 1)
    spy(module if name == "gan" else gan_objective, "draw_noise", 0)
    task = TASKS[name](tiny_config, networks, random_like)
    mapped = parallel.pmap_step(task.step, len(task.frozen))
    jax.eval_shape(mapped, task.state, parallel.shard(batch_of(0)), *task.frozen)
    assert used["augment"] is not used["draw_noise"]


class Killed(Exception):
    """What ends a run here; a real one gets a signal, see test_end_to_end.py."""


def killed_after(steps: int) -> Callable:
    """`arrays.train_batches`, at whose end the run dies."""

    def batches(*arguments, **keywords):
        yield from itertools.islice(arrays.train_batches(*arguments, **keywords), steps)
        raise Killed

    return batches


def read_metrics(directory) -> list[dict]:
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in lines]


def keep_saved_states(monkeypatch) -> list[list[np.ndarray]]:
    """A list that grows by the arrays of each state that is saved from now on."""
    saved, save = [], Checkpoints.save

    def save_and_keep(self, step, state, *arguments, **options):
        saved.append([np.array(leaf) for leaf in jax.tree.leaves(state)])
        save(self, step, state, *arguments, **options)

    monkeypatch.setattr(Checkpoints, "save", save_and_keep)
    return saved


def assert_resumes(run: Callable, module, monkeypatch, tmp_path, task: str = "") -> None:
    """`run(workdir)` trains for 6 steps and saves every 2: it dies before the 6th, and goes on."""
    saved = keep_saved_states(monkeypatch)
    run(tmp_path / "undisturbed")
    with monkeypatch.context() as patch:
        patch.setattr(module, "train_batches", killed_after(5))
        with pytest.raises(Killed):
            run(tmp_path / "killed")
    run(tmp_path / "killed")
    assert len(saved) == 3 + 2 + 1
    undisturbed, resumed = saved[2], saved[-1]
    for one, other in zip(undisturbed, resumed, strict=True):
        np.testing.assert_array_equal(one, other)
    assert any((one != other).any() for one, other in zip(saved[1], undisturbed, strict=True))
    one, other = (read_metrics(tmp_path / name / task) for name in ("undisturbed", "killed"))
    assert one == other and [line["step"] for line in one] == [2, 4, 6]


SPLITS = {
    "train": make_arrays(3 * ROWS),
    "validation": make_arrays(ROWS),
    "test": make_arrays(ROWS),
}


def test_a_resumed_classifier_equals_the_undisturbed(tiny_config, monkeypatch, tmp_path):
    section = tiny_config.classifier
    section.update(dict(batch_size=ROWS, num_steps=6, eval_every=2))

    def run(directory):
        classifier.train(section, SIZE, SEED, directory, SPLITS)

    assert_resumes(run, train_classifier, monkeypatch, tmp_path)
    assert all("validation_auroc" in line for line in read_metrics(tmp_path / "killed"))


@pytest.mark.parametrize("conditioning", ["graded", "binary", "label"])
def test_films_are_paired_by_what_conditions(tiny_config, monkeypatch, tmp_path, conditioning):
    """To a classifier that knows nothing of labels their pairs would mean nothing."""
    label = SPLITS["train"]["label"]
    margin = np.where(np.arange(len(label)) % 3 == 0, 2.0, -1.0)
    monkeypatch.setattr(train_classifier, "load", lambda *arguments: (None, "parameters"))
    monkeypatch.setattr(train_classifier, "margins", lambda *arguments: margin)
    tiny_config.gan.conditioning = conditioning
    classifier, scale, positive = gan.load_frozen(tiny_config, tmp_path, SPLITS)
    assert classifier == "parameters" and scale.strong == 2.0
    np.testing.assert_array_equal(positive, label == 1 if conditioning == "label" else margin > 0)


def test_a_resumed_gan_equals_the_undisturbed(
    tiny_config, networks, random_like, monkeypatch, tmp_path
):
    # The penalty falls both before the kill and after it.
    fields = dict(batch_size=ROWS, num_steps=6, log_every=2, save_every=2, r1_every=3)
    tiny_config.gan.update(fields)
    _, _, frozen = gan_parts(networks, random_like)
    frozen = (*frozen, SPLITS["train"]["label"] == 1)
    monkeypatch.setattr(train_gan, "load_frozen", lambda *arguments: frozen)

    def run(workdir):
        gan.run(tiny_config, workdir, SPLITS)

    assert_resumes(run, train_gan, monkeypatch, tmp_path, "gan")
    sheets = list((tmp_path / "killed" / "gan" / "samples").glob("*.png"))
    assert len(sheets) == 3


@pytest.mark.slow
def test_a_resumed_encoder_equals_the_undisturbed(
    tiny_config, networks, random_like, monkeypatch, tmp_path
):
    tiny_config.encoder.update(dict(batch_size=ROWS, num_steps=6, log_every=2, save_every=2))
    _, state, frozen = gan_parts(networks, random_like)
    frozen = (*frozen, SPLITS["train"]["label"] == 1)
    monkeypatch.setattr(train_gan, "load_frozen", lambda *arguments: frozen)
    gan = {**state.generator, "discriminator": state.discriminator}
    gan = jax.tree.map(np.asarray, gan)  # a step eats the arrays that it is given
    monkeypatch.setattr(train_gan, "load", lambda *arguments: parallel.replicate(gan))

    def run(workdir):
        encoder.run(tiny_config, workdir, SPLITS)

    assert_resumes(run, train_encoder, monkeypatch, tmp_path, "encoder")


def test_a_resumed_evaluator_equals_the_undisturbed(tiny_config, monkeypatch, tmp_path):
    tiny_config.evaluators.names = ("segmenter",)
    tiny_config.evaluators.segmenter.update(
        dict(batch_size=ROWS, num_steps=6, log_every=2, save_every=2, widths=(8, 8))
    )

    def run(workdir):
        evaluators.run(tiny_config, workdir, SPLITS)

    assert_resumes(run, train_evaluators, monkeypatch, tmp_path, "evaluators/segmenter")
    one, other = (tmp_path / name / "evaluators" for name in ("undisturbed", "killed"))
    assert (one / "done.json").read_text() == (other / "done.json").read_text()
