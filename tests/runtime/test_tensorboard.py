"""What TensorBoard finds of a training, read back record by record."""

import struct
from pathlib import Path

import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog

from cxr_jax.errors import InputError
from cxr_jax.runtime.metric_writer import MetricWriter
from cxr_jax.runtime.tensorboard import FOLDER


def read_events(directory: Path) -> list[Event]:
    """All events, file after file; a record is a length, its checksum, the data, their checksum."""
    found = []
    for path in sorted((directory / FOLDER).iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            found.append(Event.FromString(data[at + 12 : at + 12 + length]))
            at += length + 16
    return found


def values(events: list[Event]) -> list[tuple[int, dict[str, float]]]:
    told = [(event.step, {v.tag: v.simple_value for v in event.summary.value}) for event in events]
    return [each for each in told if each[1]]


def make_writer(directory: Path, start_step: int = 0) -> MetricWriter:
    return MetricWriter(directory, num_steps=20, batch_size=4, start_step=start_step)


def test_scalars_and_sheets_are_there_while_the_training_runs(tmp_path):
    writer = make_writer(tmp_path)
    writer.write(10, {"loss": 0.5, "auroc": 0.75})
    assert values(read_events(tmp_path)) == [(10, {"loss": 0.5, "auroc": 0.75})]
    Image.new("L", (6, 4), 128).save(tmp_path / "sheet.png")
    writer.show_sheet(10, tmp_path / "sheet.png")
    (shown,) = (value for value in read_events(tmp_path)[-1].summary.value)
    assert shown.tag == "samples"
    assert shown.image.encoded_image_string == (tmp_path / "sheet.png").read_bytes()
    writer.close()


def test_of_a_resumed_training_nothing_counts_twice(tmp_path):
    for start in (0, 10):
        writer = make_writer(tmp_path, start)
        writer.write(start + 10, {"loss": start})
        writer.close()
    begun = [event.step for event in read_events(tmp_path) if event.HasField("session_log")]
    assert begun == [1, 11]  # what an earlier call recorded from there on is forgotten
    assert all(
        event.session_log.status == SessionLog.START
        for event in read_events(tmp_path)
        if event.HasField("session_log")
    )


def test_a_training_that_wrote_nothing_leaves_no_file(tmp_path):
    make_writer(tmp_path).close()
    assert not (tmp_path / FOLDER).exists()


def test_what_is_refused_is_not_recorded(tmp_path):
    writer = make_writer(tmp_path)
    with pytest.raises(InputError, match="diverged"):
        writer.write(10, {"loss": float("nan")})
    writer.close()
    assert not (tmp_path / FOLDER).exists()
