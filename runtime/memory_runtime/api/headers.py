"""Preconditions, idempotency keys and consistency tokens, as they travel in headers."""

from __future__ import annotations

import hashlib
import re

from fastapi import Request

from memory_runtime.api.problems import HttpProblem
from memory_runtime.domain.records import IdempotencyKey, Precondition

CONSISTENCY_TOKEN = "Consistency-Token"  # noqa: S105 - a header's name
IDEMPOTENCY_KEY = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
MAX_KEY = 255
_ETAG = re.compile(r'^"(\d{1,18})"$')


def etag(version: int) -> str:
    """Return the entity tag of a version."""
    return f'"{version}"'


async def precondition(request: Request) -> Precondition:
    """Read ``If-Match`` and ``If-None-Match``. Raises `HttpProblem` 422."""
    absent = _read(request, "If-None-Match")
    if absent not in (None, "*"):
        raise HttpProblem(422, "If-None-Match: send * to store only where nothing is stored", field="If-None-Match")
    wanted = _read(request, "If-Match")
    if wanted is None:
        return Precondition(absent=absent == "*")
    if absent or not (found := _ETAG.match(wanted)):
        raise HttpProblem(422, 'If-Match: send the ETag of one version, such as "3"', field="If-Match")
    return Precondition(version=int(found[1]))


async def no_precondition(request: Request) -> None:
    """Refuse a precondition where none is looked at: one that is ignored is worse than none."""
    for name in ("If-Match", "If-None-Match"):
        if name in request.headers:
            raise HttpProblem(422, f"{name}: a bulk write takes no precondition; use /store", field=name)


def knows(request: Request, version: int) -> bool:
    """Return whether ``If-None-Match`` names `version`, so that its content need not be sent (RFC 9110, 13.1.2)."""
    known = [tag.strip().removeprefix("W/") for tag in (_read(request, "If-None-Match") or "").split(",")]
    return etag(version) in known or known == ["*"]


async def idempotency_key(request: Request) -> IdempotencyKey | None:
    """Read ``Idempotency-Key``; the fingerprint covers caller, method, path, preconditions and body."""
    if (key := _read(request, IDEMPOTENCY_KEY)) is None:
        return None
    if not 1 <= len(key) <= MAX_KEY or not key.isprintable():
        raise HttpProblem(422, f"{IDEMPOTENCY_KEY}: send 1 to {MAX_KEY} printable characters", field=IDEMPOTENCY_KEY)
    path = request.url.path.removeprefix("/v1")
    head = "\n".join([request.method, path, str(_read(request, "If-Match")), str(_read(request, "If-None-Match"))])
    digest = hashlib.sha256(head.encode("utf-8", "surrogateescape") + b"\n" + await request.body()).digest()
    # Two callers may choose the same key by chance; neither may read the other's answer.
    return IdempotencyKey(f"{request.state.caller[:32]}:{key}", digest)


def _read(request: Request, name: str) -> str | None:
    value = request.headers.get(name)
    return None if value is None else value.strip()
