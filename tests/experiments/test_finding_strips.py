"""The picture of walks of other findings, of a run that is made up."""

import json

import numpy as np
import pytest

from cxr_jax.configs import findings
from cxr_jax.datasets.cxr_phantom.phantom import draw, find_patient, name_patient
from cxr_jax.errors import InputError
from experiments import finding_strips

SIZE, STEPS = 64, 6


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """One run of two films, whose walks grow brighter by a step a frame."""
    explain = tmp_path / "runs" / "effusion" / "explain"
    explain.mkdir(parents=True)
    (explain / "done.json").write_text("{}")
    (explain / "metrics.json").write_text(json.dumps({"latent_path": "necessary"}))
    config = findings.get_config()
    (explain.parent / "config.json").write_text(json.dumps(config.to_dict()))
    carried = np.zeros((2, STEPS, SIZE, SIZE, 1), np.uint8)
    carried += 10 * np.arange(STEPS, dtype=np.uint8)[:, None, None, None]
    np.savez(
        explain / "walks.npz",
        **{
            "pos_to_neg/name": np.array([name_patient(0, 3), name_patient(0, 4)]),
            "pos_to_neg/necessary/margin": np.array([np.linspace(1, -1, 6), np.linspace(3, -3, 6)]),
            "pos_to_neg/necessary/frame": np.array([5, 3]),
            "pos_to_neg/necessary/carried": carried,
        },
    )
    monkeypatch.setattr(finding_strips, "RUNS", tmp_path / "runs")
    return tmp_path / "runs"


def test_the_most_certain_film_is_shown_to_its_stop_beside_its_twin(runs):
    strip = finding_strips.read_strip(runs / "effusion")
    assert strip.finding == "effusion"
    np.testing.assert_allclose(strip.margin, np.linspace(3, -3, 6)[[0, 1, 2, 3]])
    np.testing.assert_allclose(strip.frames[:, 0, 0], np.arange(4) * 10 / 127.5 - 1, rtol=1e-6)
    seed, index = find_patient(name_patient(0, 4))
    spec = finding_strips.phantom_spec(findings.get_config().data)
    twin = draw(seed, index, spec)["twin"][..., 0]
    np.testing.assert_allclose(strip.twin, twin / 127.5 - 1, atol=1e-6)
    *_, change, wanted, last = strip.panels()
    np.testing.assert_allclose(change, 30 / 127.5, rtol=1e-5)
    np.testing.assert_allclose(wanted, last - strip.frames[0], rtol=1e-5)


def test_it_is_drawn_from_the_runs(runs, tmp_path, monkeypatch, capsys):
    finding_strips.run(tmp_path)
    assert (tmp_path / finding_strips.FILE).stat().st_size > 5000
    (runs / "nodule").mkdir()
    with pytest.raises(InputError, match="nodule"):
        finding_strips.run(tmp_path)
    monkeypatch.setattr(finding_strips, "RUNS", tmp_path / "nowhere")
    with pytest.raises(InputError, match="nowhere does not exist"):
        finding_strips.run(tmp_path)
