"""The pooling of study fidelity, on run folders that are made up."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from builders import refused

from cxr_jax.evaluate import audit, scores
from cxr_jax.metrics import Bootstrap, summarise
from cxr_jax.report import tables
from cxr_jax.report.arrays import save_scores
from experiments import reading, runs
from experiments.studies import fidelity

BOOTSTRAP = Bootstrap(resamples=50, seed=0)
FILMS = (3, 5)  # of each decision in each run
NULL = {"mean": None, "reason": "not judged"}


def path_scores(rng, rows: int, twin: bool) -> dict[str, np.ndarray]:
    """Scores of a path, NaN where a film has none."""
    draw = lambda: rng.uniform(size=rows)
    made = {name: draw() for name in ("flip_auc", "flip_time", "length", "monotonicity")}
    flips = {name: np.float64(draw() < 0.7) for name in ("flip_rate", "flip_rate_f", "reached")}
    transfer = draw()
    transfer[0] = np.nan
    made |= flips | {"transfer": transfer, "structure": rng.uniform(size=rows)}
    return made | ({"twin_error": draw()} if twin else {})


def map_scores(rng, rows: int) -> dict[str, np.ndarray]:
    names = ("on_target", "pixel_auroc", "pixel_auroc_lung", "iou", "lookalike")
    return {name: rng.uniform(size=rows) for name in names}


def make_scores(seed: int) -> dict:
    rng, rows = np.random.default_rng(seed), FILMS[seed]
    up = {name: path_scores(rng, rows, False) for name in ("linear", "aligned", "chord", "ray")}
    down = {name: path_scores(rng, rows, True) for name in ("linear", "aligned", "natural")}
    return {
        "pos_to_neg": down,
        "neg_to_pos": up,
        "maps": {name: map_scores(rng, rows - 1) for name in ("latent", "prior")},
        "audit_true_masks": {
            region: {"evidence": rng.uniform(1, 2, rows)} for region in ("lesions", "elsewhere")
        },
    }


def make_report(seed: int, each: dict) -> dict:
    """What metrics.json has and is not pooled from scores."""
    paths = {}
    for direction in ("pos_to_neg", "neg_to_pos"):
        for path in each[direction]:
            known = seed + len(path) / 10
            entry = {"realism": {"mean": known, "ci95": [0, 9]}}
            entry |= scores.summarise_paths(each[direction][path], 0, BOOTSTRAP)
            paths.setdefault(path, {})[direction] = entry
    paths["ray"]["neg_to_pos"]["realism"] = NULL
    audited = audit.summarise(each["audit_true_masks"], BOOTSTRAP)
    return {
        "audit_true_masks": audited,
        "config": {"explain": {"bootstrap": BOOTSTRAP.resamples}},
        "coverage": 0.5 + 0.1 * seed,
        "coverage_by_direction": {"pos_to_neg": 0.25 + 0.5 * seed, "neg_to_pos": 1.0},
        "latent_path": ["linear", "aligned"][seed],
        "classifier": {"auroc": 0.9},
        "reconstruction_rmse": {"mean": 0.1 + 0.1 * seed, "ci95": [0, 1], "images": 3},
        "paths": paths,
        "maps": scores.summarise_maps(each["maps"], BOOTSTRAP),
        "disentanglement": {
            "margin": {"z_structure": 0.2 + 0.2 * seed, "z_class": 0.5, "both": None},
            "severity_spearman": [0.5, None][seed],
        },
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two finished runs with their per-film scores, and those scores."""
    root, every = tmp_path_factory.mktemp("fidelity"), []
    for seed in range(2):
        directory = root / f"seed{seed}" / "explain"
        directory.mkdir(parents=True)
        every.append(make_scores(seed))
        save_scores(directory / "scores.npz", every[-1])
        text = json.dumps(make_report(seed, every[-1]), allow_nan=False)
        (directory / "metrics.json").write_text(text)
    return [root / "seed0", root / "seed1"], every


def joined(every, group: str, name: str) -> dict[str, np.ndarray]:
    first, second = (each[group][name] for each in every)
    return {metric: np.concatenate([first[metric], second[metric]]) for metric in first}


