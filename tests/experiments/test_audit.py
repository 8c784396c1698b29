"""The audit study's pooling, on run folders that are made up."""

import json

import numpy as np
import pytest

from cxr_jax.configs.phantom import get_config
from cxr_jax.errors import InputError
from cxr_jax.evaluate import audit
from cxr_jax.metrics import Bootstrap
from cxr_jax.report.arrays import save_scores
from experiments.command import parse
from experiments.runs import as_flags
from experiments.studies import audit as study

# ml_collections loads a config file in a way that Python deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

REGIONS = ("lesions", "marker", "lungs", "elsewhere")


def make_run(workdir, marker: float, seed: int, films: int = 20):
    """A finished run whose classifier owes so much of its answer to the marker."""
    rng = np.random.default_rng(seed)
    truth = {"lesions": 3 * rng.uniform(size=films), "marker": np.full(films, marker)}
    nothing = np.zeros(films)
    each = {
        name: {
            "evidence": 0.8 * truth.get(name, nothing),
            "truth": truth.get(name, nothing),
            "grad_cam": np.full(films, 0.25),
        }
        for name in REGIONS
    }
    report = {
        "audit_true_masks": audit.summarise(each, Bootstrap(resamples=50, seed=0)),
        "classifier": {"auroc": 0.9 + seed / 100},
        "coverage": 0.5 + seed / 10,
    }
    directory = workdir / "explain"
    directory.mkdir(parents=True)
    (directory / "metrics.json").write_text(json.dumps(report))
    save_scores(directory / "scores.npz", {"audit_true_masks": each, "maps": {}})
    return workdir


def test_runs_are_counted_and_their_films_pooled(tmp_path):
    sound, shortcut = (make_run(tmp_path / str(m), m, seed) for seed, m in enumerate((0.0, 4.0)))
    table = study.pool([sound, shortcut])
    assert (table["seeds"], table["flagged"]) == (2, 1)
    assert table["classifier_auroc"] == [0.9, 0.91] and table["coverage"] == pytest.approx(0.55)
    assert table["evidence"]["marker"]["mean"] == pytest.approx(0.8 * 4 / 2)
    assert table["evidence"]["marker"]["images"] == 40
    assert table["rank_correlation"] == pytest.approx(1.0)
    assert table["agreement"]["slope"] == pytest.approx(0.8)
    assert table["each_outside_share"][0] == 0 and table["each_outside_share"][1] > 0.5


def test_a_run_of_which_no_film_was_explained_has_no_share(tmp_path):
    runs = [make_run(tmp_path / "some", 4.0, 1)]
    nothing = tmp_path / "none" / "explain"
    nothing.mkdir(parents=True)
    report = {"audit_true_masks": audit.no_verdict("why"), "classifier": {"auroc": 0.5}}
    (nothing / "metrics.json").write_text(json.dumps(report | {"coverage": 0.0}))
    save_scores(nothing / "scores.npz", {"audit_true_masks": {}, "maps": {}})
    table = study.pool([*runs, nothing.parent])
    assert table["each_outside_share"][1] is None and table["evidence"]["marker"]["images"] == 20
    with pytest.raises(InputError, match="no positive of .* passes the gate"):
        study.pool([nothing.parent])


def test_real_films_are_refused_before_anything_is_trained(tmp_path):
    argv = ["--config=configs/covid.py:cpu", f"--workdir={tmp_path}", "--out="]
    with pytest.raises(InputError, match="real films"):
        next(study.run(parse(study.STUDY, argv)))


def test_the_tables_name_every_config_region_and_map(tmp_path):
    runs = [make_run(tmp_path / "a", 4.0, 1)]
    found = {"shortcut": study.pool(runs)}
    text = study.to_markdown(json.loads(json.dumps(found, allow_nan=False)))
    assert "| `shortcut` | 1 of 1 |" in text
    assert all(f" {region} |" in text for region in REGIONS)
    assert "`grad_cam, share`" in text and "| 0.250 " in text
    assert f"above {audit.OUTSIDE_SHARE}" in text


def test_budgets_are_fields_that_there_are():
    known = get_config().to_dict()
    for flag in as_flags(study.BUDGET):
        section = known
        *path, name = flag.removeprefix("--config.").split("=")[0].split(".")
        for key in path:
            section = section[key]
        assert name in section
