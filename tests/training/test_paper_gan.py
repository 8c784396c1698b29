"""The training step of the paper's objective."""

import jax
import numpy as np
import pytest

from cxr_jax.configs import paper
from cxr_jax.models.classifier import Classifier
from cxr_jax.models.model import Model
from cxr_jax.networks.build import init_gan_params, make_gan_networks
from cxr_jax.networks.grading import Scale
from cxr_jax.runtime import parallel
from cxr_jax.training import gan_state, paper_gan, paper_objective
from cxr_jax.training.gan_state import FrozenInputs, StepHParams
from tests.training.tasks import PAPER_WEIGHTS


@pytest.fixture(scope="module")
def networks():
    config = paper.get_config("tiny")
    config.data.image_size = 16
    config.gan.paper.update(dict(generator_widths=(32, 16), discriminator_widths=(8, 8)))
    return make_gan_networks(config)


def test_statistics_of_the_batch_become_the_generators(networks, random_params):
    """The first layer's, by hand: a tenth of the way to those of the images that were drawn."""
    rows, seed = 16, np.uint32(3)
    optimizers = gan_state.make_optimizers(paper.get_config("tiny").gan)
    params = jax.jit(lambda: init_gan_params(networks, 0))()
    start = gan_state.init_state(*params, optimizers)
    network = Classifier(widths=(4, 4))
    frozen = FrozenInputs(
        classifier=Model(network, random_params(network, np.zeros((1, 16, 16, 1), np.float32))),
        scale=Scale(negative=np.float32(-1.0), strong=np.float32(1.0)),
        hparams=StepHParams(weights=PAPER_WEIGHTS, seed=seed),
    )
    step = parallel.pmap_step(paper_gan.make_train_step(networks, optimizers, 1e-3))
    image = np.random.default_rng(0).integers(256, size=(rows, 16, 16, 1), dtype=np.uint8)
    index = np.arange(rows, dtype=np.int32)
    before = jax.tree.map(np.asarray, start.generator["generator"])
    state, _ = step(start, parallel.shard({"image": image, "index": index}), frozen)
    keys = parallel.example_keys(seed, np.int32(0), index)
    noise = paper_objective.draw_noise(keys, index, (100, 10))
    z = np.concatenate([noise.z_structure, noise.z_class], axis=-1)
    x = z @ before["dense"]["weight"] + before["dense"]["bias"]
    y = np.einsum("bc,hwcf->bhwf", x, before["grow_1"]["weight"])
    for found in (state.generator["generator"], state.ema["generator"]):
        norm = found["norm_1"]
        np.testing.assert_allclose(norm["running_mean"], 0.1 * y.mean((0, 1, 2)), atol=1e-5)
        spread = 0.9 + 0.1 * y.var((0, 1, 2), ddof=1)
        np.testing.assert_allclose(norm["running_var"], spread, rtol=1e-5)