def test_scores_of_films_that_were_walked_to_several_ends_are_refused(tmp_path):
    (tmp_path / "explain").mkdir()
    several = {"linear": {"flip_rate": np.ones((3, 8))}}
    save_scores(tmp_path / "explain" / "scores.npz", {"neg_to_pos": several, "maps": {}})
    assert reading.load_group([tmp_path], "pos_to_neg") == {}
    assert "explain is of an earlier version; run" in refused(
        reading.load_group, [tmp_path], "neg_to_pos"
    )


def test_a_result_of_before_is_shown_as_it_was_measured(finished):
    """When a film was walked to several ends there was a row for the best of them."""
    table = fidelity.pool(finished[0])
    table["paths"]["linear_best"] = table["paths"]["ray"]
    differences = table["comparisons"]["neg_to_pos"]
    differences["aligned - linear_best"] = differences["aligned - linear"]
    document = fidelity.to_markdown({"phantom": table})
    assert document.count("| `linear_best` |") == 2
    assert document.count("| `aligned - linear_best` |") == 1


@pytest.mark.parametrize("group", ["pos_to_neg", "neg_to_pos", "maps"])
def test_the_films_of_the_runs_are_put_after_each_other(finished, group):
    workdirs, every = finished
    found = reading.load_group(workdirs, group)
    assert found.keys() == every[0][group].keys()
    for name, metrics in found.items():
        expected = joined(every, group, name)
        assert metrics.keys() == expected.keys()
        for metric, values in metrics.items():
            np.testing.assert_array_equal(values, expected[metric])


def test_the_pooled_tables_are_those_of_all_films_together(finished):
    workdirs, every = finished
    table = fidelity.pool(workdirs)
    # A quarter of the first run's films passed the gate, and three quarters of the second's.
    rejected = {"pos_to_neg": 3 * FILMS[0] + round(FILMS[1] / 3), "neg_to_pos": 0}
    for direction, num_rejected in rejected.items():
        for path in every[0][direction]:
            expected = scores.summarise_paths(
                joined(every, direction, path), num_rejected, BOOTSTRAP
            )
            found = dict(table["paths"][path][direction])
            found.pop("realism")
            assert found == expected, (path, direction)
            films = [FILMS[0], FILMS[1]]
            assert found["flip_rate"]["images"] == sum(films)
    maps = {name: joined(every, "maps", name) for name in ("latent", "prior")}
    assert table["maps"] == scores.summarise_maps(maps, BOOTSTRAP)
    assert table["maps"]["prior"]["on_target"]["images"] == sum(FILMS) - 2
    linear = np.concatenate([each["pos_to_neg"]["linear"]["flip_rate"] for each in every])
    rate = table["paths"]["linear"]["pos_to_neg"]
    assert rate["flip_rate"]["mean"] == pytest.approx(linear.mean())
    assert rate["flip_rate_all"]["mean"] == pytest.approx(linear.sum() / (3 + 9 + 5 + 2))


def test_what_is_known_for_whole_runs_is_averaged_over_them(finished):
    table = fidelity.pool(finished[0])
    realism = table["paths"]["aligned"]["pos_to_neg"]["realism"]
    assert realism == {"mean": pytest.approx(1.2), "ci95": None, "each_seed": [0.7, 1.7]}
    assert table["paths"]["ray"]["neg_to_pos"]["realism"] == NULL
    assert table["reconstruction_rmse"]["mean"] == pytest.approx(0.15)
    assert table["seeds"] == 2 and table["coverage"] == pytest.approx(0.55)
    assert table["latent_path"] == ["linear", "aligned"]
    shares = {"z_structure": pytest.approx(0.3), "z_class": 0.5, "both": None}
    assert table["disentanglement"] == {"margin": shares, "severity_spearman": None}


def test_the_audit_is_of_all_films_together(finished):
    workdirs, every = finished
    table = fidelity.pool(workdirs)["audit"]
    both = {name: joined(every, "audit_true_masks", name) for name in ("lesions", "elsewhere")}
    assert table == audit.summarise(both, BOOTSTRAP)
    assert table["evidence"]["lesions"]["images"] == sum(FILMS) and table["flagged"]


def test_a_direction_that_no_run_walked_says_so(finished):
    entry = fidelity.pool(finished[0])["paths"]["natural"]["neg_to_pos"]
    assert entry["flip_rate"] == {"mean": None, "reason": tables.NOT_WALKED}


