"""Wording the answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from fastapi.responses import JSONResponse

from memory_contracts.identifiers import Coordinate
from memory_runtime.api.headers import CONSISTENCY_TOKEN, etag
from memory_runtime.domain.consistency import encode_token
from memory_runtime.domain.records import Hit, Memory, Written


def stored(coordinate: Coordinate, written: Written) -> JSONResponse:
    """Answer a write of one memory."""
    token = encode_token(written.transaction)
    body = {"ok": True, "id": str(written.id), "coord": coordinate, "version": written.version, "token": token}
    return JSONResponse(body, headers={"ETag": etag(written.version), CONSISTENCY_TOKEN: token})


def stored_many(results: Sequence[dict[str, Any]], written: Iterable[Written]) -> JSONResponse:
    """Answer a bulk write; the token names its last transaction."""
    transactions = [each.transaction for each in written]
    token = encode_token(max(transactions)) if transactions else None
    body = {"stored": len(transactions), "results": results, "token": token}
    return JSONResponse(body, headers={CONSISTENCY_TOKEN: token} if token else {})


def bulk_line(coordinate: Coordinate, written: Written) -> dict[str, Any]:
    """Word one durable item of a bulk write."""
    return {"ok": True, "id": str(written.id), "coord": coordinate, "version": written.version}


def memory(row: Memory) -> dict[str, Any]:
    """Word a stored memory."""
    return {
        "id": str(row.id),
        "coord": row.coordinate,
        "payload": json.loads(row.payload),
        "type": row.type,
        "importance": row.importance,
        "version": row.version,
        "created": row.created_at.isoformat(),
        "updated": row.updated_at.isoformat(),
    }


def matches(hits: Sequence[Hit], token: str | None, *, explain: bool) -> JSONResponse:
    """Answer a recall."""
    found = [_match(hit, explain=explain) for hit in hits]
    return JSONResponse({"matches": found, "token": token}, headers={CONSISTENCY_TOKEN: token} if token else {})


def _match(hit: Hit, *, explain: bool) -> dict[str, Any]:
    view = memory(hit.memory) | {"score": hit.score}
    if explain:
        view["explain"] = {"cosine": hit.cosine, "keyword": hit.keyword, "importance_norm": hit.importance_norm}
    return view
