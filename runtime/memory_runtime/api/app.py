"""The FastAPI application: routes, error answers, middleware, and the background work's lifetime."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version

from fastapi import FastAPI

from memory_contracts.errors import PlatformError
from memory_runtime.api import health, problems, reads, writes
from memory_runtime.api.auth import Tokens
from memory_runtime.api.limits import BodyLimit
from memory_runtime.api.metrics import Measure
from memory_runtime.api.models import Problem
from memory_runtime.composition import Application

log = logging.getLogger(__name__)
DESCRIPTION = """Store and recall memories. Every route is served under `/` and under `/v1`; errors are problem+json
(RFC 9457). Writes take an `Idempotency-Key` and return a consistency token that a recall may send to see them."""


def build_app(application: Application, stop: Callable[[], None] = lambda: None) -> FastAPI:
    """Return the ASGI application of one namespace. Raises `Rejected` when no token is set.

    `stop` is called, and ``app.state.failed`` set, when the background work cannot go on.
    """
    app = FastAPI(
        title="Memory API",
        version=version("memory-operator"),
        description=DESCRIPTION,
        lifespan=_lifespan,
        responses={"4XX": {"model": Problem}, "5XX": {"model": Problem}},
        redoc_url=None,
    )
    app.state.application = application
    app.state.failed = False
    app.state.stop = stop
    app.state.tokens = Tokens(application.settings)
    for routes in (writes.router, reads.router):
        app.include_router(routes)
        app.include_router(routes, prefix="/v1", include_in_schema=False)
    app.include_router(health.router)
    problems.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(Measure)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    application: Application = app.state.application
    background = asyncio.create_task(application.follower.run())
    background.add_done_callback(lambda done: _stop_process_on_failure(app, done))
    try:
        yield
    finally:
        background.cancel()
        await asyncio.gather(background, return_exceptions=True)
        await application.database.close()


def _stop_process_on_failure(app: FastAPI, background: asyncio.Task[None]) -> None:
    """A process whose background work cannot go on must not look alive; it says why, and is restarted or mended."""
    if background.cancelled() or (error := background.exception()) is None:
        return
    causes = error.exceptions if isinstance(error, BaseExceptionGroup) else (error,)
    for cause in causes:
        if isinstance(cause, PlatformError):
            log.critical(cause.detail)
        else:
            log.critical("the background work failed: %s", cause, exc_info=cause)
    app.state.failed = True
    app.state.stop()
