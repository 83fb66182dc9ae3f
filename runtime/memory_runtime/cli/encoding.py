"""JSON as requests carry it."""

from __future__ import annotations

import json

from memory_contracts.errors import Rejected


def encode(value: object) -> bytes:
    """Return `value` as JSON; raises `Rejected` for what JSON cannot carry: lone surrogates, NaN, endless nesting."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise Rejected("a text holds a lone surrogate, which no UTF-8 can carry") from None
    except (ValueError, RecursionError):
        raise Rejected("a number is NaN or infinite, or the value is nested too deeply") from None
