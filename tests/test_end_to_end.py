"""The whole experiment through the command line, as small as it gets."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_jax.datasets.cxr_phantom import phantom

ROOT = Path(__file__).parents[1]
DIRECTIONS = {"pos_to_neg", "neg_to_pos"}
PATHS = {"linear", "aligned", "necessary"}
MAPS = {
    *("latent", "latent_integrated_gradients", "residual", "gradient", "grad_cam"),
    *("expected_gradients", "prior", "shuffled", "oracle"),
}
SMALL = "tests/small_experiment.py"


def start(folder: Path, name: str, *arguments: str, config: str = SMALL) -> subprocess.Popen:
    """main.py in `folder`/`name`; what is prepared or compiled once serves all runs of `folder`."""
    return subprocess.Popen(
        [
            *(sys.executable, "main.py", f"--config={config}"),
            f"--workdir={folder / name}",
            f"--config.data.cache_dir={folder / 'cache'}",
            *arguments,
        ],
        cwd=ROOT,
        env={
            **os.environ,
            # Compiling is what takes the time.
            "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=1200)
    assert process.returncode == 0, output[-3000:]
    assert "Traceback" not in output and "Warning" not in output, output[-3000:]
    return output


def read(path: Path) -> dict:
    """JSON without the NaN and Infinity that no other reader knows."""
    return json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{path}: {name}"))


def assert_picture(path: Path) -> None:
    pixels = np.asarray(Image.open(path).convert("L"), float)
    assert min(pixels.shape) >= 100 and pixels.std() > 10, path


def assert_figure(entry: dict) -> None:
    """{"mean", "ci95"}, or a mean of null and the reason."""
    if entry["mean"] is None:
        assert entry["reason"]
    elif entry["ci95"] is not None:
        low, high = entry["ci95"]
        assert low <= high


def assert_metrics(metrics: dict) -> None:
    assert 0 < metrics["coverage"] <= 1 and metrics["images"] == 8
    assert len(metrics["rejected"]) == round((1 - metrics["coverage"]) * metrics["images"])
    assert all(film["id"] and film["reason"] for film in metrics["rejected"])
    assert 0 <= metrics["classifier"]["auroc"] <= 1
    assert metrics["paths"].keys() == PATHS
    for path in metrics["paths"].values():
        assert path.keys() == DIRECTIONS
        for table in path.values():
            assert table.keys() >= {
                *("flip_rate", "flip_rate_f", "flip_rate_all", "flip_distance"),
                *("flip_auc", "transfer", "twin_error", "monotonicity"),
                *("structure", "realism", "length_gain"),
            }
            for entry in table.values():
                assert_figure(entry)
    for name in PATHS:
        for direction in DIRECTIONS:
            assert metrics["paths"][name][direction]["flip_rate"]["mean"] is not None
    assert metrics["maps"].keys() == MAPS
    for table in metrics["maps"].values():
        assert table.keys() >= {"on_target", "pixel_auroc", "pixel_auroc_lung", "iou", "lookalike"}
        for entry in table.values():
            assert_figure(entry)


def assert_walks(path: Path, frames: int) -> None:
    with np.load(path) as walks:
        assert len(walks["rows"]) == len(walks["covered"]) == 8
        for direction in DIRECTIONS:
            count, *shape = walks[f"{direction}/image"].shape
            assert count > 0 and len(set(walks[f"{direction}/name"])) == count
            for name in PATHS:
                prefix = f"{direction}/{name}"
                assert walks[f"{prefix}/margin"].shape == (count, frames)
                assert walks[f"{prefix}/judge_margin"].shape == (count, frames)
                assert walks[f"{prefix}/z_class"].shape[:2] == (count, frames)
                carried = walks[f"{prefix}/carried"]
                assert carried.shape == (count, frames, *shape) and carried.dtype == np.uint8
                # The walk sets out from the film itself.
                film = np.round((walks[f"{direction}/image"] + 1) * 127.5)
                np.testing.assert_allclose(carried[:, 0], film, atol=1)


def assert_contract(workdir: Path) -> None:
    """Every file of a finished run, as others rely on it."""
    config = read(workdir / "config.json")
    assert (workdir / "run.log").read_text().strip()
    for task in ("classifier", "gan", "encoder"):
        assert read(workdir / task / "done.json")
        lines = (workdir / task / "metrics.jsonl").read_text().splitlines()
        steps = [json.loads(line)["step"] for line in lines]
        assert steps == sorted(set(steps)) and steps[-1] == config[task]["num_steps"]
        assert any((workdir / task / "checkpoints").iterdir())
    metrics = read(workdir / "explain" / "metrics.json")
    assert metrics["config"] == config
    assert_metrics(metrics)
    assert_walks(workdir / "explain" / "walks.npz", config["explain"]["walk_steps"] + 1)
    samples = list((workdir / "gan" / "samples").glob("*.png"))
    figures = list((workdir / "explain" / "figures").glob("*.png"))
    assert len(samples) == 2 and len(figures) >= 5
    for path in samples + figures:
        assert_picture(path)


def files(workdir: Path) -> dict[str, int]:
    """Every file of the results and when it was written."""
    names = ("done.json", "metrics.json", "metrics.jsonl", "calibration.*", "*.npz", "*.png")
    paths = [path for name in (*names, "scale.json") for path in workdir.rglob(name)]
    return {path.relative_to(workdir).as_posix(): path.stat().st_mtime_ns for path in paths}


def test_the_phantom_experiment(tmp_path):
    """A folder's films are explained beside those of the data set."""
    workdir = tmp_path / "run"
    (tmp_path / "mine").mkdir()
    film = phantom.draw(9, 0, phantom.PhantomSpec(32))["image"]
    Image.fromarray(film[..., 0]).save(tmp_path / "mine" / "one.png")
    folder = f"--config.explain.dir={tmp_path / 'mine'}"
    finish(start(tmp_path, "run", folder))
    assert_contract(workdir)
    before, mine = files(workdir), "explain/films/mine"
    assert {f"{mine}/walks.npz", f"{mine}/traversal_01.png"} <= before.keys()
    (explained,) = read(workdir / mine / "films.json")["films"]
    assert explained["name"] == "one.png" and explained["direction"] in DIRECTIONS
    # A second call has nothing to do but to explain the folder's films, which may have changed.
    output = finish(start(tmp_path, "run", folder))
    after = files(workdir)
    assert after.keys() == before.keys()
    again = {name for name, written in after.items() if written != before[name]}
    assert again and all(name.startswith(f"{mine}/") for name in again)
    assert output.count("complete, skipped") == 6


