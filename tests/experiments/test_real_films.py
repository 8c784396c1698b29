"""What is told of runs on real films, with and without a part where f is blind."""

import json

import numpy as np
import pytest

from cxr_jax.errors import InputError
from experiments.command import parse
from experiments.studies import real_films


def entry(mean) -> dict:
    return {"mean": mean, "ci95": [mean / 2, 2 * mean], "images": 30}


def write_run(folder, name: str, used: str) -> None:
    flips = {"flip_rate_f": entry(0.5), "flip_rate": entry(0.4)}
    paths = {"necessary": flips, "linear": {"flip_rate_f": entry(0.9), "flip_rate": entry(0.9)}}
    blind = {"used": ""}
    if used:
        blind = {
            "used": used,
            "maps": {"latent": entry(0.01), "grad_cam": entry(0.3)},
            "pos_to_neg": {"necessary": entry(0.02), "linear": entry(0.2)},
            "neg_to_pos": {"necessary": entry(0.03), "linear": entry(0.4)},
        }
    report = {
        "latent_path": "necessary",
        "classifier": {"auroc": 0.99},
        "judge": {"auroc": 0.98},
        "coverage": 0.9,
        "reconstruction_rmse": entry(0.07),
        "reconstruction_rmse_lungs": entry(0.05),
        "audit": {"outside_share": entry(0.25), "verdict": "Shortcut: much."},
        "paths": {
            name: dict.fromkeys(("pos_to_neg", "neg_to_pos"), f) for name, f in paths.items()
        },
        "blind": blind,
    }
    explain = folder / name / "explain"
    explain.mkdir(parents=True)
    (explain / "done.json").write_text("{}")
    # h calls one of three negative before the walk from positive, and flips on one of the others.
    before = {"pos_to_neg": [[3.0, -1], [-2, -3], [1, 0.5]], "neg_to_pos": [[-3.0, 1], [2, 3]]}
    flips = {"pos_to_neg": [1.0, 0, 0], "neg_to_pos": [1.0, 0]}
    place = "{}/necessary/{}".format
    walks = {place(name, "judge_margin"): np.array(margin) for name, margin in before.items()}
    np.savez(explain / "walks.npz", **walks)
    scores = {place(name, "flip_rate"): np.array(flipped) for name, flipped in flips.items()}
    np.savez(explain / "scores.npz", **scores)
    (explain / "metrics.json").write_text(json.dumps(report))
    config = {
        "data": {"image_size": 64},
        "classifier": {"architecture": "compact", "module": ""},
        "gan": {"batch_size": 32, "num_steps": 2000},
        "explain": {"inversion": {"num_steps": 12}},
    }
    (folder / name / "config.json").write_text(json.dumps(config))


def test_runs_stand_side_by_side(tmp_path):
    write_run(tmp_path, "all", "")
    write_run(tmp_path, "lungs", "lungs")
    (found,) = real_films.run(parse(real_films.STUDY, [f"--workdir={tmp_path}", "--out="]))
    whole, lungs = found["all"], found["lungs"]
    assert whole["visible"] == "all" and lungs["visible"] == "lungs"
    assert {each["mean"] for each in whole["blind"].values()} == {None}
    assert [each["mean"] for each in lungs["blind"].values()] == [0.01, 0.3, 0.2, 0.02, 0.03]
    assert lungs["rmse"] == entry(0.05) and lungs["outside"] == entry(0.25)
    flips = lungs["flips"]["neg_to_pos"]
    assert (flips["f"], flips["f and h"]) == (entry(0.5), entry(0.4))
    agreed = [lungs["flips"][name][real_films.AGREED] for name in ("pos_to_neg", "neg_to_pos")]
    assert [(each["mean"], each["images"]) for each in agreed] == [(0.5, 2), (1.0, 1)]
    page = real_films.to_markdown(found)
    assert "| f is shown | all | lungs |" in page
    assert "| images that the GAN was shown | 64,000 | 64,000 |" in page
    assert "| blind share, worst frame of `linear`, pos_to_neg | – | 0.200 [0.100, 0.400] |" in page
    assert "Audit of `lungs`. Shortcut: much." in page


def test_a_folder_without_runs_is_named(tmp_path):
    options = parse(real_films.STUDY, [f"--workdir={tmp_path / 'no'}", "--out="])
    with pytest.raises(InputError, match="no does not exist"):
        next(real_films.run(options))
    options = parse(real_films.STUDY, [f"--workdir={tmp_path}", "--out="])
    with pytest.raises(InputError, match="no folders"):
        next(real_films.run(options))


def test_where_no_film_passes_there_are_no_flips(tmp_path):
    write_run(tmp_path, "lungs", "lungs")
    explain = tmp_path / "lungs" / "explain"
    report = json.loads((explain / "metrics.json").read_text())
    nothing = {"mean": None, "reason": "no film passes the gate"}
    report["paths"]["necessary"]["pos_to_neg"]["flip_rate"] = nothing
    (explain / "metrics.json").write_text(json.dumps(report))
    found = real_films.measure(tmp_path / "lungs")
    assert found["flips"]["pos_to_neg"][real_films.AGREED] == nothing
    assert real_films.rows_of(found)["flips of f and h, where h agreed, pos_to_neg"] == "–"
