"""The readers that are timed beside each other read the same films to the same squares."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import reading
from benchmarks.film_readers import READERS
from benchmarks.reading import STUDY, cells, to_markdown, write_film
from experiments.command import parse

FILMS, SIZE = 12, 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("films")
    for seed in range(FILMS):
        name = ("covid", "normal")[seed // 2 % 2]
        write_film(root / name / f"{name}{seed}.dcm", 200, seed)
    return root


def test_readers_read_the_same(folder):
    ours = READERS["films"](folder, SIZE)[..., 0].astype(float)
    assert ours.shape == (FILMS, SIZE, SIZE) and ours.std(axis=(1, 2)).min() > 20
    by_pillow = READERS["pillow"](folder, SIZE)
    by_skimage = READERS["skimage"](folder, SIZE)
    # Theirs are stretched over each film's own values, and have other filters.
    for name, theirs in {"pillow": by_pillow, "skimage": by_skimage}.items():
        for one, other in zip(ours, theirs, strict=True):
            assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.995, name
    prepared = READERS["folder"](folder, SIZE)
    assert sum(map(len, prepared.values())) == FILMS


def test_rates_are_told_with_what_they_cost():
    rate = {"median": 40.0, "least": 30.0, "most": 50.0}
    row = {"images_per_second": rate, "cores": 1.6, "peak_gib": 0.5, "ready_seconds": 3.0}
    assert cells(row) == ["40 [30, 50]", "1.6", "40", "0.5"]
    group = {"rows": {"ours": row, "theirs": {"reason": "none"}}, "ratios": {"a_vs_b": rate}}
    text = to_markdown({"24 films": group})
    assert "| ours | 40 [30, 50] | 1.6 | 40 | 0.5 |" in text and "| theirs | none |" in text
    assert "| 24 films |" in text and "| `a_vs_b` | 40 [30, 50] |" in text


@pytest.mark.slow
@pytest.mark.slow
def test_all_are_timed_in_turn():
    options = parse(STUDY, ["--out=", "--films=12", "--pixels=64", "--size=16", "--rounds=2"])
    ((results,),) = (found.values() for found in reading.run(options))
    assert results["rows"].keys() == reading.ROWS.keys()
    assert results["ratios"].keys() == reading.RATIOS.keys()
