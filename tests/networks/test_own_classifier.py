"""A function of the reader's own as the classifier, as docs/classifiers.md shows it."""

import json
import re
import sys
from pathlib import Path

import builders
import jax
import numpy as np
import pytest

from cxr_jax import losses
from cxr_jax.configs import base
from cxr_jax.errors import InputError
from cxr_jax.explain import maps
from cxr_jax.models.model import Model
from cxr_jax.networks import build
from cxr_jax.networks.restore import load_classifier, margins
from cxr_jax.pipeline.config_checks import check_classifier
from cxr_jax.training import classifier
from tests import test_end_to_end

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "classifiers.md").read_text()
SIZE = 32


def readme_code() -> str:
    """The ten lines."""
    (code,) = re.findall(r"```python\n# mine\.py\n(.*?)```", PAGE, re.S)
    return code


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Writes `mine.py` where Python finds it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(code: str) -> str:
        sys.modules.pop("mine", None)
        (tmp_path / "mine.py").write_text(code)
        return "mine:margin"

    yield write
    sys.modules.pop("mine", None)


@pytest.fixture
def section():
    return base.get_classifier()


@pytest.fixture
def image(key):
    return jax.random.uniform(key, (3, SIZE, SIZE, 1), minval=-1)


def test_the_readme_shows_ten_lines_and_the_command():
    assert len([line for line in readme_code().splitlines() if line.strip()]) < 10
    assert "--config.classifier.module=mine:margin" in PAGE


