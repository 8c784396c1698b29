"""The command line: whatever is wrong with it is told in one line, with exit status 2."""

import dataclasses
import errno
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from absl import flags
from absl.testing import flagsaver
from film_folders import make_folder

from cxr_jax import cli
from cxr_jax.configs import phantom
from cxr_jax.runtime import workdir
from cxr_jax.runtime.interrupts import Interrupted

ROOT = Path(__file__).parents[1]
INSTALLED = str(Path(sys.executable).with_name("cxr-jax"))

# ml_collections imports the file of a config in a way that Python is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

PHANTOM = "--config=configs/phantom.py:tiny"
COVID = "--config=configs/covid.py:tiny"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """How a call ended, and what it wrote on standard error."""

    status: int
    stderr: str


@pytest.fixture
def run(monkeypatch, capsys) -> Callable[..., Result]:
    """Parses a command line and runs it in this process: starting one takes seconds."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("CXR_DATA", raising=False)
    log = logging.getLogger("cxr_jax")
    before = log.handlers, log.level, log.propagate

    def call(*arguments: str, **environment: str) -> Result:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["main.py", *arguments])
        with flagsaver.flagsaver():  # which also forgets the fields that a config brings along
            try:
                rest = cli.guard(cli.parse_flags, sys.argv)
                status = cli.guard(cli.run, rest)
            except SystemExit as exit_:
                status = exit_.code
            flags.FLAGS.unparse_flags()
        for handler in set(log.handlers) - set(before[0]):
            handler.close()
        log.handlers, log.level, log.propagate = before
        return Result(status=status, stderr=capsys.readouterr().err)

    return call


def run_process(*command: str, **environment: str) -> subprocess.CompletedProcess:
    """The command as a user calls it."""
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "CXR_DATA": "", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def assert_refused(status: int, stderr: str, *named: str, program: str = "main.py") -> None:
    lines = [line for line in stderr.splitlines() if line.strip()]
    assert status == 2, stderr
    assert len(lines) == 1, stderr
    assert lines[0].startswith(f"{program}: ") and len(lines[0]) < 400
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
        pytest.param(
            [PHANTOM, "--config.classifier.module=nowhere:margin"],
            ["'nowhere:margin'", "package.module:function"],
            id="function",
        ),
        pytest.param([PHANTOM, "--distributed"], ["--num_processes"], id="nothing to join"),
        pytest.param([PHANTOM, "--config.gan.num_steps=many"], ["num_steps", "many"], id="type"),
        pytest.param(["--config=configs/nowhere.py"], ["configs/nowhere.py"], id="no config"),
        pytest.param(["--config=configs/phantom.py:huge"], ["huge", "tiny"], id="unknown variant"),
        pytest.param([], ["--config"], id="config not given"),
        pytest.param([PHANTOM, "--num_processes=2"], ["--distributed"], id="not distributed"),
        pytest.param(
            [PHANTOM, "--distributed", "--process_id=0"], ["coordinator_address"], id="no address"
        ),
    ],
)
def test_a_wrong_command_line(run, tmp_path, arguments, named):
    workdir = tmp_path / "run"
    result = run(*arguments, f"--workdir={workdir}")
    assert_refused(result.status, result.stderr, *named)
    assert not workdir.exists()


# Single fields that make no sense, of which eight once ended in a traceback and others trained.
SENSELESS = [
    "classifier.widths=()",
    "classifier.widths=16",
    "classifier.widths=(0,16)",
    "classifier.widths=(-16,16)",
    "classifier.widths=(16,)",
    "classifier.widths=('wide','wider')",
    "classifier.widths[0]=3",
    "gan.generator_widths=(96,96,48)",
    "gan.z_structure_channels=(0,-1,3)",
    "gan.z_structure_channels=(16,6)",
    "gan.weights={'pixel':3.0}",
    "gan.weights.pixel=-1",
    "gan.weights.pixel=nan",
    "gan.num_grades=0",
    "gan.beta1=2",
    "gan.discriminator_learning_rate=inf",
    "classifier.learning_rate=nan",
    "classifier.learning_rate=-0.1",
    "classifier.learning_rate=0",
    "judge.weight_decay=-100",
    "judge.label_smoothing=3",
    "classifier.ema_decay=1",
    "classifier.ema_decay=1.5",
    "classifier.augmentation.zoom=2",
    "classifier.augmentation.shift=1e9",
    "judge.augmentation.noise=-1",
    "classifier.convention.threshold=2",
    "gan.seed=99999999999999999999",
    "explain.inversion.weights.prior=-1",
    "data.dir=two\nlines",
]


@pytest.mark.parametrize("override", SENSELESS)
def test_a_field_that_makes_no_sense_claims_no_work_directory(run, tmp_path, override):
    cache = f"--config.data.cache_dir={tmp_path / 'cache'}"
    result = run(PHANTOM, f"--workdir={tmp_path / 'run'}", cache, f"--config.{override}")
    assert_refused(result.status, result.stderr, override.split("=")[0].split("[")[0])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["file", "file/folder", "null/folder"])
def test_a_cache_folder_that_cannot_be_made(run, tmp_path, where):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "null").symlink_to("/dev/null")
    workdir, cache = tmp_path / "run", tmp_path / where
    result = run(PHANTOM, f"--workdir={workdir}", f"--config.data.cache_dir={cache}")
    assert_refused(result.status, result.stderr, "config.data.cache_dir", str(cache))
    assert not workdir.exists() and (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config.data.dir=~/films", "--workdir=~/run"],
        ["--config.data.dir=~/films", "--workdir=~/run", "--config.data.cache_dir=~/cache"],
        ["--config.classifier.architecture=vgg16", "--config.classifier.weights=~/films"],
    ],
)
def test_the_home_folder_in_every_path(run, tmp_path, arguments):
    """Nothing lies there, which the one line says of the whole path."""
    workdir = [] if "--workdir=~/run" in arguments else [f"--workdir={tmp_path / 'run'}"]
    result = run(COVID, *arguments, *workdir, HOME=str(tmp_path))
    assert_refused(result.status, result.stderr, str(tmp_path / "films"))
    assert not (ROOT / "~").exists()
    assert (tmp_path / "run").exists() == (not workdir)
    assert (tmp_path / "cache").exists() == (len(arguments) == 3)


def test_a_config_in_the_home_folder(run, tmp_path):
    """A shell replaces no ~ after an equals sign."""
    (tmp_path / "mine.py").write_text(
        "from cxr_jax.configs import phantom\n\n\ndef get_config(variant=''):\n"
        "    config = phantom.get_config(variant)\n"
        "    config.gan.num_grades = 0\n    return config\n"
    )
    result = run("--config=~/mine.py:tiny", "--workdir=~/run", HOME=str(tmp_path))
    assert_refused(result.status, result.stderr, "config.gan.num_grades is 0")


def test_the_home_folder_of_nobody(run):
    result = run(PHANTOM, "--workdir=~nobody_of_this_name/run")
    assert_refused(result.status, result.stderr, "~nobody_of_this_name/run")


def test_an_exported_run_in_the_home_folder(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SystemExit):
        cli.guard(cli.export, ["--workdir=~/run", "--out=~/out"])
    assert f"{tmp_path / 'run'} holds no run" in capsys.readouterr().err


def test_what_one_call_was_told_the_next_one_has_forgotten(run, tmp_path):
    """Of the fixture: the cases above stand on it."""
    workdir = f"--workdir={tmp_path / 'run'}"
    assert "gan.r1_every is 0" in run(PHANTOM, workdir, "--config.gan.r1_every=0").stderr
    result = run(PHANTOM, workdir, "--config.gan.dtype=half")
    assert "gan.dtype" in result.stderr and "r1_every" not in result.stderr


def test_the_installed_command_ends_with_the_same_line_and_status(tmp_path):
    result = run_process(INSTALLED, PHANTOM, f"--workdir={tmp_path / 'run'}", "--nonsense=1")
    assert_refused(result.returncode, result.stderr, "nonsense", program="cxr-jax")
    assert not result.stdout and not (tmp_path / "run").exists()


def test_no_workdir(run):
    result = run(PHANTOM)
    assert_refused(result.status, result.stderr, "--workdir")


def test_a_workdir_in_a_bucket(run):
    result = run(PHANTOM, "--workdir=gs://bucket/run")
    assert_refused(result.status, result.stderr, "gs://bucket/run", "docs/tpu.md")
    assert not (ROOT / "gs:").exists()


@pytest.mark.parametrize("section", ["judge", "encoder", "prior", "evaluators.segmenter"])
def test_a_batch_that_cannot_be_split_over_the_devices(run, tmp_path, monkeypatch, section):
    monkeypatch.setattr("cxr_jax.runtime.parallel.num_devices", lambda: 5)
    size = f"--config.{section}.batch_size=42"
    result = run(
        PHANTOM,
        f"--workdir={tmp_path / 'run'}",
        size,
        "--config.gan.batch_size=40",
        "--config.classifier.batch_size=40",
        "--config.judge.batch_size=40",
        "--config.encoder.batch_size=40",
        "--config.prior.batch_size=40",
        "--config.evaluators.names=('segmenter',)",
        size,
    )
    assert_refused(result.status, result.stderr, f"config.{section}.batch_size is 42", "5 devices")
    assert not (tmp_path / "run").exists()


def test_a_batch_is_split_over_the_devices_of_the_process(tmp_path):
    result = run_process(
        *(sys.executable, "main.py", PHANTOM, f"--workdir={tmp_path / 'run'}"),
        "--config.classifier.batch_size=42",
        JAX_PLATFORMS="cpu",
        JAX_NUM_CPU_DEVICES="5",
    )
    named = "config.classifier.batch_size is 42", "5 devices"
    assert_refused(result.returncode, result.stderr, *named)


def test_a_file_in_the_way(run, tmp_path):
    path = tmp_path / "occupied"
    path.write_text("")
    result = run(PHANTOM, f"--workdir={path}")
    assert_refused(result.status, result.stderr, str(path))


def test_the_workdir_of_another_config(run, tmp_path):
    other = phantom.get_config("tiny")
    other.gan.batch_size = 48
    (tmp_path / "config.json").write_text(json.dumps(other.to_dict()))
    (tmp_path / "classifier" / "checkpoints").mkdir(parents=True)  # it is being trained
    result = run(PHANTOM, f"--workdir={tmp_path}")
    assert_refused(result.status, result.stderr, str(tmp_path), "gan.batch_size", "48")


def test_a_workdir_that_another_process_is_at_work_in(run, tmp_path):
    with workdir.locked(tmp_path / "lock", "it"):
        result = run(PHANTOM, f"--workdir={tmp_path}")
    assert_refused(result.status, result.stderr, str(tmp_path), "another process")


def end(error: Exception) -> Callable:
    def call(argv):
        raise error

    return call


def test_a_full_disk_ends_in_one_line(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["main.py"])
    with pytest.raises(SystemExit) as ended:
        cli.guard(end(OSError(errno.ENOSPC, "No space left on device", "runs/a")), [])
    assert_refused(ended.value.code, capsys.readouterr().err, "runs/a", "No space left")
    with pytest.raises(OSError):  # what no one can foresee stays as it is
        cli.guard(end(OSError(errno.EIO, "Input/output error")), [])


def test_a_stopped_training_ends_in_one_line_and_the_signals_status(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["main.py"])
    with pytest.raises(SystemExit) as ended:
        cli.guard(end(Interrupted(signal.SIGTERM, "gan is saved")), [])
    assert ended.value.code == 143
    assert capsys.readouterr().err == "main.py: gan is saved\n"


@pytest.mark.parametrize("given", ["flag", "environment", "nothing"])
def test_a_missing_folder_of_films(run, tmp_path, given):
    workdir, missing = f"--workdir={tmp_path / 'run'}", str(tmp_path / "nowhere")
    if given == "flag":
        result, named = run(COVID, workdir, f"--config.data.dir={missing}"), [missing]
    elif given == "environment":
        result, named = run(COVID, workdir, CXR_DATA=missing), [missing]
    else:
        result, named = run(COVID, workdir), ["CXR_DATA", "--config.data.dir"]
    assert_refused(result.status, result.stderr, *named)


def test_too_few_films_name_the_fields_to_set_and_claim_nothing(run, tmp_path):
    folder = make_folder(tmp_path / "films", per_class=12)
    result = run(
        COVID,
        f"--workdir={tmp_path / 'run'}",
        f"--config.data.dir={folder}",
        f"--config.data.cache_dir={tmp_path / 'prepared'}",
    )
    *_, said = result.stderr.splitlines()
    assert result.status == 2 and said.startswith("main.py: there are 18 training films")
    assert "config.classifier.batch_size (32)" in said and said.endswith("to 16 or fewer")
    assert "positive are covid/ (12 films)" in (tmp_path / "run" / "run.log").read_text()
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_corrected_command_is_not_another_experiment(run, tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    for name in ("nowhere", "elsewhere"):
        folder = str(tmp_path / name)
        result = run(COVID, workdir, f"--config.data.dir={folder}")
        assert "another config" not in result.stderr
        assert_refused(result.status, result.stderr, folder)


def test_a_task_whose_predecessor_is_missing(run, tmp_path):
    cache = f"--config.data.cache_dir={tmp_path / 'cache'}"
    workdir = f"--workdir={tmp_path / 'run'}"
    result = run(PHANTOM, workdir, cache, "--task=gan")
    assert_refused(result.status, result.stderr, "classifier is not complete", "--task=classifier")


@pytest.mark.parametrize(
    "given", ["--config=phantom:tiny", "--config=configs/phantom.py:tiny", "-config=phantom:tiny"]
)
def test_a_config_of_the_package_needs_no_checkout(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    flag, _, file = cli.find_config(given).partition("=")
    path, _, variant = file.partition(":")
    assert flag == given.split("=")[0] and variant == "tiny"
    assert Path(path).samefile(ROOT / "configs" / "phantom.py")


@pytest.mark.parametrize(
    "given", ["--config=mine.py:tiny", "--config=nowhere", "--workdir=phantom"]
)
def test_other_arguments_are_left_as_they_are(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").touch()
    assert cli.find_config(given) == given


def test_a_config_of_ones_own_comes_before_the_packages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "phantom.py").touch()
    assert cli.find_config("--config=phantom.py") == "--config=phantom.py"


def test_help_is_not_an_error():
    result = run_process(INSTALLED, "--help")
    assert "--workdir" in result.stdout and "--task" in result.stdout
    assert not result.stderr
