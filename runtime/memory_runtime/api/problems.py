"""Every error as problem+json (RFC 9457): what is wrong, in which field, and what to do."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from math import ceil
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from memory_contracts import errors

log = logging.getLogger(__name__)

# Most specific first.
_STATUS: tuple[tuple[type[errors.PlatformError], int], ...] = (
    (errors.NotFound, 404),
    (errors.ReadOnly, 403),
    (errors.PreconditionFailed, 412),
    (errors.IdempotencyMismatch, 422),
    (errors.Unavailable, 503),
    (errors.Conflict, 409),
    (errors.Rejected, 422),
)


class HttpProblem(errors.PlatformError):
    """An error of the HTTP edge itself, with its status."""

    def __init__(
        self, status: int, detail: str, *, field: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail, field=field)
        self.status = status
        self.headers = dict(headers or {})


def problem(
    status: int,
    detail: str,
    *,
    field: str | None = None,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[Mapping[str, Any]] = (),
) -> Response:
    """Return the response; `errors` lists all faulty fields when there are several."""
    body: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    body["detail"] = detail
    if field is not None:
        body["field"] = field
    if errors:
        body["errors"] = list(errors)
    return Response(
        json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"),
        status,
        headers=dict(headers or {}),
        media_type="application/problem+json",
    )


def problem_of(error: errors.PlatformError) -> Response:
    """Return the response that `error` means."""
    if isinstance(error, HttpProblem):
        return problem(error.status, error.detail, field=error.field, headers=error.headers)
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    headers = {"Retry-After": str(ceil(error.retry_after))} if isinstance(error, errors.Unavailable) else {}
    return problem(status, error.detail, field=error.field, headers=headers)


def describe(faults: Sequence[Mapping[str, Any]], *, skip: int = 0) -> list[dict[str, str]]:
    """Turn pydantic's errors into ``{"field", "detail"}`` pairs, leaving out the first `skip` parts of each place."""
    return [
        {
            "field": ".".join(str(part) for part in fault["loc"][skip:]),
            "detail": str(fault["msg"]).removeprefix("Value error, "),
        }
        for fault in faults
    ]


def install(app: FastAPI) -> None:
    """Make `app` answer every error this way."""

    @app.exception_handler(errors.PlatformError)
    async def on_platform_error(_request: Request, error: errors.PlatformError) -> Response:
        return problem_of(error)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_request: Request, error: RequestValidationError) -> Response:
        # FastAPI puts the part of the request first: body, query, path.
        return invalid(describe(error.errors(), skip=1))

    @app.exception_handler(HTTPException)
    async def on_http(_request: Request, error: HTTPException) -> Response:
        return problem(error.status_code, str(error.detail), headers=error.headers)

    @app.exception_handler(Exception)
    async def on_defect(request: Request, error: Exception) -> Response:
        log.error("request failed", exc_info=error, extra={"path": request.url.path})
        return problem(500, "this request met a defect of the service; it was logged")


def invalid(faults: Sequence[Mapping[str, str]], status: int = 422) -> Response:
    """Return the response for faulty fields."""
    first = faults[0]
    detail = f"{first['field']}: {first['detail']}" if first["field"] else first["detail"]
    return problem(status, detail, field=first["field"] or None, errors=faults)
