"""What a failure of Qdrant means: an answer that is no success, or no answer at all."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator

from memory_contracts.conditions import Reason
from memory_contracts.errors import Conflict, NotFound, PlatformError, Rejected, Unavailable

MOST_CHARACTERS = 300
SERVER_ERRORS = 500
INSUFFICIENT_STORAGE = 507
# Qdrant has no code of its own for these, and answers 500 as for any other accident.
FULL = re.compile(r"no space left|out of disk|insufficient storage|(not enough|insufficient) .*space|disk.* full", re.I)
READ_ONLY = re.compile(r"read-only file system|storage locked", re.I)


def refusal(where: str, status: int, content: bytes, retry_after: float = 1.0) -> PlatformError:
    """Return the error that an answer with this status stands for; `where` names the server."""
    text = error_text(content) or f"HTTP {status}"
    if READ_ONLY.search(text):
        return Unavailable(f"{where} takes no changes: {text}", reason=Reason.BACKEND_READ_ONLY)
    if status == INSUFFICIENT_STORAGE or (status >= SERVER_ERRORS and FULL.search(text)):
        return Unavailable(f"{where} has no room left: {text}; give it a larger disk", reason=Reason.BACKEND_FULL)
    if status in (401, 403):
        return Rejected(
            f"{where} refuses the API key: {text}; write a key that may manage collections into the Secret",
            reason=Reason.AUTHENTICATION_FAILED,
        )
    detail = f"{where}: {text}"
    if status in (408, 429) or status >= SERVER_ERRORS:
        return Unavailable(detail, retry_after=retry_after)
    return {404: NotFound, 409: Conflict}.get(status, Rejected)(detail)


def no_answer(where: str, error: BaseException) -> PlatformError:
    """Return the error that a failed exchange stands for, of which `error` is the driver's account."""
    for cause in causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return Rejected(
                    f"the certificate of {where} cannot be trusted: {cause.verify_message}; correct the certificate, "
                    "the host name in qdrant.external.url or the authorities in tls.caSecretRef",
                    reason=Reason.TLS_FAILED,
                )
            case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
                break  # hung up, as a server does that is stopping
            case ssl.SSLError():
                return Rejected(
                    f"no encrypted connection to {where}: {cause}; it may not speak https on this port",
                    reason=Reason.TLS_FAILED,
                )
            case ValueError():
                return not_qdrant(where)
    return Unavailable(f"{where} cannot be reached: {str(error) or type(error).__name__}")


def not_qdrant(where: str) -> Rejected:
    """Return the error for a success that only looks like one."""
    return Rejected(f"{where} does not answer as Qdrant does; correct qdrant.external.url")


def too_slow(where: str, seconds: float) -> Unavailable:
    """Return the error for an answer that did not come in time."""
    return Unavailable(f"{where} does not answer within {seconds:g} s")


def error_text(content: bytes) -> str:
    """Return what the server says about the failure, on one line."""
    try:
        text = str(json.loads(content)["status"]["error"])
    except (ValueError, KeyError, TypeError):
        text = content.decode(errors="replace")
    return " ".join(text.split())[:MOST_CHARACTERS]


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
