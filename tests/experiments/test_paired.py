"""Walks of the same films, held against each other film by film."""

import numpy as np
import pytest

from experiments.paired import compare


def test_differences_are_paired_over_films():
    rng, rows = np.random.default_rng(0), 40
    spread, names = rng.normal(size=rows), ("ours", "rival", "beside")
    each, faithful = {}, {}
    for shift, name in enumerate(names):
        each[name] = {
            "twin_error": spread + 0.1 * shift,
            "flip_rate_to_positive": (np.arange(rows) >= 10 * shift).astype(float),
        }
        logs = rng.normal(size=(rows, 3, 4))
        faithful[name] = {"products": logs @ logs.swapaxes(1, 2)}
        faithful[name] |= dict.fromkeys(("rank", "top", "unvalued"), np.ones(rows))
    table = compare(each, faithful, ours="ours", rivals=["rival"])
    assert list(table) == [*names, "ours, less rival"]
    less = table["ours, less rival"]
    assert less["twin_error"]["mean"] == pytest.approx(-0.1)
    assert np.ptp(less["twin_error"]["ci95"]) < 1e-9  # films differ by more than that
    assert np.ptp(table["rival"]["twin_error"]["ci95"]) > 0.1
    assert less["flip_rate_to_positive"]["mean"] == pytest.approx(0.25)
    exact = table["ours"]["flip_rate_to_positive"]["ci95"]
    assert exact == pytest.approx([0.025 ** (1 / rows), 1.0])
    one, other = (table[name]["partial"]["mean"] for name in ("ours", "rival"))
    assert less["partial"]["mean"] == pytest.approx(one - other)
