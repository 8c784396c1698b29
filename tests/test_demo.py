"""The demo, and the networks that come with the package."""

import json

import numpy as np
import pytest

from cxr_jax import api, demo, metrics
from cxr_jax.pipeline.finished import load_run

SHIPPED = ("MODEL_CARD.md", "explainer.json", "networks.safetensors")


@pytest.fixture(scope="module")
def shipped():
    return load_run(api.PRETRAINED)


def test_what_is_shipped_is_small_and_complete():
    files = {path.name: path.stat().st_size for path in api.PRETRAINED.iterdir()}
    assert tuple(sorted(files)) == SHIPPED
    assert sum(files.values()) <= 6_000_000


def test_the_shipped_networks_know_phantoms_that_no_split_holds(shipped):
    films = demo.draw_films(64, seed=3, size=shipped.config.data.image_size)
    explainer = api.bind_run(shipped)
    label = films["lesion_mask"].any(axis=(1, 2, 3))
    for margin in explainer.functions.margins(films["image"]):
        assert metrics.auroc(margin, label) > 0.9  # the model card's test films: 0.98 and 0.97


def test_films_of_the_demo_are_pairs_of_a_patient(shipped):
    films = demo.draw_films(6, seed=0, size=64)
    label = films["lesion_mask"].any(axis=(1, 2, 3))
    assert label.sum() == 3
    differs = (films["image"] != films["twin"]).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(differs, label)
    other = demo.draw_films(6, seed=1, size=64)
    assert (films["image"] != other["image"]).any()


def test_too_few_films_are_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        demo.run(["--films=1"])
    assert stopped.value.code == 2 and "at least 2" in capsys.readouterr().err


@pytest.mark.slow
def test_the_demo_tells_the_truth_of_its_films(tmp_path, capsys):
    assert demo.run([f"--out={tmp_path}", "--films=24"]) == 0
    table = json.loads((tmp_path / "metrics.json").read_text())
    assert table["films"] == 24 and table["coverage"] > 0.8
    # Four standard errors or so below the model card's figures.
    assert table["pixel_auroc_lung"]["mean"] > 0.8 > table["gradient_pixel_auroc_lung"]["mean"]
    assert table["twin_error"]["mean"] < 0.75
    for name in ("changes.png", "report.html", "traversal_03.png", "walks.npz", "films.json"):
        assert (tmp_path / name).stat().st_size > 1000
    assert "films pass the gate" in capsys.readouterr().out
