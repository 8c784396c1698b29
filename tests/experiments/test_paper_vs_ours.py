"""The comparison says which of two is better, and says it of every row."""

import json

import numpy as np
import pytest

from experiments.studies import paper_vs_ours


@pytest.mark.parametrize(
    ("ours", "paper", "best", "verdict"),
    [
        (2.0, 1.0, 0.0, "paper"),
        (0.5, 0.9, 1.0, "paper"),
        (1.6, 0.9, 1.0, "paper"),  # a transfer of 1.6 is worse than one of 0.9
        (1.0, 2.0, 0.0, "ours"),
        (1.0, 1.0, 1.0, ""),
        (None, 1.0, 1.0, ""),
    ],
)
def test_better_is_nearer_to_the_best(ours, paper, best, verdict):
    assert paper_vs_ours.better({"mean": ours}, {"mean": paper}, best) == verdict


def test_nothing_is_better_where_intervals_overlap():
    one = {"mean": 0.5, "ci95": [0.4, 0.6]}
    assert paper_vs_ours.better(one, {"mean": 0.7, "ci95": [0.6, 0.8]}, 1.0) == ""
    assert paper_vs_ours.better(one, {"mean": 0.7, "ci95": [0.61, 0.8]}, 1.0) == "paper"


# Of metrics.json as explaining writes it.
REPORT = {
    "config": {
        "gan": {"num_steps": 7, "batch_size": 32},
        "encoder": {"num_steps": 0},
        "explain": {"inversion": {"num_steps": 40}},
    },
    "coverage": 0.9,
    "reconstruction_rmse": {"mean": 0.05, "ci95": [0.04, 0.06]},
    "paths": {
        "linear": {
            direction: {
                "flip_rate": {"mean": 0.8, "ci95": [0.7, 0.9]},
                "flip_rate_all": {"mean": 0.7, "ci95": [0.6, 0.8]},
                "flip_rate_f": {"mean": 0.85, "ci95": [0.8, 0.9]},
                "transfer": {"mean": 1.0, "ci95": [0.9, 1.1]},
                "structure": {"mean": 0.99, "ci95": [0.98, 1.0]},
                "twin_error": {"mean": 0.5, "ci95": [0.4, 0.6]},
            }
            for direction in ("pos_to_neg", "neg_to_pos")
        }
    },
    "maps": {
        "latent": {
            "on_target": {"mean": 0.6, "ci95": [0.5, 0.7]},
            "pixel_auroc_lung": {"mean": 0.9, "ci95": [0.8, 0.95]},
        }
    },
}


def test_every_row_is_compared_and_printed(tmp_path, monkeypatch):
    worse = json.loads(json.dumps(REPORT))
    worse["paths"]["linear"]["pos_to_neg"]["twin_error"] = {"mean": 1.5, "ci95": [1.4, 1.6]}
    worse["maps"]["latent"]["on_target"] = {"mean": 0.8, "ci95": [0.75, 0.85]}
    workdirs = {}
    for system, report in (("ours", REPORT), ("paper", worse)):
        workdirs[system] = tmp_path / system
        (workdirs[system] / "explain").mkdir(parents=True)
        (workdirs[system] / "explain" / "metrics.json").write_text(json.dumps(report))
    measured = {
        "samples: MMD²": {"mean": 1.0},
        "samples: Fréchet distance": {"mean": 1.0},
        "samples: spread of a pixel, films = 1": {"mean": 0.5},
        "training, ms an image": {"mean": 1.0},
        "inversion, seconds a film": {"mean": 1.0},
    }
    monkeypatch.setattr(paper_vs_ours, "measure", lambda config, workdir: measured)
    table = paper_vs_ours.compare(workdirs)
    better = {name: row["better"] for name, row in table.items() if row["better"]}
    assert better == {"twin_error": "ours", "on_target": "paper"}
    lines = paper_vs_ours.to_markdown({"budgets": "few steps", "rows": table}).splitlines()
    assert "| twin_error | 0.500 [0.400, 0.600] | 1.500 [1.400, 1.600] | -1.000 | ours |" in lines
    assert "| coverage | 0.900 | 0.900 | +0.000 |  |" in lines
    budgets = paper_vs_ours.say_budgets(workdirs)
    assert budgets.startswith("ours, 7 GAN steps of 32 films, 40 steps of inversion;")


def test_every_second_sample_has_no_class_latent():
    draw = lambda z_structure, z_class: np.concatenate([z_structure, z_class], axis=-1)
    for lent in (None, np.array([[1.0, 2.0], [3.0, 4.0]])):
        z = paper_vs_ours.draw_samples(draw, (3, 2), lent)
        assert len(z) == paper_vs_ours.SAMPLES and not z[0::2, 3:].any()
        assert abs(z[:, :3].std() - 1) < 0.1
    np.testing.assert_allclose(z[1:8:2, 3:], [[1, 2], [3, 4], [1, 2], [3, 4]])


def test_a_collapsed_generator_has_no_spread():
    films = np.random.default_rng(0).normal(size=(50, 4, 4, 1))
    assert paper_vs_ours.spread(np.repeat(films[:1], 50, axis=0)) == pytest.approx(0.0)
    assert paper_vs_ours.spread(films) == pytest.approx(1.0, abs=0.1)
    assert paper_vs_ours.spread(films + 7 * films[:1]) == pytest.approx(paper_vs_ours.spread(films))
