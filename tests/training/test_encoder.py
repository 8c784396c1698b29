"""Task `encoder`: its objective, one program for all seeds, and that it resumes."""

import jax
import numpy as np
import pytest

from benchmarks import steps
from cxr_jax.runtime import parallel
from cxr_jax.training import encoder, gan
from tests.training import tasks
from tests.training.resuming import assert_resumes
from tests.training.tasks import ROWS, SPLITS


@pytest.mark.slow
def test_encoders_of_other_seeds_and_weights_share_a_program(tiny_config):
    programs, hparams = set(), set()
    for seed, locality in ((0, 1.0), (7, 0.0)):
        tiny_config.gan.seed, tiny_config.gan.weights.locality = seed, locality
        step = steps.encoder_step(tiny_config, jax.local_devices())
        programs.add(step.lower(len(jax.local_devices())).as_text())
        hparams.add(str(encoder.make_encoder_hparams(tiny_config)))
    assert len(programs) == 1 and len(hparams) == 2


def test_an_encoder_alone_learns_by_our_objective(tiny_config, random_like, monkeypatch, tmp_path):
    """Also of a GAN that was trained by the paper's, whose weights are others."""
    tiny_config.gan.objective, tiny_config.gan.seed = "paper", 5
    tiny_config.gan.weights.update(dict(pixel=31.0, transplant=7.0))
    tiny_config.encoder.update(dict(batch_size=ROWS, num_steps=0))
    networks = tasks.make_networks(tiny_config)
    state, frozen = tasks.gan_parts(tiny_config, networks, random_like)
    given = []
    provide(monkeypatch, state, frozen)
    monkeypatch.setattr(parallel, "replicate", keep(given, parallel.replicate))
    encoder.run(tiny_config, tmp_path, SPLITS)
    (step_input,) = [tree for tree in given if isinstance(tree, encoder.FrozenGan)]
    hparams = step_input.inputs.hparams
    weights = {name: float(weight) for name, weight in hparams.weights.items()}
    assert weights == pytest.approx(tiny_config.gan.weights.to_dict())
    assert hparams.weights["pixel"] == 31.0 and hparams.weights["transplant"] == 7.0
    assert int(hparams.seed) == tiny_config.seed + 5
    paper = gan.make_hparams(tiny_config, "paper").weights
    assert hparams.weights.keys() != paper.keys()


def keep(kept: list, function):
    """`function`, whose arguments are kept."""

    def call(tree):
        kept.append(tree)
        return function(tree)

    return call


def provide(monkeypatch, state, frozen) -> None:
    """A GAN, and what its classifier says, in place of trained ones."""
    inputs = gan.GanInputs(
        classifier=frozen.classifier,
        scale=frozen.scale,
        positive=SPLITS["train"]["label"] == 1,
    )
    params = {**state.generator, "discriminator": state.discriminator}
    params = jax.tree.map(np.asarray, params)  # a step eats the arrays that it is given
    monkeypatch.setattr(encoder, "load_inputs", lambda *arguments: inputs)
    monkeypatch.setattr(encoder, "load_gan", lambda *arguments: parallel.replicate(params))


@pytest.mark.slow
def test_a_resumed_encoder_equals_the_undisturbed(tiny_config, random_like, monkeypatch, tmp_path):
    tiny_config.encoder.update(dict(batch_size=ROWS, num_steps=6, log_every=2, save_every=2))
    networks = tasks.make_networks(tiny_config)
    provide(monkeypatch, *tasks.gan_parts(tiny_config, networks, random_like))

    def run(workdir):
        encoder.run(tiny_config, workdir, SPLITS)

    assert_resumes(run, encoder, monkeypatch, tmp_path, "encoder")


def test_the_paper_has_no_encoder_to_train(tiny_config, tmp_path):
    tiny_config.gan.networks = "paper"
    encoder.run(tiny_config, tmp_path, SPLITS)
    assert [path.name for path in (tmp_path / "encoder").iterdir()] == ["done.json"]
