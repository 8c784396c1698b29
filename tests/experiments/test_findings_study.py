"""Which findings count as shown faithfully, and what is told of those that are not."""

import json

import pytest

from cxr_jax.errors import InputError
from experiments.command import parse
from experiments.studies import findings

FAITHFUL = {"flip_rate_f": 0.95, "flip_rate": 0.9, "faithfulness": 0.6}


def entry(mean) -> dict:
    return {"mean": mean, "ci95": [mean - 0.1, mean + 0.1], "images": 30}


def write_run(folder, name: str, **changed) -> None:
    """A finished run whose figures are those that just suffice, but for `changed`."""
    values = FAITHFUL | changed
    walk = {metric: entry(values[metric]) for metric in findings.FLIPS}
    walk["twin_error"] = entry(0.5)
    report = {
        "latent_path": "necessary",
        "classifier": {"auroc": 0.9},
        "judge": {"auroc": 0.8},
        "coverage": 0.97,
        "paths": {"necessary": {"pos_to_neg": walk, "neg_to_pos": walk}},
        "faithfulness": {
            "maps": {
                "latent": {"partial": entry(values["faithfulness"])},
                **{name: {"partial": entry(0.7)} for name in findings.MAPS[1:]},
            }
        },
    }
    explain = folder / name / "explain"
    explain.mkdir(parents=True)
    (explain / "done.json").write_text("{}")
    (explain / "metrics.json").write_text(json.dumps(report))
    (folder / name / "config.json").write_text(json.dumps({"data": {"finding": name}}))


@pytest.mark.parametrize("weak", FAITHFUL)
def test_a_finding_must_reach_all_three(weak, tmp_path):
    write_run(tmp_path, "nodule")
    write_run(tmp_path, "effusion", **{weak: FAITHFUL[weak] - 0.06})
    (found,) = findings.run(parse(findings.STUDY, [f"--workdir={tmp_path}", "--out="]))
    assert found["nodule"]["missed"] == []
    assert found["effusion"]["missed"] == [weak]
    assert found["all"] == {"faithful": 1, "measured": 2}
    page = findings.to_markdown(found)
    assert (
        "`nodule`, nodule: AUROC of f and h 0.900, 0.800; coverage 0.97; path `necessary`; films: "
        "30 of flips, 30 of twin error, 30 of faithfulness; shown faithfully." in page
    )
    assert f"misses {weak}." in page and "1 of 2 are shown faithfully" in page


def test_what_is_undefined_is_missed(tmp_path):
    write_run(tmp_path, "nodule")
    path = tmp_path / "nodule" / "explain" / "metrics.json"
    report = json.loads(path.read_text())
    report["faithfulness"]["maps"]["latent"]["partial"] = {"mean": None, "reason": "one part"}
    path.write_text(json.dumps(report))
    assert findings.measure([tmp_path / "nodule"])["missed"] == ["faithfulness"]


def test_a_run_without_components_is_refused(tmp_path):
    write_run(tmp_path, "films")
    path = tmp_path / "films" / "explain" / "metrics.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"faithfulness": {"maps": {}, "reason": "why"}})
    )
    with pytest.raises(InputError, match="films: why"):
        findings.measure([tmp_path / "films"])


def test_seeds_are_averaged(tmp_path):
    for seed, flips in enumerate((0.8, 1.0)):
        write_run(tmp_path, f"seed{seed}", flip_rate=flips)
    found = findings.measure([tmp_path / "seed0", tmp_path / "seed1"])
    assert found["pos_to_neg"]["flip_rate"]["mean"] == pytest.approx(0.9)
    assert found["pos_to_neg"]["flip_rate"]["each_seed"] == [0.8, 1.0]
    assert found["auroc"] == [[0.9, 0.8]] * 2
