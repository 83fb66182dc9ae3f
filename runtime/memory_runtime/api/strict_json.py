"""Reading request bodies: JSON that can be kept without loss, or a clear refusal.

Python's parser takes NaN and duplicate surrogates, JavaScript's reads 1e400 as infinity, Postgres has no NUL in text;
each would be lost in silence somewhere, so each is refused here, by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json

from memory_runtime.api.auth import Guard
from memory_runtime.api.problems import HttpProblem

MAX_DEPTH = 32
MAX_TEXT_BYTES = 64 * 1024


class StrictRequest(Request):
    """A request whose body was parsed strictly before anything else looks at it."""

    async def load(self) -> None:
        """Read and parse the body. Raises `HttpProblem` 400, 413, 415 or 422."""
        if self.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise HttpProblem(415, "send the body as application/json", field="Content-Type")
        self._strict_json = parse(await self.body())

    async def json(self) -> Any:
        """Return what `load` parsed."""
        return self._strict_json


class StrictRoute(APIRoute):
    """A route that checks the token first, then reads its body strictly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler: who may not call at all does not get a body parsed."""
        handle = super().get_route_handler()
        guards = [each.dependency for each in self.dependencies if isinstance(each.dependency, Guard)]
        reads_body = self.body_field is not None

        async def handler(request: Request) -> Response:
            strict = StrictRequest(request.scope, request.receive)
            for guard in guards:
                await guard(strict)
            check_query(strict.scope["query_string"])
            if reads_body:
                await strict.load()
            return await handle(strict)

        return handler


def parse(text: bytes, parameter: str = "") -> Any:
    """Return the JSON value of a body, or of a query `parameter`. Raises `HttpProblem` 400 or 422."""
    try:
        value = from_json(text, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        detail = f"{parameter or 'the body'} is not valid JSON: {error}"
        raise HttpProblem(422 if parameter else 400, detail, field=parameter or None) from None
    _check(value, parameter, 1)
    return value


def check_query(query: bytes) -> None:
    """Raise `HttpProblem` 422 for a parameter that a body could not hold either."""
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="surrogateescape"):
        if not _is_unicode(value):
            raise HttpProblem(422, f"{name}: is not UTF-8", field=name)
        _check_text(value, name)


def _check(value: Any, path: str, depth: int) -> None:
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise HttpProblem(422, f"{path or 'the body'}: the number is too large for a float", field=path or None)
    elif isinstance(value, (dict, list)):
        if depth > MAX_DEPTH:
            raise HttpProblem(422, f"{path}: nested deeper than {MAX_DEPTH} levels", field=path)
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(key, str):
                _check_text(key, path)
            if isinstance(each, (str, float, dict, list)):
                _check(each, f"{path}.{key}" if path else str(key), depth + 1)


def _check_text(text: str, path: str) -> None:
    where = path or "the body"
    if "\x00" in text:
        detail = f"{where}: holds the character U+0000, which no database text can keep"
        raise HttpProblem(422, detail, field=path or None)
    if len(text) * 4 > MAX_TEXT_BYTES and len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT_BYTES:
        raise HttpProblem(422, f"{where}: a text has at most {MAX_TEXT_BYTES} bytes; split it", field=path or None)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
