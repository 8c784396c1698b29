"""How the rates of two checkouts' trainings are set beside each other."""

import json

import pytest

from benchmarks import gan_rate
from benchmarks.make_run import Side
from experiments.command import main, parse

# ml_collections loads a config file in a way that Python deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def test_a_rate_leaves_out_the_lines_with_compilation_and_sample_sheet(tmp_path):
    (tmp_path / "gan").mkdir()
    lines = [
        {"step": 10 * (n + 1), "images_per_second": each} for n, each in enumerate((1, 20, 30, 2))
    ]
    (tmp_path / "gan" / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert gan_rate.rate(tmp_path) == 25.0


def test_each_round_begins_the_gan_anew_in_turns_as_to_who_is_first(tmp_path, monkeypatch):
    order, rates = [], {"ours0": 30.0, "other0": 10.0, "other1": 20.0, "ours1": 40.0}

    def take(side, task, config, overrides):
        order.append((task, side.workdir.name))
        assert "--config.data.image_size=128" in overrides

    copied = []
    monkeypatch.setattr(Side, "take", take)
    monkeypatch.setattr(gan_rate, "rate", lambda workdir: rates[workdir.name])
    monkeypatch.setattr(
        gan_rate.runs, "copy_finished", lambda tasks, source, to: copied.append((source, to))
    )
    argv = [f"--workdir={tmp_path}/work", "--against=elsewhere", "--rounds=2", "--out="]
    options = parse(gan_rate.STUDY, [*argv, "--config.data.image_size=128"])
    *_, found = gan_rate.run(options)
    assert order[:2] == [("classifier", "ours"), ("classifier", "other")]
    assert [name for task, name in order[2:]] == ["ours0", "other0", "other1", "ours1"]
    assert all(to.name.startswith(source.name) for source, to in copied) and len(copied) == 4
    assert found["ratio"] == {"median": 2.5, "least": 2.0, "most": 3.0}
    assert "| ratio | 2.5 [2, 3] |" in gan_rate.to_markdown(found)


def test_without_another_checkout_there_is_nothing_to_compare(tmp_path, capsys):
    argv = ["gan_rate", f"--workdir={tmp_path}/work", "--out="]
    assert main("benchmarks", {"gan_rate": gan_rate.STUDY}, argv) == 2
    assert "--against=DIR" in capsys.readouterr().err
