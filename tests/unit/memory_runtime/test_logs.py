"""Logs are one JSON object a line, whatever is logged."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from memory_runtime.logs import JsonFormatter


def logged(message: str, *, error: BaseException | None = None, **fields: object) -> dict[str, object]:
    exc_info = (type(error), error, error.__traceback__) if error else None
    record = logging.getLogger("memory").makeRecord(
        "memory", logging.WARNING, "f", 1, message, (), exc_info, extra=fields
    )
    line = JsonFormatter().format(record)
    assert "\n" not in line
    event: dict[str, object] = json.loads(line)
    return event


def test_an_event_has_time_level_logger_message_and_its_fields() -> None:
    event = logged("memories loaded", loaded=3, seconds=0.5)
    assert str(event.pop("time")).endswith("+00:00")
    assert event == {
        "level": "warning",
        "logger": "memory",
        "message": "memories loaded",
        "loaded": 3,
        "seconds": 0.5,
    }


def test_what_json_does_not_know_is_written_as_text() -> None:
    assert logged("line\nbreak ü", what=sys.version_info[:2], where=object)["where"] == "<class 'object'>"


def test_an_error_keeps_its_trace_on_the_same_line() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        1 / 0  # noqa: B018 - for its error
    assert "ZeroDivisionError" in str(logged("failed", error=caught.value)["exception"])
