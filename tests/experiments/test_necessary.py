"""Mask and gain of path `necessary`, taken away one by one."""

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
