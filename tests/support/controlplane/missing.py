"""What to say when a machine lacks a part, and when that is a failure."""

from __future__ import annotations

import os


class Missing(Exception):
    """A part is not on this machine and cannot be made here; the message says which one and how to get it."""


def on_ci() -> bool:
    """Whether everything promised must run: nothing may be skipped, and what is missing may be installed."""
    return os.environ.get("CI", "").lower() in {"1", "true"}