def test_each_run_is_reported_beside_the_pool(finished):
    workdirs, every = finished
    found = fidelity.pool(workdirs)
    table, paths = found["each_seed"], found["latent_path"]
    assert len(set(paths)) == 2
    for metric in ("on_target", "pixel_auroc_lung", "lookalike"):
        expected = [each["maps"]["latent"][metric].mean() for each in every]
        assert table[metric] == pytest.approx(expected)
    for metric in ("flip_rate", "twin_error"):
        walked = zip(every, paths, strict=True)
        expected = [each["pos_to_neg"][path][metric].mean() for each, path in walked]
        assert table[metric] == pytest.approx(expected)


def test_the_tables_for_people_have_a_row_for_each_gan():
    each = {"on_target": [0.5, None], "twin_error": [0.25, 1.0]}
    lines = fidelity.each_gan({"latent_path": ["linear", "aligned"], "each_seed": each}).split("\n")
    assert lines[0] == "| seed | path of map `latent` | on_target | twin_error |"
    assert lines[2:] == ["| 0 | `linear` | 0.500 | 0.250 |", "| 1 | `aligned` | – | 1.000 |"]


def test_differences_are_paired_by_film(finished):
    workdirs, every = finished
    table = fidelity.pool(workdirs)["comparisons"]
    assert table["pos_to_neg"].keys() == {"aligned - linear", "natural - linear"}
    assert table["neg_to_pos"].keys() == {
        *("aligned - linear", "aligned - chord"),
    }
    ours, theirs = (joined(every, "pos_to_neg", n)["twin_error"] for n in ("natural", "linear"))
    found = table["pos_to_neg"]["natural - linear"]["twin_error"]
    assert found == summarise(ours - theirs, BOOTSTRAP)
    ours, theirs = (joined(every, "neg_to_pos", n)["flip_auc"] for n in ("aligned", "linear"))
    found = table["neg_to_pos"]["aligned - linear"]["flip_auc"]
    assert found["mean"] == pytest.approx(ours.mean() - theirs.mean())
    assert found["images"] == sum(FILMS)
    assert "twin_error" not in table["neg_to_pos"]["aligned - linear"]


def test_films_whose_walk_is_undefined_are_not_compared():
    one = {name: np.array([1.0, 3.0]) for name in fidelity.COMPARED}
    other = {name: np.array([np.nan, 1.5]) for name in fidelity.COMPARED}
    table = fidelity.compare({"aligned": one, "linear": other}, BOOTSTRAP, {})
    assert table["aligned - linear"]["transfer"]["mean"] == pytest.approx(1.5)
    assert table["aligned - linear"]["transfer"]["images"] == 1
    undefined = {name: np.full(2, np.nan) for name in fidelity.COMPARED}
    table = fidelity.compare({"aligned": one, "linear": undefined}, BOOTSTRAP, {})
    assert table["aligned - linear"]["transfer"]["mean"] is None


def test_a_geodesic_is_compared_with_the_straight_line_alone():
    linear = {"flip_rate": np.array([1.0, 0.0])}
    geodesic = {"flip_rate": np.array([1.0, 1.0])}
    each = {"linear": linear, "geodesic": geodesic, "chord": geodesic}
    ((name, difference),) = fidelity.compare(each, BOOTSTRAP, {}).items()
    assert name == "geodesic - linear"
    assert difference["flip_rate"]["mean"] == 0.5


def test_a_path_that_was_compared_with_itself_gains_nothing():
    same = {name: np.random.default_rng(0).uniform(size=4) for name in fidelity.COMPARED}
    table = fidelity.compare({"aligned": same, "linear": same}, BOOTSTRAP, {})
    for entry in table["aligned - linear"].values():
        assert entry == {"mean": 0.0, "ci95": [0.0, 0.0], "images": 4}
    assert fidelity.compare({"linear": same}, BOOTSTRAP, {}) == {}


