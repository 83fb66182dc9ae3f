"""The body limit, counted as the bytes arrive, so that a chunked body cannot pass it."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from memory_runtime.api.problems import HttpProblem, problem_of

MAX_BODY_BYTES = 5 * 1024 * 1024


class BodyLimit:
    """ASGI middleware: answers 413 as soon as a body is known to be too large."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _declared_length(scope) > self._limit:
            await problem_of(self._too_large())(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise self._too_large()
            return message

        await self._app(scope, counted, send)

    def _too_large(self) -> HttpProblem:
        # The connection stays open: the server discards the rest of the body. Closing it now would reset it, and a
        # client that is still sending would lose this answer.
        return HttpProblem(413, f"a body has at most {self._limit} bytes; send several requests")


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0
