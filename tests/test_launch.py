"""The launch scripts, with stand-ins for gcloud and SLURM that record what they are asked."""

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TPU, SLURM = "launch_tpu.sh", "launch_slurm.sh"
TOOLS = ("bash", "cat", "date", "dirname", "env", "gzip", "mkdir", "mktemp", "rm", "sleep")
TOOLS += ("tail", "tar", "touch")

# Each stand-in appends its arguments as a JSON list, and fails where a word of $FAIL is among them,
# or the first time that $FAIL_ONCE is. What was created can be described until it is deleted.
STAND_IN = f"""#!{sys.executable} -IS
import json, os, pathlib, sys, tarfile, time
name, arguments = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
folder = pathlib.Path(os.environ["FOLDER"])
with open(folder / "calls.jsonl", "a") as calls:
    calls.write(json.dumps([name, *arguments]) + "\\n")
for word in os.environ["FAIL"].split():
    if any(word in argument for argument in arguments):
        sys.exit(3)
failed, once = folder / "failed", os.environ["FAIL_ONCE"]
if once and once in " ".join(arguments) and not failed.exists():
    failed.touch()
    sys.exit(3)
there = folder / "there"
if "create" in arguments or name == "sbatch":
    there.touch()
if "delete" in arguments or name == "scancel":
    there.unlink()
if "describe" in arguments:
    if not there.exists():
        sys.exit(1)
    print(os.environ["STATE"])
if "scp" in arguments and arguments[5].endswith("/"):
    (folder / "metrics.json").write_text("{{}}")
    with tarfile.open(arguments[5] + "results.tar.gz", "w:gz") as results:
        results.add(folder / "metrics.json", "explain/metrics.json")
if any("main.py" in argument for argument in arguments):
    time.sleep(float(os.environ["TRAINING_SECONDS"]))
if name == "sbatch":
    print("17;cluster")
if name == "squeue" and there.exists() and os.environ["STATE"] == "RUNNING":
    print("RUNNING")
if name == "sacct":
    print(os.environ["ENDING"])
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """A folder with a clone of the project and what the stand-ins note, and the environment."""

    folder: Path
    environment: dict

    def command(self, script: str, *arguments: str, **environment: str) -> dict:
        return dict(
            args=[str(self.folder / "clone" / "scripts" / script), *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(timeout=120, **self.command(*arguments, **environment))

    def calls(self) -> list[list[str]]:
        path = self.folder / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def asked(self, name: str) -> list[list[str]]:
        """The calls of one command."""
        return [call for call in self.calls() if call[0] == name]


@pytest.fixture
def bare(tmp_path) -> Machine:
    """A machine with neither gcloud nor SLURM."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in TOOLS:
        (tools / name).symlink_to(shutil.which(name))
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "scripts", clone / "scripts")
    shutil.copytree(ROOT / "configs", clone / "configs")
    environment = {"PATH": str(tools), "HOME": str(tmp_path), "FOLDER": str(tmp_path)}
    environment |= {
        "STATE": "ACTIVE",
        "ENDING": "COMPLETED",
        "FAIL": "",
        "FAIL_ONCE": "",
        "TRAINING_SECONDS": "0",
    }
    return Machine(folder=tmp_path, environment=environment | {"CXR_POLL_SECONDS": "0.1"})


@pytest.fixture
def machine(bare) -> Machine:
    """One with stand-ins."""
    python = bare.folder / "clone" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    names = ("git", "gcloud", "sbatch", "squeue", "sacct", "scancel")
    for path in (python, *(bare.folder / "bin" / name for name in names)):
        path.write_text(STAND_IN)
        path.chmod(0o755)
    return bare


def verbs(machine: Machine) -> list[str]:
    """What gcloud was asked to do, in order."""
    return [call[4] for call in machine.asked("gcloud")]


