"""The ablation table: its command lines and what it reads."""

import json

import pytest

from benchmarks import ablations
from configs.phantom import get_config


@pytest.mark.parametrize("name", ablations.ROWS)
def test_every_row_sets_fields_that_there_are_to_values_of_their_type(name):
    config = get_config("tiny")
    config.lock()
    config.update_from_flattened_dict(ablations.ROWS[name])


def test_the_command_line_of_a_row():
    changes = {"gan.conditioning": "binary", "gan.severity_channels": (64,), "gan.num_grades": 2}
    assert ablations.flags_of(changes) == [
        "--config.gan.conditioning=binary",
        "--config.gan.severity_channels=(64,)",
        "--config.gan.num_grades=2",
    ]


def test_the_table_shows_what_the_runs_wrote(tmp_path):
    entry = lambda mean: {"mean": mean, "ci95": [mean - 0.1, mean + 0.1]}
    linear = {
        "pos_to_neg": {name: entry(0.5) for name in ("flip_rate", "transfer", "twin_error")},
        "neg_to_pos": {"flip_rate": entry(0.75)},
    }
    latent = {"on_target": entry(0.25), "pixel_auroc_lung": {"mean": None, "reason": "none"}}
    latent["lookalike"] = entry(0.125)
    report = {"coverage": 0.9, "paths": {"linear": linear}, "maps": {"latent": latent}}
    (tmp_path / "explain").mkdir()
    (tmp_path / "explain" / "metrics.json").write_text(json.dumps(report))
    row = ablations.read(tmp_path)
    assert row["flips neg→pos"]["mean"] == 0.75 and row["coverage"] == {"mean": 0.9}
    lines = ablations.to_markdown({"ours": row}, "3 steps").splitlines()
    assert lines[-1] == (
        "| ours | 0.900 | 0.500 [0.400, 0.600] | 0.750 [0.650, 0.850] | 0.500 [0.400, 0.600] | "
        "0.500 [0.400, 0.600] | 0.250 [0.150, 0.350] | – | "
        "0.125 [0.025, 0.225] |"
    )
