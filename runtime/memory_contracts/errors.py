"""The three ways a request can fail; every edge maps them to its own words (HTTP status, condition, retry).

Driver exceptions are translated into these once, at the adapter, with ``raise … from exc``.
"""

from __future__ import annotations

from memory_contracts.reasons import Reason


class PlatformError(Exception):
    """Base of every error that crosses an edge. ``str(error)`` is a sentence for the person who must act.

    `reason` is set where a condition can say more than the class of the error does.
    """

    def __init__(self, detail: str, *, field: str | None = None, reason: Reason | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.reason = reason


class Unavailable(PlatformError):
    """A dependency is down or slow; the same call may succeed later."""

    def __init__(
        self, detail: str, *, field: str | None = None, reason: Reason | None = None, retry_after: float = 1.0
    ) -> None:
        super().__init__(detail, field=field, reason=reason)
        self.retry_after = retry_after


class Rejected(PlatformError):
    """The input can never work as it is; ``field`` names the part to change."""


class Conflict(PlatformError):
    """Someone else was faster: the state the caller assumed is no longer there."""


class NotFound(Rejected):
    """The thing the caller names does not exist."""


class PreconditionFailed(Conflict):
    """``If-Match`` or ``If-None-Match`` does not hold for the stored version (RFC 9110, section 13)."""


class ReadOnly(Rejected):
    """The namespace is in state ReadOnly; another token would not help."""

    def __init__(self) -> None:
        super().__init__(
            "this namespace is read-only: it recalls, and stores and deletes nothing until its state is Active again"
        )


class IdempotencyMismatch(Rejected):
    """The ``Idempotency-Key`` was used before with another request body."""
