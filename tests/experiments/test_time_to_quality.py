"""What the study of training times trains, how it is timed, and that nothing is timed twice."""

import pytest

from cxr_jax.configs import phantom
from cxr_jax.errors import InputError
from cxr_jax.runtime.workdir import mark_done
from experiments import runs
from experiments.command import parse
from experiments.studies import time_to_quality, validation

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture
def source(tmp_path):
    """A run whose classifiers and evaluators are finished."""
    for task in time_to_quality.SHARED:
        (tmp_path / "source" / task).mkdir(parents=True)
        mark_done(tmp_path / "source" / task)
    return tmp_path / "source"


def test_average_and_encoder_follow_the_steps():
    config = phantom.get_config()
    config.gan.update(dict(num_steps=1000, ema_half_life=200.0))
    config.encoder.num_steps = 200
    assert time_to_quality.scaled(config, 250, 16) == {
        "gan.num_steps": 250,
        "gan.batch_size": 16,
        "gan.ema_half_life": 50.0,
        "encoder.num_steps": 50,
    }


def test_each_task_is_timed_once_and_the_classifiers_are_the_source_s(
    source, tmp_path, monkeypatch
):
    ran = []
    monkeypatch.setattr(runs, "run_main", lambda config, workdir, flags: ran.append(flags))
    workdir = tmp_path / "steps10"
    first = time_to_quality.train("a.py", workdir, source=source, flags=["--config.x=1"])
    again = time_to_quality.train("a.py", workdir, source=source, flags=["--config.x=1"])
    assert ran == [["--task=gan", "--config.x=1"], ["--task=encoder", "--config.x=1"]]
    assert first == again and set(first) == {"gan", "encoder"}
    assert (workdir / "classifier" / "done.json").exists()
    assert (workdir / "evaluators" / "done.json").exists()


def test_trainings_are_told_in_their_order(source, tmp_path, monkeypatch):
    monkeypatch.setattr(time_to_quality, "train", lambda *args, **named: {"gan": 1.0})
    monkeypatch.setattr(validation, "read_config", lambda workdir: phantom.get_config())
    monkeypatch.setattr(time_to_quality, "measure", lambda *args: {})
    argv = [f"--workdir={tmp_path}", f"--source={source}", "--out=", "--trainings=90x32,700x8"]
    *_, found = time_to_quality.run(parse(time_to_quality.STUDY, argv))
    assert list(found) == ["90x32", "700x8"]


@pytest.mark.parametrize("name", ["700", "x32", "0x32", "700x32x1"])
def test_what_is_no_training_is_refused(name):
    with pytest.raises(InputError, match="STEPSxFILMS"):
        time_to_quality.read_training(name)


def test_unfinished_classifiers_and_real_films_are_refused(source, tmp_path):
    argv = [f"--workdir={tmp_path}", "--out="]
    with pytest.raises(InputError, match="is not complete"):
        next(time_to_quality.run(parse(time_to_quality.STUDY, [*argv, f"--source={tmp_path}"])))
    real = [*argv, f"--source={source}", "--config.data.name=cxr_folder"]
    with pytest.raises(InputError, match="phantoms"):
        next(time_to_quality.run(parse(time_to_quality.STUDY, real)))
