"""Liveness, readiness and metrics: for probes and scrapers, without a token and without a tenant's data."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from memory_contracts.errors import PlatformError
from memory_contracts.settings import LIVENESS_PATH, METRICS_PATH, READINESS_PATH
from memory_runtime.api.metrics import REGISTRY, observe_application
from memory_runtime.composition import Application

router = APIRouter(tags=["operations"])
# A probe must answer before the prober gives up, whatever the database does.
PROBE_TIMEOUT = 2.0
# The feed looks every second; silence beyond this means that recall may be out of date.
SILENCE_LIMIT = 10.0


@router.get(LIVENESS_PATH)
async def healthz() -> Response:
    """Say that the process answers; does not touch the database."""
    return JSONResponse({"ok": True})


@router.get(READINESS_PATH)
async def readyz(request: Request) -> Response:
    """Say whether each part can do its work; 503 while one cannot."""
    app: Application = request.app.state.application
    parts = {"database": await _database(app), "memories": _memories(app)}
    ready = all(part["ok"] for part in parts.values())
    headers = {} if ready else {"Retry-After": "1"}
    return JSONResponse({"ok": ready, "parts": parts}, 200 if ready else 503, headers=headers)


@router.get(METRICS_PATH)
async def metrics(request: Request) -> Response:
    """Expose the metrics of this process in the Prometheus text format."""
    observe_application(request.app.state.application)
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


async def _database(app: Application) -> dict[str, object]:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            await app.database.ping()
    except TimeoutError:
        return {"ok": False, "detail": "the database did not answer in time"}
    except PlatformError as error:
        return {"ok": False, "detail": app.follower.last_failure or error.detail}
    return {"ok": True}


def _memories(app: Application) -> dict[str, object]:
    if not app.feed.loaded:
        return {"ok": False, "detail": "the memories are still being loaded"}
    if app.feed.silence > SILENCE_LIMIT:
        return {"ok": False, "detail": f"no change was read for {app.feed.silence:.0f} s"}
    return {"ok": True}
