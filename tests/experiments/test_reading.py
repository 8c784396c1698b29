"""What studies ask of the runs that they are given, and several runs as one."""

import pytest

from cxr_jax.errors import InputError
from cxr_jax.runtime.workdir import mark_done, write_json
from experiments import reading

NULL = {"mean": None, "reason": "not judged"}


def finish(directory, config) -> None:
    (directory / "encoder").mkdir(parents=True)
    write_json(directory / "config.json", config.to_dict())
    mark_done(directory / "encoder")


def test_a_run_of_this_config_is_welcome(tmp_path, tiny_config):
    finish(tmp_path, tiny_config)
    tiny_config.explain.num_images += 2
    reading.check_finished(tiny_config, tmp_path, "encoder")


def test_what_is_not_finished_is_named(tmp_path, tiny_config):
    finish(tmp_path, tiny_config)
    with pytest.raises(InputError, match="explain is not complete; run main.py with this"):
        reading.check_finished(tiny_config, tmp_path, "explain")


def test_a_run_of_another_config_is_refused_by_the_field(tmp_path, tiny_config):
    finish(tmp_path, tiny_config)
    tiny_config.gan.num_steps += 1
    steps = tiny_config.gan.num_steps
    with pytest.raises(InputError, match=f"gan.num_steps is {steps - 1} there and {steps} now"):
        reading.check_finished(tiny_config, tmp_path, "encoder")
    # The GAN is of no account to who asks the classifier alone.
    sections = ("seed", "classifier")
    reading.check_finished(tiny_config, tmp_path, "encoder", sections=sections)
    tiny_config.classifier.num_steps += 1
    with pytest.raises(InputError, match="classifier.num_steps"):
        reading.check_finished(tiny_config, tmp_path, "encoder", sections=sections)


def test_mean_tree():
    trees = [{"a": {"b": 1.0}, "c": 2.0, "d": None}, {"a": {"b": 3.0}, "c": None, "d": 1.0}]
    assert reading.mean_tree(trees) == {"a": {"b": 2.0}, "c": None, "d": None}
    assert reading.mean_tree(trees[:1]) == trees[0]


def test_average():
    reports = [{"a": {"b": {"mean": value}}} for value in (1.0, 2.0, 6.0)]
    assert reading.average(reports, "a", "b") == {
        "mean": 3.0,
        "ci95": None,
        "each_seed": [1.0, 2.0, 6.0],
    }
    reports[1]["a"]["b"] = NULL
    assert reading.average(reports, "a", "b") == NULL


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([0, 2], [1, 3], True),
        ([0, 1], [1, 3], True),
        ([0, 1], [2, 3], False),
        (None, [0, 1], False),
    ],
)
def test_intervals_overlap_where_they_share_a_value(one, other, expected):
    assert reading.overlap({"ci95": one}, {"ci95": other}) == expected
    assert reading.overlap({"ci95": other}, {"ci95": one}) == expected


def test_the_commits_of_runs_are_told_once_each():
    reports = [{"commit": "bbb"}, {"commit": "aaa"}, {"commit": "bbb"}, {}]
    assert reading.commits_of(reports) == ["", "aaa", "bbb"]
