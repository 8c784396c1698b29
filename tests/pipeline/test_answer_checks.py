"""f and h must answer films of the training set, by numbers that a pixel changes."""

import sys

import jax
import numpy as np
import pytest
from builders import write_safetensors

from cxr_jax.configs import base
from cxr_jax.errors import InputError
from cxr_jax.networks import build
from cxr_jax.pipeline import answer_checks, config_checks

SIZE, COUNT = 32, 40


@pytest.fixture
def films() -> dict[str, np.ndarray]:
    """Noise, of which the last film is black."""
    image = np.random.default_rng(0).integers(1, 256, (COUNT, SIZE, SIZE, 1)).astype(np.uint8)
    image[-1] = 0
    return {"image": image}


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Writes `margins.py`, whose `margin` answers `import jax, jax.numpy as jnp` code."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    config = base.get_config()

    def write(body: str, section: str = "classifier"):
        sys.modules.pop("margins", None)
        code = f"import jax, jax.numpy as jnp\ndef margin(image):\n    return {body}\n"
        (tmp_path / "margins.py").write_text(code)
        config[section].module = "margins:margin"
        return config

    yield write
    sys.modules.pop("margins", None)


def refused(config, workdir, films) -> str:
    with pytest.raises(InputError) as raised:
        answer_checks.check_answers(config, workdir, films)
    text = str(raised.value)
    assert "\n" not in text and len(text) < 400
    return text


MEAN = "image.mean(axis=(1, 2, 3))"


@pytest.mark.parametrize("body", [f"8 * {MEAN}", f"jax.nn.relu({MEAN})", "image[:, 3, 4, 0]"])
def test_functions_that_can_be_explained(body, config, films, tmp_path):
    answer_checks.check_answers(config(body), tmp_path, films)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (f"jnp.log({MEAN} - 2)", "has answers that are not finite for 8 of 8 training films"),
        # The one black film, which is the last of those that are asked for.
        (f"{MEAN} / ({MEAN} + 1)", "has answers that are not finite for 1 of 8 training films"),
        (f"jnp.sqrt(0 * {MEAN})", "has gradients that are not finite for 8 of 8 training films"),
        (f"jnp.where({MEAN} > 0, 1.0, -1.0)", "has a gradient of zero for all of 8"),
        ("jnp.argmax(image.reshape(len(image), -1), 1) * 1.0", "has a gradient of zero for all"),
        (f"jax.lax.stop_gradient({MEAN})", "has a gradient of zero for all of 8 training films"),
        (f"jnp.round({MEAN})", "has a gradient of zero for all of 8 training films"),
    ],
)
@pytest.mark.parametrize("section", ["classifier", "judge"])
def test_functions_that_cannot(section, body, message, config, films, tmp_path):
    text = refused(config(body, section), tmp_path, films)
    assert text.startswith(f"config.{section}.module: margins:margin {message}")


HIDDEN = """(image * held.weights[0]).mean(axis=(1, 2, 3))

import types
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
mesh = Mesh(np.array(jax.devices()), ("hosts",))
weights = jax.device_put(jnp.ones(2), NamedSharding(mesh, PartitionSpec()))
held = types.SimpleNamespace(weights=weights)
"""


@pytest.mark.skipif(jax.__version_info__ >= (0, 12), reason="JAX 0.12 takes such arrays")
def test_a_function_that_fails_only_when_it_is_mapped(config, films, tmp_path):
    """Its arrays lie on a mesh, hidden from `load_function`; the check of configs has passed it."""
    config = config(HIDDEN)
    config_checks.check_classifier("classifier", config.classifier, SIZE)
    text = refused(config, tmp_path, films)
    assert "margins:margin cannot be asked on the devices of a training step (ValueError" in text
    assert "jax.tree.map(numpy.asarray, params)" in text


def test_few_films_are_enough(config, films, tmp_path):
    answer_checks.check_answers(config(MEAN), tmp_path, {"image": films["image"][:3]})


def test_what_is_trained_here_is_not_asked(films, tmp_path, monkeypatch):
    monkeypatch.setattr(answer_checks, "check_answer", lambda name, *rest: asked.append(name))
    config, asked = base.get_config(), []
    config.judge.update(dict(architecture="resnet50", weights="w.pth", num_steps=10))
    answer_checks.check_answers(config, tmp_path, films)
    assert not asked
    config.judge.num_steps = 0
    answer_checks.check_answers(config, tmp_path, films)
    assert asked == ["judge"]
    (tmp_path / "classifier").mkdir()
    (tmp_path / "classifier" / "done.json").write_text("{}")
    answer_checks.check_answers(config, tmp_path, films)
    assert asked == ["judge"]


@pytest.mark.slow
def test_weights_that_feel_nothing(films, tmp_path):
    config = base.get_config()
    section = config.classifier
    section.update(dict(architecture="resnet50", num_steps=0))
    like = build.param_shapes(build.make_classifier(section), SIZE)
    tensors = {
        f"{layer}.{name}": np.ones(
            [leaf.shape[i] for i in (3, 2, 0, 1)] if leaf.ndim == 4 else leaf.shape[::-1], "f4"
        )
        for layer, leaves in like.items()
        for name, leaf in leaves.items()
    }
    # Small enough that fifty layers of ones stay finite.
    tensors = {name: one / one[0].size if one.ndim > 1 else one for name, one in tensors.items()}
    section.weights = str(write_safetensors(tmp_path / "w.safetensors", tensors))
    answer_checks.check_answers(config, tmp_path, films)
    tensors["fc.weight"] *= 0
    write_safetensors(tmp_path / "w.safetensors", tensors)
    text = refused(config, tmp_path, films)
    assert text.startswith(f"config.classifier.weights: {section.weights} has a gradient of zero")
