"""What metrics.jsonl holds, and the sample sheets, as TensorBoard reads them.

`tensorboard --logdir=WORKDIR` shows them all. Written by tensorboardX's records at once, not by its
writer, whose queue between processes outlives a training that is killed.
"""

import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from cxr_jax.types import Scalar

FOLDER = "tensorboard"


class Events:
    """A file of events beside those of earlier calls; nothing is made before there is an event.

    Args:
      directory: of the training.
      start_step: TensorBoard forgets what an earlier call has recorded after it.
    """

    def __init__(self, directory: Path, start_step: int):
        self._folder, self._start_step = directory / FOLDER, start_step
        self._writer: EventsWriter | None = None

    def write(self, step: int, scalars: Mapping[str, Scalar]) -> None:
        """The scalars of a log interval."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._add(step, summary=Summary(value=values))

    def show(self, step: int, sheet: Path) -> None:
        """A sample sheet, of a PNG file."""
        image = Summary.Image(encoded_image_string=sheet.read_bytes())
        self._add(step, summary=Summary(value=[Summary.Value(tag="samples", image=image)]))

    def close(self) -> None:
        """Closes the file, if there is one."""
        if self._writer:
            self._writer.close()

    def _add(self, step: int, **content: Summary | SessionLog) -> None:
        if self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(str(self._folder / "events"), f".{self._start_step}")
            begun = SessionLog(status=SessionLog.START)
            self._add(self._start_step + 1, session_log=begun)
        self._writer.write_event(Event(wall_time=time.time(), step=step, **content))
        self._writer.flush()
