"""The command line: whatever is wrong with it is told in one line, with exit status 2."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cxr_jax.configs import phantom

ROOT = Path(__file__).parents[1]
PHANTOM = "--config=configs/phantom.py:tiny"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """main.py as a user calls it."""
    return subprocess.run(
        [sys.executable, "main.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "CXR_DATA": "", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def assert_refused(result: subprocess.CompletedProcess, *named: str) -> None:
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert result.returncode == 2, result.stderr
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("main.py: ") and len(lines[0]) < 400
    for text in named:
        assert text in lines[0], lines[0]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        pytest.param([PHANTOM, "--nonsense=1"], ["nonsense"], id="unknown flag"),
        pytest.param([PHANTOM, "nonsense"], ["nonsense"], id="no flag"),
        pytest.param([PHANTOM, "--task=train"], ["task", "train"], id="unknown task"),
        pytest.param([PHANTOM, "--config.gan.nonsense=1"], ["gan.nonsense"], id="unknown field"),
        pytest.param([PHANTOM, "--config.nonsense.x=1"], ["nonsense"], id="unknown section"),
        pytest.param([PHANTOM, "--config.explain.paths=('linear','up')"], ["'up'"], id="path"),
        pytest.param([PHANTOM, "--config.gan.dtype=half"], ["gan.dtype", "'half'"], id="dtype"),
        pytest.param([PHANTOM, "--config.data.image_size=48"], ["image_size is 48"], id="size"),
        pytest.param([PHANTOM, "--config.gan.r1_every=0"], ["gan.r1_every is 0"], id="range"),
        pytest.param(
            [PHANTOM, "--config.evaluators.names=('segmentor',)"], ["'segmentor'"], id="evaluator"
        ),
        pytest.param([PHANTOM, "--config.gan.num_steps=many"], ["num_steps", "many"], id="type"),
        pytest.param(["--config=configs/nowhere.py"], ["configs/nowhere.py"], id="no config"),
        pytest.param(["--config=configs/phantom.py:huge"], ["huge", "tiny"], id="unknown variant"),
        pytest.param([], ["--config"], id="config not given"),
        pytest.param([PHANTOM, "--num_processes=2"], ["--distributed"], id="not distributed"),
        pytest.param(
            [PHANTOM, "--distributed", "--process_id=0"], ["coordinator_address"], id="no address"
        ),
        pytest.param(
            [PHANTOM, "--distributed"], ["--distributed", "--num_processes"], id="nothing to join"
        ),
    ],
)
def test_a_wrong_command_line(tmp_path, arguments, named):
    workdir = tmp_path / "run"
    assert_refused(run(*arguments, f"--workdir={workdir}"), *named)
    assert not workdir.exists()


def test_no_workdir():
    assert_refused(run(PHANTOM), "--workdir")


def test_a_workdir_in_a_bucket():
    assert_refused(run(PHANTOM, "--workdir=gs://bucket/run"), "gs://bucket/run", "docs/tpu.md")
    assert not (ROOT / "gs:").exists()


@pytest.mark.parametrize("section", ["judge", "encoder", "evaluators.segmenter"])
def test_a_batch_that_cannot_be_split_over_the_devices(tmp_path, section):
    size, devices = f"--config.{section}.batch_size=42", {"JAX_NUM_CPU_DEVICES": "5"}
    result = run(
        PHANTOM,
        f"--workdir={tmp_path / 'run'}",
        size,
        "--config.gan.batch_size=40",
        "--config.classifier.batch_size=40",
        "--config.judge.batch_size=40",
        "--config.encoder.batch_size=40",
        "--config.evaluators.names=('segmenter',)",
        size,
        JAX_PLATFORMS="cpu",
        **devices,
    )
    assert_refused(result, f"config.{section}.batch_size is 42", "5 devices")
    assert not (tmp_path / "run").exists()


def test_a_file_in_the_way(tmp_path):
    path = tmp_path / "occupied"
    path.write_text("")
    assert_refused(run(PHANTOM, f"--workdir={path}"), str(path))


def test_the_workdir_of_another_config(tmp_path):
    other = phantom.get_config("tiny")
    other.gan.batch_size = 48
    (tmp_path / "config.json").write_text(json.dumps(other.to_dict()))
    assert_refused(run(PHANTOM, f"--workdir={tmp_path}"), str(tmp_path), "gan.batch_size", "48")


COVID = "--config=configs/covid.py:tiny"


@pytest.mark.parametrize("given", ["flag", "environment", "nothing"])
def test_a_missing_folder_of_films(tmp_path, given):
    workdir, missing = f"--workdir={tmp_path / 'run'}", str(tmp_path / "nowhere")
    if given == "flag":
        assert_refused(run(COVID, workdir, f"--config.data.dir={missing}"), missing)
    elif given == "environment":
        assert_refused(run(COVID, workdir, CXR_DATA=missing), missing)
    else:
        assert_refused(run(COVID, workdir), "CXR_DATA", "--config.data.dir")


def test_a_corrected_command_is_not_another_experiment(tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    for name in ("nowhere", "elsewhere"):
        folder = str(tmp_path / name)
        result = run(COVID, workdir, f"--config.data.dir={folder}")
        assert "another config" not in result.stderr
        assert_refused(result, folder)


def test_a_task_whose_predecessor_is_missing(tmp_path):
    sizes = [f"--config.data.num_{split}=4" for split in ("train", "validation", "test")]
    cache = f"--config.data.cache_dir={tmp_path / 'cache'}"
    workdir = f"--workdir={tmp_path / 'run'}"
    result = run(PHANTOM, workdir, cache, *sizes, "--task=gan")
    assert result.returncode == 2 and "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("main.py: ") and "classifier is not complete" in last
    assert "--task=classifier" in last


def test_help_is_not_an_error():
    result = run("--help")
    assert "--workdir" in result.stdout and "--task" in result.stdout
    assert not result.stderr
