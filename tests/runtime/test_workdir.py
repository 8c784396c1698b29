"""What a run writes about itself, and whose work directory it is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from cxr_jax.errors import InputError
from cxr_jax.runtime import workdir


def make_config(**fields) -> ConfigDict:
    config = dict(seed=0, gan=dict(widths=(8, 16), rate=0.1), explain=dict(num_images=8))
    return ConfigDict(config | fields)


def claim(directory: Path, config: ConfigDict, contents: str = "films 1") -> None:
    """What a run does before it trains, and that it begins to."""
    workdir.check_workdir(directory, config)
    workdir.claim_workdir(directory, config, contents)
    (directory / "classifier" / "checkpoints").mkdir(parents=True, exist_ok=True)


def test_a_workdir_stays_with_its_data(tmp_path):
    claim(tmp_path, make_config(), "films 1")
    claim(tmp_path, make_config(), "films 1")
    with pytest.raises(InputError, match="films 1 then, films 2 now"):
        claim(tmp_path, make_config(), "films 2")
    assert workdir.read_json(tmp_path / "data.json") == {"contents": "films 1"}


def test_a_new_workdir_gets_the_config(tmp_path):
    directory = tmp_path / "a" / "b"
    claim(directory, make_config())
    assert json.loads((directory / "config.json").read_text()) == {
        "seed": 0,
        "gan": {"widths": [8, 16], "rate": 0.1},
        "explain": {"num_images": 8},
    }


def test_the_same_config_may_come_back(tmp_path):
    claim(tmp_path, make_config())
    claim(tmp_path, make_config())


@pytest.mark.parametrize(
    ("change", "named", "advised"),
    [
        (dict(seed=1), "seed", True),
        (dict(gan=dict(widths=(8, 32), rate=0.1)), "gan.widths", True),
        # No flag can take back what only one version of the program knows.
        (dict(gan=dict(widths=(8, 16))), "gan.rate", False),
        (dict(more=3), "more", False),
    ],
)
def test_another_config_is_refused_by_the_field_that_differs(tmp_path, change, named, advised):
    claim(tmp_path, make_config())
    before = (tmp_path / "config.json").read_text()
    with pytest.raises(InputError, match=named.replace(".", r"\.")) as raised:
        claim(tmp_path, make_config(**change))
    assert str(tmp_path) in str(raised.value)
    assert (f"--config.{named}=" in str(raised.value)) == advised
    assert (tmp_path / "config.json").read_text() == before


def test_explaining_may_be_configured_anew(tmp_path):
    claim(tmp_path, make_config())
    claim(tmp_path, make_config(explain=dict(num_images=16)))
    assert workdir.read_json(tmp_path / "config.json")["explain"] == {"num_images": 16}


def test_the_same_data_may_lie_elsewhere(tmp_path):
    claim(tmp_path, make_config(data=dict(dir="films", cache_dir="", image_size=64)))
    claim(tmp_path, make_config(data=dict(dir="moved", cache_dir="cache", image_size=64)))
    with pytest.raises(InputError, match="data.image_size"):
        claim(tmp_path, make_config(data=dict(dir="films", cache_dir="", image_size=128)))


def test_other_evaluators_may_be_asked_for_but_not_made_otherwise(tmp_path):
    claim(tmp_path, make_config(evaluators=dict(names=(), robust=dict(steps=1))))
    claim(tmp_path, make_config(evaluators=dict(names=("robust",), robust=dict(steps=1))))
    assert workdir.read_json(tmp_path / "config.json")["evaluators"]["names"] == ["robust"]
    with pytest.raises(InputError, match="evaluators.robust.steps"):
        claim(tmp_path, make_config(evaluators=dict(names=("robust",), robust=dict(steps=2))))


def test_a_file_in_the_way_is_named(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(InputError, match="file cannot be written"):
        claim(path, make_config())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_forbidden_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written"):
        claim(tmp_path / "run", make_config())


def test_as_long_as_nothing_is_trained_everything_may_change(tmp_path):
    workdir.check_workdir(tmp_path, make_config())
    workdir.claim_workdir(tmp_path, make_config(), "films 1")
    claim(tmp_path, make_config(seed=1), "films 2")
    assert workdir.read_json(tmp_path / "config.json")["seed"] == 1
    assert workdir.read_contents(tmp_path) == "films 2"


@pytest.mark.parametrize("where", ["classifier/judge/checkpoints/5/x", "gan/done.json"])
def test_a_workdir_is_begun_by_its_first_checkpoint_or_task(tmp_path, where):
    workdir.check_workdir(tmp_path, make_config())
    assert not workdir.is_begun(tmp_path)
    (tmp_path / where).parent.mkdir(parents=True)
    (tmp_path / where).touch()
    assert workdir.is_begun(tmp_path)


DAMAGED = [b"{", b"", b"not json", b"[1]", b"null", b'{"a": "\xff"}']


@pytest.mark.parametrize("broken", DAMAGED)
def test_a_damaged_config_is_named_and_not_to_be_deleted(tmp_path, broken):
    claim(tmp_path, make_config())
    (tmp_path / "config.json").write_bytes(broken)
    with pytest.raises(InputError, match=r"config\.json is damaged .*; restore it from a copy"):
        workdir.check_workdir(tmp_path, make_config())
    assert (tmp_path / "config.json").read_bytes() == broken


@pytest.mark.parametrize("broken", DAMAGED)
def test_a_task_of_which_the_end_is_damaged(tmp_path, broken):
    workdir.mark_done(tmp_path, steps=3)
    (tmp_path / "done.json").write_bytes(broken)
    with pytest.raises(InputError, match=r"done\.json is damaged .*; delete it, and the task"):
        workdir.is_done(tmp_path)


@pytest.mark.parametrize("broken", DAMAGED)
def test_damaged_facts_about_the_data(tmp_path, broken):
    claim(tmp_path, make_config())
    (tmp_path / "data.json").write_bytes(broken)
    with pytest.raises(InputError, match=r"data\.json is damaged"):
        claim(tmp_path, make_config())


HOLD = """
import sys
from pathlib import Path
from cxr_jax.runtime import workdir
with workdir.locked(Path(sys.argv[1]), "this folder"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_only_one_process_is_at_work(tmp_path):
    """Also where the other one dies without a word: the lock dies with it."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another process is at work in this folder"):
            with workdir.locked(tmp_path / "lock", "this folder"):
                pytest.fail("two at once")
        other.kill()
    with workdir.locked(tmp_path / "lock", "this folder"):
        pass


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "metrics.json"
    workdir.write_json(path, {"a": [1, None]})
    for content in ({"a": float("nan")}, {"a": object()}):
        with pytest.raises((ValueError, TypeError)):
            workdir.write_json(path, content)
    assert workdir.read_json(path) == {"a": [1, None]}


def test_a_run_killed_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    workdir.write_json(path, {"a": 1})

    def die(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(path), "replace", die)
    with pytest.raises(KeyboardInterrupt):
        workdir.write_json(path, {"a": 2})
    assert workdir.read_json(path) == {"a": 1}


def test_done_is_done_with_its_facts(tmp_path):
    assert not workdir.is_done(tmp_path)
    workdir.mark_done(tmp_path, explain={"images": (1, 2)}, steps=3)
    assert workdir.is_done(tmp_path)
    assert workdir.is_done(tmp_path, explain={"images": (1, 2)})
    assert not workdir.is_done(tmp_path, explain={"images": (1, 3)})
    assert not workdir.is_done(tmp_path, unknown=1)