@pytest.mark.slow
def test_the_papers_experiment(tmp_path):
    finish(start(tmp_path, "run", config="configs/paper.py:tiny"))
    report = read(tmp_path / "run" / "explain" / "metrics.json")
    assert report["paths"].keys() == PATHS and report["maps"].keys() >= MAPS
    figures = list((tmp_path / "run" / "explain" / "figures").glob("*.png"))
    samples = list((tmp_path / "run" / "gan" / "samples").glob("*.png"))
    assert "interpolation.png" in {path.name for path in figures} and len(samples) == 2
    for path in figures + samples:
        assert_picture(path)
    output = finish(start(tmp_path, "run", config="configs/paper.py:tiny"))
    assert output.count("complete, skipped") == 5


def kill_when(process: subprocess.Popen, path: Path) -> None:
    """SIGKILL as soon as `path` holds a line."""
    while not (path.exists() and "\n" in path.read_text()):
        assert process.poll() is None, process.communicate()[0][-3000:]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_numbers(tmp_path):
    tiny = "configs/phantom.py:tiny"
    finish(start(tmp_path, "undisturbed", config=tiny))
    for task in ("classifier", "gan", "encoder"):
        process = start(tmp_path, "killed", config=tiny)
        kill_when(process, tmp_path / "killed" / task / "metrics.jsonl")
        assert not (tmp_path / "killed" / task / "done.json").exists()
    finish(start(tmp_path, "killed", config=tiny))
    one, other = (tmp_path / name / "explain" for name in ("undisturbed", "killed"))
    assert read(one / "metrics.json") == read(other / "metrics.json")
    with np.load(one / "walks.npz") as these, np.load(other / "walks.npz") as those:
        assert sorted(these) == sorted(those)
        for name in these:
            np.testing.assert_array_equal(these[name], those[name])
