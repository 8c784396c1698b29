"""The robust classifier's training: attacks, made anew in every step, and the test attack."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax import losses
from cxr_jax.models.model import Model
from cxr_jax.networks.build import init_params, make_robust
from cxr_jax.networks.restore import load_robust, margins
from cxr_jax.training import evaluators, robust
from cxr_jax.training.attack import Attack
from cxr_jax.training.robust import attacked_margins, robust_loss
from tests.training.evaluating import SIZE, STILL, recorded


def attack(epsilon: float, step_size: float, num_steps: int) -> Attack:
    return Attack(epsilon=epsilon, step_size=step_size, num_steps=num_steps)


@pytest.fixture
def classifier(config, random_like, phantoms):
    """A classifier whose answers differ among the films."""
    network = make_robust(config.evaluators.robust)
    return Model(network, random_like(lambda: init_params(network, SIZE, 0)))


def test_the_test_attack_turns_answers_against_the_label(classifier, phantoms):
    arrays = phantoms["test"] | {"label": np.arange(12) % 2}
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


def test_the_robust_loss_is_that_of_attacked_films(classifier, phantoms, key):
    batch = {name: phantoms["test"][name] for name in ("image", "label")}
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


def test_the_explained_classifier_meets_the_same_attack(config, phantoms, tmp_path, monkeypatch):
    """A network attacked by itself: where both are the same, so are the figures."""
    config.evaluators.names = ("robust",)
    monkeypatch.setattr(robust, "load_classifier", lambda *arguments: load_robust(config, tmp_path))
    (tmp_path / "classifier").mkdir()
    (tmp_path / "classifier" / "done.json").write_text("{}")
    evaluators.run(config, tmp_path, phantoms)
    figures = recorded(tmp_path)["robust"]
    assert figures["auroc_attacked_classifier"] == figures["auroc_attacked"]