def stop(process: subprocess.Popen, number: int, when: Callable[[], object]) -> None:
    """Sends a signal as soon as `when` says so; the script must still run then, and end by it."""
    deadline = time.monotonic() + 60
    while not when():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=120)
    assert process.returncode == 128 + number


@pytest.mark.parametrize("script", [TPU, SLURM])
def test_a_dry_run_needs_nothing_and_shows_every_command(bare, script):
    result = bare.run(script, "--dry-run")
    assert result.returncode == 0 and not result.stderr
    lines = result.stdout.splitlines()
    shown = [line.removeprefix("+ ") for line in lines if line.startswith("+ ")]
    assert any("main.py" in line for line in shown)
    if script == TPU:
        groups = [line.split()[3:5] for line in shown if line.startswith("gcloud")]
        wanted = ["queued-resources create", "queued-resources describe", "tpu-vm scp"]
        wanted += ["tpu-vm ssh", "tpu-vm ssh", "tpu-vm ssh", "tpu-vm scp"]
        wanted += ["queued-resources delete"]
        assert [" ".join(group) for group in groups] == wanted
    assert not (bare.folder / "clone" / "runs").exists()


def test_a_run_on_a_tpu_from_nothing_to_nothing(machine):
    films = machine.folder / "my films"
    (films / "covid").mkdir(parents=True)
    arguments = ["--name=mine", "--project=p q", "--zone=z", "--spot", f"--films={films}"]
    arguments += ["--bucket=b", "--results=here", "--", "--config.explain.paths=('linear', 'ray')"]
    result = machine.run(TPU, *arguments)
    assert result.returncode == 0, result.stderr
    calls = machine.asked("gcloud")
    assert all(call[:3] == ["gcloud", "compute", "tpus"] for call in calls)
    assert all({"--zone=z", "--project=p q"} <= set(call) for call in calls)
    assert verbs(machine) == [
        *("describe", "create", "describe", "scp", "scp", "ssh", "ssh", "ssh", "ssh", "scp"),
        "delete",
    ]
    create, train = calls[1], calls[7]
    assert {"queued-resources", "mine", "--node-id=mine", "--spot"} <= set(create)
    assert all("--worker=all" in call for call in calls[3:8])
    (mount,) = re.findall(r"gcsfuse (--.*) b bucket", calls[6][-3])
    assert mount.split() == [
        *("--implicit-dirs", "--rename-dir-limit=200000"),
        *("--metadata-cache-ttl-secs=0", "--metadata-cache-negative-ttl-secs=0"),
    ]
    command = next(a for a in train if a.startswith("--command=")).removeprefix("--command=")
    # What bash makes of it on the worker is what was asked for here.
    words = subprocess.run(
        ["bash", "-c", f"cd() {{ :; }}; env() {{ printf '%s\n' \"$@\"; }}; {command}"],
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert words[0] == "CXR_DATA=../films" and words[2:4] == ["main.py", "--distributed"]
    assert words[-1] == "--config.explain.paths=('linear', 'ray')"
    assert "--workdir=../bucket/mine" in words
    assert (machine.folder / "here" / "explain" / "metrics.json").exists()


def test_on_demand(machine):
    assert machine.run(TPU, "--on_demand", "--results=here").returncode == 0
    assert all(call[3] == "tpu-vm" for call in machine.asked("gcloud"))
    assert verbs(machine)[:2] == ["describe", "create"]
    assert verbs(machine)[-1] == "delete"


@pytest.mark.parametrize("fails", ["create", "scp", "install", "main.py", "results.tar.gz"])
def test_it_is_deleted_whatever_fails(machine, fails):
    result = machine.run(TPU, "--results=here", FAIL=fails)
    assert result.returncode not in (0, 2), result.stdout
    assert verbs(machine)[-1] == "delete"
    # What a failed training has written is fetched all the same.
    assert (machine.folder / "here" / "explain").exists() == (fails == "main.py")


@pytest.mark.parametrize("state", ["FAILED", "SUSPENDED"])
def test_a_request_that_fails_is_deleted(machine, state):
    result = machine.run(TPU, STATE=state)
    assert result.returncode == 1 and f"ended as {state}" in result.stderr
    assert verbs(machine) == ["describe", "create", "describe", "delete"]


def test_a_question_that_fails_once_does_not_cost_the_place_in_the_queue(machine):
    result = machine.run(TPU, "--results=here", FAIL_ONCE="value(state.state)")
    assert result.returncode == 0, result.stderr
    assert verbs(machine)[:4] == ["describe", "create", "describe", "describe"]
    assert "is unknown: the question failed" in result.stdout


def test_a_question_that_always_fails_ends_the_waiting(machine):
    result = machine.run(TPU, FAIL="value(state.state)", CXR_POLL_SECONDS="0.01")
    assert result.returncode == 1 and "did not answer" in result.stderr
    assert verbs(machine)[-1] == "delete"
    assert verbs(machine).count("describe") == 1 + 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_deleted_when_the_script_is_stopped(machine, number):
    # In the background of a shell SIGINT is ignored, and so it would be by the script.
    command = machine.command(TPU, TRAINING_SECONDS="60")
    command["args"] = ["env", "--default-signal=INT,TERM", *command["args"]]
    process = subprocess.Popen(**command)
    stop(process, number, lambda: any("main.py" in " ".join(call) for call in machine.calls()))
    assert verbs(machine)[-1] == "delete"


def test_what_was_there_before_is_left_alone(machine):
    (machine.folder / "there").touch()
    result = machine.run(TPU, "--name=precious")
    assert result.returncode == 2 and "precious" in result.stderr
    assert verbs(machine) == ["describe"]


def test_what_cannot_be_deleted_is_said(machine):
    result = machine.run(TPU, "--results=here", FAIL="--force")
    assert result.returncode == 1 and "goes on costing money" in result.stderr


def test_it_can_be_kept(machine):
    result = machine.run(TPU, "--results=here", "--keep")
    assert result.returncode == 0 and "delete" not in verbs(machine)
    assert "goes on costing money" in result.stderr


@pytest.mark.parametrize(
    ("script", "argument", "named"),
    [
        (TPU, "--nonsense=1", "--nonsense=1"),
        (TPU, "nonsense", "nonsense"),
        (TPU, "--zone=", "--zone="),
        (TPU, "--name=My TPU", "My TPU"),
        (TPU, "--config=configs/nowhere.py", "configs/nowhere.py"),
        (TPU, "--films=nowhere", "nowhere"),
        (TPU, "--bucket=gs://b", "the name alone, b"),
        (TPU, "--type=v5litepod-16", "--bucket"),
        (TPU, "--type=v4-32", "--bucket"),
        (SLURM, "--nonsense=1", "--nonsense=1"),
        (SLURM, "--gpus=many", "--gpus=many"),
        (SLURM, "--name=a b", "a b"),
        (SLURM, "--config=configs/nowhere.py", "configs/nowhere.py"),
        (SLURM, "--films=nowhere", "nowhere"),
    ],
)
def test_wrong_options_end_in_one_line(machine, script, argument, named):
    result = machine.run(script, argument)
    assert result.returncode == 2 and not machine.calls(), result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"{script}: ") and named in line


