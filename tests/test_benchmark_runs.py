"""What benchmarks ask of the runs that they are given."""

import pytest

from benchmarks import runs
from cxr_jax.runtime import workdir


def finish(workdir, config) -> None:
    (workdir / "encoder").mkdir(parents=True)
    workdir.write_json(workdir / "config.json", config.to_dict())
    workdir.mark_done(workdir / "encoder")


def test_a_run_of_this_config_is_welcome(tmp_path, tiny_config):
    finish(tmp_path, tiny_config)
    tiny_config.explain.images += 2
    runs.check_finished(tiny_config, tmp_path, "encoder")


def test_what_is_not_finished_is_named(tmp_path, tiny_config):
    finish(tmp_path, tiny_config)
    with pytest.raises(SystemExit, match="explain is not complete; run main.py with this"):
        runs.check_finished(tiny_config, tmp_path, "explain")


def test_a_run_of_another_config_is_refused_by_the_field(tmp_path, tiny_config):
    finish(tmp_path, tiny_config)
    tiny_config.gan.num_steps += 1
    steps = tiny_config.gan.num_steps
    with pytest.raises(SystemExit, match=f"gan.num_steps is {steps - 1} there and {steps} now"):
        runs.check_finished(tiny_config, tmp_path, "encoder")
    # The GAN is of no account to who asks the classifier alone.
    runs.check_finished(tiny_config, tmp_path, "encoder", ("seed", "classifier"))
    tiny_config.classifier.num_steps += 1
    with pytest.raises(SystemExit, match="classifier.num_steps"):
        runs.check_finished(tiny_config, tmp_path, "encoder", ("seed", "classifier"))