def test_the_readmes_function_is_a_classifier(mine, section, image):
    section.module = mine(readme_code())
    check_classifier("classifier", section, SIZE)
    network = build.make_classifier(section)
    margin, features = network.apply({"params": {}}, image)
    chest = np.asarray(image)[:, SIZE // 4 : -SIZE // 4, SIZE // 8 : -SIZE // 8]
    np.testing.assert_allclose(margin, 8 * (chest.mean((1, 2, 3)) - 0.13), atol=1e-5)
    assert features == {}
    # What the GAN and the inversion ask of the maps is nothing.
    assert float(losses.feature_error({}, {}).mean()) == 0


@pytest.mark.parametrize("shape", ["margin", "column", "two"])
def test_answers_of_every_shape(shape, mine, section, image):
    section.module = mine(
        "import jax.numpy as jnp\n"
        "def margin(image):\n"
        "    one = image.mean(axis=(1, 2, 3))\n"
        f"    return dict(margin=one, column=one[:, None], two=jnp.stack([one, 3 * one], 1))"
        f"[{shape!r}]\n"
    )
    if shape == "two":
        with pytest.raises(InputError, match=r"shape \(2, 2\).*convention\.outputs"):
            check_classifier("classifier", section, SIZE)
        section.convention.update(dict(outputs=2, positive_output=1, negative_output=0))
    check_classifier("classifier", section, SIZE)
    margin, _ = build.make_classifier(section).apply({"params": {}}, image)
    wanted = image.mean(axis=(1, 2, 3)) * (2 if shape == "two" else 1)
    np.testing.assert_allclose(margin, wanted, atol=1e-6)


REFUSED = {
    "numpy": ("import numpy as np\ndef margin(x): return np.asarray(x).mean((1, 2, 3))", "Tracer"),
    "raises": (
        "def margin(x): raise RuntimeError('three\\nlines\\nlong')",
        r"RuntimeError: three\)",
    ),
    "one for all": ("def margin(x): return x.mean()", r"array of shape \(\)"),
    "no array": ("def margin(x): return 'yes'", "no differentiable function"),
    "no function": ("margin = 3", "no differentiable function"),
    "another name": ("def margins(x): return x", "mine:margin.*PYTHONPATH"),
    "cannot be imported": ("import no_such_library", "ModuleNotFoundError.*no_such_library"),
    "not Python": ("def margin(x) return x", "SyntaxError"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_classifier_is_refused(name, mine, section):
    code, message = REFUSED[name]
    section.module = mine(code)
    with pytest.raises(InputError, match=message) as raised:
        check_classifier("classifier", section, SIZE)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["mine", "mine:", ":margin", "nowhere:margin", "os.path:no_such"])
def test_a_wrong_name(name, section):
    section.module = name
    with pytest.raises(InputError, match=f"{name!r} is no .package.module:function.") as raised:
        check_classifier("classifier", section, SIZE)
    assert "\n" not in str(raised.value)


def test_weights_of_its_own(mine, section):
    section.module, section.weights = mine(readme_code()), "w.pth"
    with pytest.raises(InputError, match="brings its own weights"):
        check_classifier("classifier", section, SIZE)


def test_grad_cam_is_left_out_with_a_reason(mine, section):
    section.module = mine(readme_code())
    trained = builders.make_gan().models
    own = trained.replace(classifier=Model(build.make_classifier(section), {}))
    compact = trained.replace(classifier=Model(build.make_classifier(base.get_classifier()), {}))
    explain = base.get_explain()
    assert "grad_cam" in explain.maps
    others = {"gradient", "expected_gradients", "latent_integrated_gradients"}
    assert maps.compile_maps(own, explain, seed=0).keys() == others
    assert maps.compile_maps(compact, explain, seed=0).keys() == {*others, "grad_cam"}
    assert maps.reasons(own, explain.maps).keys() == {"grad_cam"}
    assert "no feature maps" in maps.reasons(own, explain.maps)["grad_cam"]
    assert not maps.reasons(own, ["gradient"])
    assert not maps.reasons(compact, explain.maps)


def test_only_the_judge_is_trained(mine, tiny_config, tmp_path):
    config = tiny_config
    config.classifier.module = mine(readme_code())
    config.judge.update(dict(num_steps=2, eval_every=2, batch_size=8))
    rng = np.random.default_rng(0)
    arrays = {
        "image": rng.integers(0, 256, (16, 16, 16, 1)).astype(np.uint8),
        "label": np.arange(16) % 2,
    }
    classifier.run(config, tmp_path, dict.fromkeys(("train", "validation", "test"), arrays))
    directory = tmp_path / "classifier"
    assert not (directory / "checkpoints").exists()
    assert (directory / "judge" / "checkpoints").exists()
    figures = json.loads((directory / "done.json").read_text())
    margin = margins(load_classifier(config.classifier, 16, directory), arrays["image"])
    positive, negative = margin[arrays["label"] == 1], margin[arrays["label"] == 0]
    auroc = float((positive[:, None] > negative[None]).mean())
    assert figures["classifier"]["auroc"] == pytest.approx(auroc) and figures["judge"]


@pytest.mark.slow
def test_the_readmes_function_is_explained(mine, tmp_path, monkeypatch):
    mine(readme_code())
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    test_end_to_end.finish(
        test_end_to_end.start(tmp_path, "run", "--config.classifier.module=mine:margin")
    )
    report = test_end_to_end.read(tmp_path / "run" / "explain" / "metrics.json")
    assert 0.5 < report["classifier"]["auroc"] < 1
    assert report["maps"]["grad_cam"]["on_target"]["mean"] is None
    assert "no feature maps" in report["maps"]["grad_cam"]["on_target"]["reason"]
    assert report["maps"]["gradient"]["on_target"]["mean"] is not None


@pytest.mark.slow
def test_a_densenet_trained_here_is_explained(tmp_path):
    """DenseNet-121 on 32 px, through every task; its Grad-CAM is one of the maps."""
    arguments = [
        "--config.classifier.architecture=densenet121",
        "--config.classifier.convention.input_size=32",
    ]
    test_end_to_end.finish(test_end_to_end.start(tmp_path, "run", *arguments))
    test_end_to_end.assert_contract(tmp_path / "run")
