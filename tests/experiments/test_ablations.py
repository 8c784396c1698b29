"""The ablation table: its command lines and what it reads."""

import json

import numpy as np
import pytest

from cxr_jax.configs.phantom import get_config
from experiments.studies import ablations

GAN = {"num_steps": 3, "batch_size": 8}


@pytest.mark.parametrize("name", ablations.ROWS)
def test_every_row_sets_fields_that_there_are_to_values_of_their_type(name):
    config = get_config("tiny")
    config.lock()
    config.update_from_flattened_dict(ablations.ROWS[name])


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
    text = ablations.to_markdown({"gan": GAN, "rows": {"ours": row}})
    assert "(3 steps of 8 films)" in text.splitlines()[0]
    assert (
        "| ours | 0.900 | 0.500 [0.400, 0.600] | 0.750 [0.650, 0.850] | 0.500 [0.400, 0.600] | "
        "0.500 [0.400, 0.600] | 0.250 [0.150, 0.350] | – | "
        "0.125 [0.025, 0.225] |\n"
    ) in text


def write_films(workdir, rows, lesioned, scores):
    """A run's films: their rows, which of them have lesions, and a score of each."""
    (workdir / "explain").mkdir(parents=True)
    masks = np.zeros((len(rows), 2, 2, 1), np.uint8)
    masks[:, 0] = 255 * np.array(lesioned, np.uint8)[:, None, None]
    walks = {"pos_to_neg/row": np.array(rows), "pos_to_neg/lesion_mask": masks}
    np.savez(workdir / "explain" / "walks.npz", **walks)
    arrays = {}
    for _, key in ablations.PAIRED:
        of_map = key.startswith("maps/")
        arrays[key] = np.array(scores)[lesioned] if of_map else np.array(scores)
    np.savez(workdir / "explain" / "scores.npz", **arrays)


def test_rows_are_compared_film_by_film(tmp_path):
    write_films(tmp_path / "ours", [3, 5, 8], [True, False, True], [0.5, 0.25, 1.0])
    # Film 3 was rejected here, and film 9 there; film 5 has no lesion for a map to be on.
    write_films(tmp_path / "other", [5, 8, 9], [False, True, True], [0.75, 0.5, 7.0])
    ours, other = (ablations.by_film(tmp_path / name) for name in ("ours", "other"))
    difference = ablations.less(other, ours)
    assert difference["twin_error"]["mean"] == pytest.approx((0.5 - 0.5) / 2)
    assert difference["twin_error"]["images"] == 2
    assert difference["on_target"]["mean"] == pytest.approx(-0.5)
    assert difference["on_target"]["images"] == 1
    entries = {column: {"mean": 1.0} for column, _ in ablations.COLUMNS}
    rows = {"ours": entries, "without": entries | {"less_ours": difference}}
    last = ablations.to_markdown({"gan": GAN, "rows": rows}).splitlines()[-1]
    assert last.startswith("| without | 0.000 [") and last.count("-0.500 [-0.500, -0.500]") == 3