def test_realism_is_compared_resample_by_resample(finished):
    rng = np.random.default_rng(0)
    straight = [rng.normal(size=51) for _ in range(2)]
    drawn = [
        {"pos_to_neg": {"linear": one, "aligned": one + 0.5, "natural": rng.normal(size=51)}}
        for one in straight
    ]
    table = fidelity.pool(finished[0], drawn)
    found = table["paths"]["linear"]["pos_to_neg"]["realism"]
    assert found["mean"] == pytest.approx(np.mean([one[0] for one in straight]))
    assert found["ci95"][0] < found["ci95"][1]
    # Whatever both paths share is no uncertainty of their difference.
    difference = table["comparisons"]["pos_to_neg"]["aligned - linear"]["realism"]
    assert [difference["mean"], *difference["ci95"]] == pytest.approx([0.5] * 3)
    # Of the direction that nothing was drawn of, what the runs say.
    other = table["paths"]["aligned"]["neg_to_pos"]["realism"]
    assert other["mean"] == pytest.approx(1.2) and other["ci95"] is None
    assert "realism" not in table["comparisons"]["neg_to_pos"]["aligned - linear"]


def test_a_geodesic_s_realism_is_compared_with_the_straight_line_s():
    same = {"flip_rate": np.ones(2)}
    draws = {"linear": np.zeros((1, 3)), "geodesic": np.ones((1, 3))}
    table = fidelity.compare({"linear": same, "geodesic": same}, BOOTSTRAP, draws)
    assert table["geodesic - linear"]["realism"]["mean"] == 1.0


def test_the_pool_is_json_and_markdown(finished):
    table = fidelity.pool(finished[0])
    text = json.dumps(table, allow_nan=False)
    document = fidelity.to_markdown({"phantom": json.loads(text)})
    assert document.startswith("## phantom: 2 GANs, 8 covered positives, coverage 55%")
    assert "NaN" not in text + document and "nan" not in document
    for heading in ("### Paths, pos_to_neg", "### Paths, neg_to_pos", "### Maps"):
        assert heading in document
    widths = {line.count("|") for line in document.splitlines() if line.startswith("| `linear` |")}
    assert widths == {len(fidelity.PATH_COLUMNS) + 2}


def test_a_data_set_without_masks_has_no_maps(finished, tmp_path):
    workdirs = []
    for workdir in finished[0]:
        shutil.copytree(workdir, tmp_path / workdir.name)
        workdirs.append(tmp_path / workdir.name)
        with np.load(workdir / "explain" / "scores.npz") as arrays:
            kept = {key: arrays[key] for key in arrays if not key.startswith("maps/")}
        np.savez(workdirs[-1] / "explain" / "scores.npz", **kept)
        path = workdirs[-1] / "explain" / "metrics.json"
        report = json.loads(path.read_text())
        report["maps"] = scores.undefined_maps(["latent", "prior"], "no mask")
        path.write_text(json.dumps(report))
    table = fidelity.pool(workdirs)
    assert table["maps"]["prior"]["on_target"] == {"mean": None, "reason": "no mask"}
    assert table["each_seed"]["on_target"] == [None, None]
    assert "### Maps" not in fidelity.to_markdown({"covid": table})


DONE = subprocess.CompletedProcess([], returncode=0)


def test_a_seed_is_run_by_the_command_line_with_what_is_shared(tmp_path, monkeypatch):
    first = tmp_path / "seed0"
    for task, file in (("classifier", "done.json"), ("evaluators", "half.txt")):
        (first / task).mkdir(parents=True)
        (first / task / file).write_text("{}")
    commands = []
    monkeypatch.setattr(runs.subprocess, "run", lambda command: commands.append(command) or DONE)
    fidelity.run_seed(
        "configs/other.py:full",
        2,
        tmp_path / "seed2",
        first=first,
        num_skipped=8,
        overrides=["--config.explain.num_images=8"],
    )
    # What the first run has not finished is not copied.
    assert (tmp_path / "seed2" / "classifier" / "done.json").exists()
    assert not (tmp_path / "seed2" / "evaluators").exists()
    ((python, main, *arguments),) = commands
    assert python == sys.executable and main.endswith("main.py")
    assert arguments == [
        "--config=configs/other.py:full",
        f"--workdir={tmp_path / 'seed2'}",
        "--config.gan.seed=2",
        "--config.explain.num_skipped=8",
        "--config.explain.num_images=8",
    ]
