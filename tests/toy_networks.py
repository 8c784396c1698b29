"""Networks that are as smooth and as crooked as the real ones but compile in a moment."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cxr_jax.explain.films import Films
from cxr_jax.networks.restore import Trained
from cxr_jax.networks.grading import Scale
from cxr_jax.training.gan import Networks

SIDE, NUM_STRUCTURE, NUM_SEVERITY = 8, 6, 4


class ToyGenerator(nn.Module):
    """Two layers from both latents to a film."""

    @nn.compact
    def __call__(self, structure, severity):
        x = nn.tanh(nn.Dense(12)(structure) + nn.Dense(12)(severity))
        return nn.tanh(nn.Dense(SIDE * SIDE)(x)).reshape(-1, SIDE, SIDE, 1)


class ToyEncoder(nn.Module):
    """A linear guess at both latents."""

    @nn.compact
    def __call__(self, image):
        x = image.reshape(len(image), -1)
        guess = [nn.Dense(n)(x) for n in (NUM_STRUCTURE, NUM_SEVERITY)]
        return tuple((mean, jnp.zeros_like(mean)) for mean in guess)


class ToyClassifier(nn.Module):
    """Two layers of features and a margin."""

    @nn.compact
    def __call__(self, image):
        first = nn.tanh(nn.Dense(8)(image.reshape(len(image), -1)))
        second = nn.tanh(nn.Dense(8)(first))
        features = {"stage_1": first[:, None, None], "stage_2": second[:, None, None]}
        return nn.Dense(1)(second)[:, 0], features


class ToyGan(NamedTuple):
    """Everything that is trained, with random weights."""

    networks: Networks
    judge: nn.Module
    robust: nn.Module
    trained: Trained

    def draw(self, structure, severity) -> np.ndarray:
        """G."""
        params = {"params": self.trained.generator}
        return np.asarray(self.networks.generator.apply(params, structure, severity))

    def classify(self, image) -> np.ndarray:
        """f."""
        params = {"params": self.trained.classifier}
        return np.asarray(self.networks.classifier.apply(params, image)[0])

    def judge_films(self, image) -> np.ndarray:
        """h."""
        return np.asarray(self.judge.apply({"params": self.trained.judge}, image)[0])


@functools.cache
def make_gan(seed: int = 0) -> ToyGan:
    """Networks with the weights of a seed."""
    generator, encoder, classifier = ToyGenerator(), ToyEncoder(), ToyClassifier()
    keys = jax.random.split(jax.random.key(seed), 5)
    image = jnp.zeros((1, SIDE, SIDE, 1))
    latents = jnp.zeros((1, NUM_STRUCTURE)), jnp.zeros((1, NUM_SEVERITY))
    init = lambda network, key, *inputs: jax.jit(network.init)(key, *inputs)["params"]
    trained = Trained(
        classifier=init(classifier, keys[0], image),
        judge=init(classifier, keys[1], image),
        generator=init(generator, keys[2], *latents),
        encoder=init(encoder, keys[3], image),
        scale=Scale(np.float32(-1.0), np.float32(1.0)),
        robust=init(classifier, keys[4], image),
    )
    networks = Networks(generator, encoder, None, None, classifier)
    return ToyGan(networks, classifier, classifier, trained)


def make_films(gan: ToyGan, rows: int, positive: bool) -> Films:
    """Films that the generator draws, and some noise that it does not."""
    rng = np.random.default_rng(int(positive))
    structure = np.float32(rng.normal(size=(rows, NUM_STRUCTURE)))
    severity = np.float32(rng.normal(size=(rows, NUM_SEVERITY)) * positive)
    drawn = gan.draw(structure, severity)
    image = np.clip(drawn + rng.normal(size=drawn.shape) / 50, -1, 1).astype(np.float32)
    return Films(
        image=image,
        margin=gan.classify(image),
        judged=gan.judge_films(image),
        structure=structure,
        severity=severity,
        drawn=drawn,
        drawn_margin=gan.classify(drawn),
        drawn_judged=gan.judge_films(drawn),
        origin=gan.draw(structure, 0 * severity),
    )
