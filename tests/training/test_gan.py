"""Task `gan`: its inputs, its random numbers, and that it resumes."""

import jax
import numpy as np
import pytest
from builders import make_gan

from cxr_jax.data.arrays import to_unit_range
from cxr_jax.errors import InputError
from cxr_jax.networks.build import init_gan_params
from cxr_jax.networks.restore import load_scale
from cxr_jax.runtime import parallel
from cxr_jax.training import encoder, gan
from cxr_jax.training.gan_state import update_discriminator, update_generator
from cxr_jax.training.loop import make_averages
from tests.training import tasks
from tests.training.resuming import assert_resumes
from tests.training.tasks import OPTIMIZERS, ROWS, SPLITS, TASKS, batch_of


@pytest.mark.parametrize(("batch_size", "fits"), [(16, True), (32, True), (8, False), (20, False)])
def test_a_batch_that_cannot_be_paired_is_refused(batch_size, fits):
    if fits:
        parallel.check_batch_size("gan", batch_size, gan.BATCH_MULTIPLE)
    else:
        with pytest.raises(InputError, match=f"{batch_size}; with 4 devices.* multiple of 16"):
            parallel.check_batch_size("gan", batch_size, gan.BATCH_MULTIPLE)


@pytest.mark.parametrize("conditioning", ["graded", "binary", "label"])
def test_films_are_paired_by_what_conditions(tiny_config, monkeypatch, tmp_path, conditioning):
    """To a classifier that knows nothing of labels their pairs would mean nothing."""
    label, classifier = SPLITS["train"]["label"], make_gan().models.classifier
    margin = np.where(np.arange(len(label)) % 3 == 0, 2.0, -1.0)
    monkeypatch.setattr(gan, "load_classifier", lambda *arguments: classifier)
    monkeypatch.setattr(gan, "margins", lambda *arguments: margin)
    tiny_config.gan.conditioning = conditioning
    inputs = gan.load_inputs(tiny_config, tmp_path, SPLITS)
    assert inputs.classifier is classifier and inputs.scale.strong == 2.0
    assert inputs.scale.graded == (conditioning == "graded")
    np.testing.assert_array_equal(
        inputs.positive, label == 1 if conditioning == "label" else margin > 0
    )


def numbers(keys: np.ndarray) -> set[tuple[int, ...]]:
    """What the keys are made of, by their raw data."""
    return {tuple(row) for row in np.asarray(keys).reshape(-1, 2).tolist()}


@pytest.mark.parametrize("name", ["gan", "encoder"])
def test_films_are_moved_by_other_keys_than_latents(name, tiny_config, random_like, monkeypatch):
    """The very numbers are compared: nor are the former what the latter are split into."""
    module, used = {"gan": gan, "encoder": encoder}[name], {}

    def spy(function: str, position: int) -> None:
        original = getattr(module, function)

        def call(*arguments):
            used[function] = jax.random.key_data(arguments[position])
            return original(*arguments)

        monkeypatch.setattr(module, function, call)

    spy("augment", 1)
    spy("draw_noise", 0)
    task = TASKS[name](tiny_config, tasks.make_networks(tiny_config), random_like)

    def keys_of_step(state, batch, frozen) -> dict[str, jax.Array]:
        task.step(state, batch, frozen)
        return dict(used)

    mapped = jax.pmap(keys_of_step, parallel.AXIS, in_axes=(None, 0, None))
    found = mapped(task.state, parallel.shard(batch_of(0)), task.frozen)
    moved, drawn = (numbers(found[function]) for function in ("augment", "draw_noise"))
    assert len(moved) == len(drawn) == ROWS, "each film has its own"
    assert not moved & drawn
    keys = jax.random.wrap_key_data(found["draw_noise"].reshape(-1, 2))
    for count in (2, 3, 4):
        parts = jax.vmap(lambda key, count=count: jax.random.split(key, count))(keys)
        assert not moved & numbers(jax.random.key_data(parts))


def quick_step(state, batch, frozen):
    """A step that depends on all that the real one does, and takes no time to compile."""
    keys = parallel.example_keys(frozen.hparams.seed, state.step, batch["index"])
    drawn = jax.vmap(jax.random.normal)(keys).mean()
    amount = parallel.mean(drawn + to_unit_range(batch["image"]).mean())
    towards = lambda params: jax.tree.map(lambda leaf: leaf + amount, params)
    state = update_generator(
        state, towards(state.generator), OPTIMIZERS.generator, ema_half_life=50.0
    )
    state = update_discriminator(state, towards(state.discriminator), OPTIMIZERS.discriminator)
    metrics = make_averages("generator").single_from_model_output(generator=amount)
    return state.replace(step=state.step + 1), metrics


def quick_penalty(state, batch, frozen):
    """The same of the discriminator alone."""
    gradient = jax.tree.map(lambda leaf: tasks.PENALTY * leaf, state.discriminator)
    return update_discriminator(state, gradient, OPTIMIZERS.discriminator), gradient


def test_a_resumed_gan_equals_the_undisturbed(tiny_config, random_like, monkeypatch, tmp_path):
    """Its batches, penalties, states and sheets; the real step is that of test_steps.py."""
    section = tiny_config.gan
    section.update(dict(batch_size=ROWS, num_steps=6, log_every=2, save_every=2))
    # The penalty falls both before the kill and after it.
    section.r1_every = 3
    _, frozen = tasks.gan_parts(tiny_config, tasks.make_networks(tiny_config), random_like)
    inputs = gan.GanInputs(
        classifier=frozen.classifier,
        scale=frozen.scale,
        positive=SPLITS["train"]["label"] == 1,
    )
    step, penalty = parallel.pmap_step(quick_step), parallel.pmap_step(quick_penalty)
    monkeypatch.setattr(gan, "load_inputs", lambda *arguments: inputs)
    monkeypatch.setattr(gan, "make_optimizers", lambda section: OPTIMIZERS)
    monkeypatch.setattr(gan, "map_train_step", lambda *arguments: step)
    monkeypatch.setattr(gan, "map_penalty_step", lambda *arguments: penalty)
    monkeypatch.setattr(
        gan,
        "init_gan_params",
        lambda networks, seed: random_like(lambda: init_gan_params(networks, seed)),
    )

    def run(workdir):
        gan.run(tiny_config, workdir, SPLITS)

    assert_resumes(run, gan, monkeypatch, tmp_path, "gan")
    sheets = list((tmp_path / "killed" / "gan" / "samples").glob("*.png"))
    assert len(sheets) == 3
    assert load_scale(tmp_path / "killed") == frozen.scale
