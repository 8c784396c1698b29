"""What a training writes about its course."""

import json

import pytest

from cxr_jax.errors import InputError
from cxr_jax.runtime.metric_writer import MetricWriter


def make_writer(directory, num_steps: int = 20, start_step: int = 0) -> MetricWriter:
    return MetricWriter(directory, num_steps=num_steps, batch_size=4, start_step=start_step)


def read_lines(directory) -> list[dict]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_writer_writes_a_line_an_interval(tmp_path, capsys):
    writer = make_writer(tmp_path / "gan")
    writer.write(10, {"loss": 0.5})
    # A killed run has its lines on disk without having been closed.
    assert read_lines(tmp_path / "gan")[0]["loss"] == 0.5
    writer.write(20, {"loss": 0.25})
    writer.close()
    lines = read_lines(tmp_path / "gan")
    assert [line["step"] for line in lines] == [10, 20]
    assert all(line["images_per_second"] > 0 for line in lines)
    shown = capsys.readouterr().out
    assert "gan  step 10/20" in shown and "loss 0.25" in shown


def test_a_resumed_writer_appends(tmp_path):
    for start in (0, 10):
        writer = make_writer(tmp_path / "gan", start_step=start)
        writer.write(start + 10, {"loss": start})
        writer.close()
    assert [line["step"] for line in read_lines(tmp_path / "gan")] == [10, 20]


def test_what_was_recorded_after_the_checkpoint_is_recorded_once(tmp_path):
    writer = make_writer(tmp_path / "gan", num_steps=40)
    for step in (10, 20, 30):
        writer.write(step, {"loss": 1.0})
    writer.close()
    with (tmp_path / "gan" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4')  # the run was killed while it wrote
    writer = make_writer(tmp_path / "gan", num_steps=40, start_step=20)
    writer.write(30, {"loss": 2.0})
    writer.close()
    lines = read_lines(tmp_path / "gan")
    assert [(line["step"], line["loss"]) for line in lines] == [(10, 1.0), (20, 1.0), (30, 2.0)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_training_ends(tmp_path, value):
    writer = make_writer(tmp_path / "gan")
    with pytest.raises(InputError, match="gan has diverged: loss is (nan|inf) at step 10"):
        writer.write(10, {"accuracy": 0.5, "loss": value})
    writer.close()
    assert read_lines(tmp_path / "gan") == []


@pytest.mark.parametrize("line", [b"{]", b"", b"3", b'{"loss": 1.0}', b"\x00\xff"])
def test_a_damaged_line_is_named_and_left_alone(tmp_path, line):
    writer = make_writer(tmp_path / "gan")
    writer.write(10, {"loss": 0.5})
    writer.close()
    path = tmp_path / "gan" / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + line + b"\n")
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"metrics.jsonl line 2 is damaged; delete that line"):
        make_writer(tmp_path / "gan", start_step=10)
    assert path.read_bytes() == before
