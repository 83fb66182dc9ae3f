"""Logs as one JSON object a line: time, level, logger, message, and the fields of the event."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any

# What every record has, and what kopf hangs on its own: its settings are no field of an event.
_NOT_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {
    *("message", "asctime", "taskName", "color_message", "settings", "k8s_skip", "k8s_ref")
}
# No caller passes a secret; texts of drivers and of HTTP clients may quote one.
_SECRET = re.compile(r"(://[^\s:/@]*:)[^\s@]+(?=@)|(\b(?:bearer|basic)\s+)[\w.+/=~-]{16,}", re.IGNORECASE)
_HINTS = ("://", "bearer", "basic")
_encode = json.JSONEncoder(default=str, ensure_ascii=False).encode
_QUIET = {
    "kopf.objects": logging.WARNING,
    "uvicorn": logging.WARNING,
    "httpx": logging.WARNING,
    "kubernetes": logging.INFO,
    "aiohttp": logging.INFO,
}


class JsonFormatter(logging.Formatter):
    """Formats a record with its extra fields; an object that kopf's record is about becomes ``object``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON, without what looks like a password or a token."""
        event: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        event |= {name: value for name, value in vars(record).items() if name not in _NOT_FIELDS}
        if reference := getattr(record, "k8s_ref", None):
            event["object"] = "/".join(filter(None, map(reference.get, ("kind", "namespace", "name"))))
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return _without_secrets(_encode(event))


def _without_secrets(line: str) -> str:
    lower = line.lower()  # most lines hold nothing like it, and to know that takes a twentieth of the time
    return _SECRET.sub(r"\1\2***", line) if any(hint in lower for hint in _HINTS) else line


def configure_logging(level: str) -> None:
    """Send all logs, kopf's and asyncio's and Python's warnings too, to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, logging.getLogger().level))
