"""The events of a file of TensorBoard; neither TensorFlow nor torch has a part in them."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import (
    HParamsPluginData,
    SessionEndInfo,
    SessionStartInfo,
)
from tensorboard.plugins.text.metadata import create_summary_metadata
from tensorboard.summary.writer.record_writer import RecordWriter

from rlagent.apply.loggers.writer import Parameters


def framed(event: Any) -> bytes:
    """An event as it stands in a file, with its length and its checksums."""
    buffer = io.BytesIO()
    RecordWriter(buffer).write(event.SerializeToString())
    return buffer.getvalue()


def file_version() -> Any:
    """The first event: the form of today, without which all is legacy."""
    return _event(0, file_version="brain.Event:2")


def scalar_values(step: int, named: Mapping[str, float]) -> Any:
    """Figures of a step, each a curve of its own."""
    values = [Summary.Value(tag=name, simple_value=value) for name, value in named.items()]
    return _event(step, summary=Summary(value=values))


def text(tag: str, step: int, named: Mapping[str, Any]) -> Any:
    """A table, for the tab Text."""
    table = ["| name | value |", "| --- | --- |"]
    table += [f"| {name} | {value} |" for name, value in named.items()]
    value = Summary.Value(
        tag=tag,
        metadata=create_summary_metadata(display_name="", description=""),
        tensor=TensorProto(dtype=DT_STRING, string_val=["\n".join(table).encode()]),
    )
    return _event(step, summary=Summary(value=[value]))


def session_start(name: str, named: Parameters) -> Any:
    """The parameters, for the tab HParams, where runs stand side by side."""
    start = SessionStartInfo(group_name=name, start_time_secs=time.time())
    for key, value in named.items():
        if isinstance(value, bool):
            start.hparams[key].bool_value = value
        elif isinstance(value, str):
            start.hparams[key].string_value = value
        else:
            start.hparams[key].number_value = value
    content = HParamsPluginData(session_start_info=start)
    return _session(hparams.SESSION_START_INFO_TAG, content)


def session_end(failed: bool) -> Any:
    """How the run has ended, for the tab HParams."""
    status = STATUS_FAILURE if failed else STATUS_SUCCESS
    end = SessionEndInfo(status=status, end_time_secs=time.time())
    return _session(hparams.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end))


def _session(tag: str, content: Any) -> Any:
    metadata = hparams.create_summary_metadata(content)
    value = Summary.Value(tag=tag, metadata=metadata, tensor=hparams.NULL_TENSOR)
    return _event(0, summary=Summary(value=[value]))


def _event(step: int, **content: Any) -> Any:
    return Event(wall_time=time.time(), step=step, **content)
