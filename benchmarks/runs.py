"""Runs of `main.py`, as a user would start them, what they report, and what comes of it."""

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import ml_collections
from absl import flags

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cxr_jax.runtime import precision
from cxr_jax.runtime import workdir
from cxr_jax.training import classifier
from cxr_jax.errors import InputError


def copy_finished(tasks: Sequence[str], source: Path, workdir: Path) -> None:
    """Copies what is finished in `source` and not yet there; a killed copy is begun anew."""
    workdir.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        if not (workdir / task).exists() and (source / task / "done.json").exists():
            shutil.copytree(source / task, workdir / f"{task}.copying", dirs_exist_ok=True)
            (workdir / f"{task}.copying").rename(workdir / task)


def run_main(config: str, workdir: Path, flags: Sequence[str]) -> None:
    """Runs `main.py` to its end; what one run has compiled, its neighbours need not.

    If it fails, so does the benchmark, with its status: what went wrong is on the terminal.
    """
    main = [sys.executable, str(ROOT / "main.py")]
    compiled = {"JAX_COMPILATION_CACHE_DIR": str(workdir.absolute().parent / "compiled")}
    done = subprocess.run(
        [*main, f"--config={config}", f"--workdir={workdir}", *flags],
        env=compiled | os.environ,  # unless the user keeps such programs elsewhere
    )
    if done.returncode:
        print(f"{Path(sys.argv[0]).name}: the run in {workdir} failed", file=sys.stderr)
        sys.exit(done.returncode)


def load_classifier(config: ml_collections.ConfigDict, directory: Path) -> Callable:
    """Pixels [N, h, w, 1] to margins [N] by a finished training, as precisely as in explaining."""
    section = precision.in_float32(config).classifier
    loaded = load_classifier(section, config.data.image_size, directory)
    return precision.exactly(functools.partial(margins, *loaded))


def read_report(workdir: Path) -> dict:
    """metrics.json of a finished run."""
    return json.loads((workdir / "explain" / "metrics.json").read_text())


def check_finished(
    config: ml_collections.ConfigDict, workdir: Path, task: str, sections: Sequence[str] = ()
) -> None:
    """Ends the benchmark in one line if `task` is not finished in `workdir`, or of another config.

    Args:
      sections: of the config, those that matter; all if none is named.
    """
    name = Path(sys.argv[0]).name
    if not workdir.is_done(workdir / task):
        sys.exit(f"{name}: {workdir / task} is not complete; run main.py with this --workdir first")
    stored, wanted = workdir.read_json(workdir / "config.json"), config.to_dict()
    parts = set(sections) or stored.keys() | wanted.keys()
    stored, wanted = (
        {part: each[part] for part in parts & each.keys()} for each in (stored, wanted)
    )
    try:
        workdir.check_same_experiment(workdir, stored, wanted)
    except InputError as error:
        sys.exit(f"{name}: {error}")


def entry_of(report: Mapping, keys: Sequence[str]) -> dict:
    """An entry of metrics.json, as {"mean", ...}."""
    for key in keys:
        report = report[key]
    return report if isinstance(report, dict) else {"mean": report}


def write_results(out: Path, name: str, content: object, text: str) -> None:
    """Writes `name`.json and, for people, `name`.md, and prints the latter."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    (out / f"{name}.md").write_text(text)
    print(text)


def read_results(out: Path, name: str) -> dict:
    """What an earlier call wrote; {} if there was none."""
    path = out / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def overlap(one: Mapping, other: Mapping) -> bool:
    """Whether the intervals of two entries share a value; False where there is none."""
    pair = one.get("ci95"), other.get("ci95")
    if None in pair:
        return False
    return max(low for low, _ in pair) <= min(high for _, high in pair)


def parse_flags(argv: Sequence[str]) -> list[str]:
    """A benchmark's own flags, where `--config.*` is for the runs alone."""
    return flags.FLAGS([arg for arg in argv if not arg.startswith("--config.")])


def as_flags(fields: Mapping[str, object]) -> list[str]:
    """{"gan.seed": 1} -> ["--config.gan.seed=1"]."""
    return [f"--config.{name}={value}" for name, value in fields.items()]


def config_flags(argv: Sequence[str]) -> list[str]:
    """The `--config.field=value` among a benchmark's own arguments, to be handed on."""
    return [arg for arg in argv if arg.startswith("--config.")]
