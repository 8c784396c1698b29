"""Mask and gain of path `necessary`, taken away one by one."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from cxr_jax.configs import phantom
from cxr_jax.errors import InputError
from cxr_jax.runtime.workdir import write_json
from experiments.command import parse
from experiments.studies import necessary


def test_mask_and_gain_are_each_taken_away():
    section = ConfigDict(dict(least_felt=0.5, gain=1.5))
    assert necessary.variants(section) == {
        "neither (linear)": {"least_felt": necessary.ALL_FELT, "gain": 1.0},
        "gain": {"least_felt": necessary.ALL_FELT, "gain": 1.5},
        "mask": {"least_felt": 0.5, "gain": 1.0},
        "mask and gain": {"least_felt": 0.5, "gain": 1.5},
    }


def test_differences_are_paired_over_films():
    rng, rows = np.random.default_rng(0), 40
    spread = rng.normal(size=rows)
    each, faithful = {}, {}
    for shift, name in enumerate(necessary.variants(phantom.get_config().explain.necessary)):
        each[name] = {
            "twin_error": spread - 0.1 * shift,
            "flip_rate": (spread > 1 - shift).astype(float),
        }
        logs = rng.normal(size=(rows, 3, 4))
        faithful[name] = {"products": logs @ logs.swapaxes(1, 2)}
        faithful[name] |= dict.fromkeys(("rank", "top", "unvalued"), np.ones(rows))
    table = necessary.summarise(each, faithful)
    assert list(table)[4:] == [f"mask and gain, less {name}" for name in list(each)[:3]]
    less = table["mask and gain, less neither (linear)"]
    assert less["twin_error"]["mean"] == pytest.approx(-0.3)
    assert np.ptp(less["twin_error"]["ci95"]) < 1e-9  # films differ by more than that
    assert np.ptp(table["mask"]["twin_error"]["ci95"]) > 0.1
    whole, other = (table[name]["partial"]["mean"] for name in ("mask and gain", "gain"))
    assert table["mask and gain, less gain"]["partial"]["mean"] == pytest.approx(whole - other)
    page = necessary.to_markdown(table)
    assert "| `mask and gain, less gain` |" in page and "| – |" in page  # no `felt` was given


def test_real_films_and_unfinished_runs_are_refused(tmp_path):
    options = parse(necessary.STUDY, [f"--workdir={tmp_path}", "--out="])
    with pytest.raises(InputError, match="is not complete"):
        next(necessary.run(options))
    (tmp_path / "explain").mkdir()
    (tmp_path / "explain" / "done.json").write_text("{}")
    config = phantom.get_config()
    config.data.name = "cxr_folder"
    write_json(tmp_path / "config.json", config.to_dict())
    with pytest.raises(InputError, match="of real films"):
        next(necessary.run(options))