@pytest.mark.parametrize("script", [TPU, SLURM])
def test_a_missing_tool_is_named(bare, script):
    result = bare.run(script)
    (line,) = result.stderr.splitlines()
    assert result.returncode == 2 and "is not installed" in line and "--dry-run" in line


def test_a_job_on_slurm(machine):
    (machine.folder / "my films").mkdir()
    arguments = ["--nodes=2", "--gpus=4", "--partition=p", "--films=my films", "--workdir=here"]
    result = machine.run(SLURM, *arguments, "--", "--config.explain.paths=('linear', 'ray')")
    assert result.returncode == 0, result.stderr
    (installed,), (submitted,) = machine.asked("python"), machine.asked("sbatch")
    assert installed[1:4] == ["-m", "pip", "install"] and installed[-1] == "jax[cuda12]"
    assert {"--nodes=2", "--ntasks-per-node=4", "--gres=gpu:4", "--partition=p"} <= set(submitted)
    command = submitted[-1].removeprefix("--wrap=")
    words = subprocess.run(
        ["bash", "-c", f"env() {{ printf '%s\n' \"$@\"; }}; {command}"],
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert words[0] == f"CXR_DATA={machine.folder}/my films"
    assert words[1:3] == ["srun", "--cpus-per-task=8"]
    assert words[3:6] == [".venv/bin/python", "main.py", "--distributed"]
    assert words[-2:] == [
        f"--workdir={machine.folder}/here",
        "--config.explain.paths=('linear', 'ray')",
    ]
    assert "--jobs=17" in machine.asked("sacct")[0] and not machine.asked("scancel")


def test_a_single_process_is_not_distributed(machine):
    assert machine.run(SLURM, "--workdir=here").returncode == 0
    (submitted,) = machine.asked("sbatch")
    assert "main.py" in submitted[-1] and "--distributed" not in submitted[-1]


def test_a_job_that_fails(machine):
    result = machine.run(SLURM, "--workdir=here", ENDING="OUT_OF_MEMORY")
    assert result.returncode == 1 and "job 17 ended as OUT_OF_MEMORY" in result.stderr


def test_a_job_is_cancelled_when_the_script_is_stopped(machine):
    process = subprocess.Popen(**machine.command(SLURM, "--workdir=here", STATE="RUNNING"))
    stop(process, signal.SIGTERM, lambda: machine.asked("squeue"))
    assert machine.calls()[-1] == ["scancel", "17"]


def test_a_question_that_fails_once_is_no_end_of_the_job(machine):
    command = machine.command(SLURM, "--workdir=here", FAIL_ONCE="--format=%T", STATE="RUNNING")
    process = subprocess.Popen(**command)
    stop(process, signal.SIGTERM, lambda: len(machine.asked("squeue")) >= 6)
    assert machine.calls()[-1] == ["scancel", "17"]


@pytest.mark.parametrize("fails", ["--format=%T", "--format=%T --allocations"])
def test_a_job_whose_end_is_unknown_is_not_cancelled(machine, fails):
    """The queue no longer answers, nor the accounting, or only that the job runs."""
    result = machine.run(SLURM, "--workdir=here", FAIL=fails, ENDING="RUNNING")
    assert result.returncode == 1 and "does not say how job 17 ended" in result.stderr
    assert len(machine.asked("squeue")) == 3 and not machine.asked("scancel")


def test_shellcheck_has_nothing_to_say():
    shellcheck = Path(sys.executable).with_name("shellcheck")
    if not shellcheck.exists():
        pytest.skip("shellcheck is not installed; see pyproject.toml")
    result = subprocess.run(
        [shellcheck, *sorted(ROOT.glob("scripts/*.sh"))], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout


def test_the_documented_batches_fit_the_documented_chips():
    """What follows `--` in docs/tpu.md; a v5litepod-N has N chips, and the default has 8."""
    text = (ROOT / "docs" / "tpu.md").read_text().replace("\\\n", " ")
    commands = [line for line in text.splitlines() if line.startswith("scripts/launch_tpu.sh")]
    commands = [line for line in commands if " -- " in line]
    assert len(commands) >= 2
    for command in commands:
        chips = int((re.findall(r"v5litepod-(\d+)", command) or ["8"])[0])
        sizes = dict(re.findall(r"--config\.(\w+)\.batch_size=(\d+)", command))
        assert {"gan", "encoder"} <= sizes.keys(), command
        assert all(int(size) % (4 * chips) == 0 for size in sizes.values()), command
