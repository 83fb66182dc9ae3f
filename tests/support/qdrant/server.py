"""The double as an ASGI application: who asks, whether they may, the answer, and one line of log for each request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qdrant.access import Access, Keys, Need, authenticate
from qdrant.refusals import NotAuthenticated, Refused
from qdrant.routes import VERSION, Bare, Call, Route, Text, find_route
from qdrant.storage import Storage
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

REQUEST_LOG = "requests.jsonl"
# Present: every change is refused with the status and the error in it, as by a server with a full disk.
REFUSE_WRITES = "refuse-writes.json"


class Double:
    """A test double of the Qdrant server, over Qdrant's own engine. It handles one request at a time."""

    def __init__(self, directory: Path, keys: Keys, version: str = VERSION) -> None:
        self._directory = directory
        self._keys = keys
        self._version = version
        self.storage = Storage(directory)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        request = Request(scope, receive)
        body = await request.body()
        route, parameters = find_route(request.method, scope["raw_path"].decode())
        response = self._respond(request, body, route, parameters)
        self._log(request, route, response.status_code)
        await response(scope, receive, send)

    def _respond(self, request: Request, body: bytes, route: Route, parameters: dict[str, str]) -> Response:
        try:
            access = self._authenticate(request, route)
            access.check(route.need, parameters.get("name", ""))
            self._check_faults(route)
            call = Call(
                self.storage,
                access,
                self._version,
                parameters,
                parsed(body),
                request.query_params.get("wait") == "true",
            )
            return answer(route.answer(call))
        except NotAuthenticated as error:
            return PlainTextResponse(error.text, error.status)
        except Refused as error:
            return JSONResponse({"status": {"error": error.error}, "time": 0.0}, error.status)

    def _authenticate(self, request: Request, route: Route) -> Access:
        if route.need is Need.NOTHING:
            return Access()
        return authenticate(request.headers, self._keys, self._value_exists)

    def _value_exists(self, claim: dict[str, Any]) -> bool:
        if not self.storage.exists(claim["collection"]):
            return False
        conditions = [{"key": each["key"], "match": {"value": each["value"]}} for each in claim["matches"]]
        return self.storage.find(claim["collection"]).count({"must": conditions}) > 0

    def _check_faults(self, route: Route) -> None:
        fault = self._directory / REFUSE_WRITES
        if route.need.changes_something and fault.exists():
            raise Refused(**json.loads(fault.read_text()))

    def _log(self, request: Request, route: Route, status: int) -> None:
        line = {"method": request.method, "path": request.url.path, "status": status}
        with (self._directory / REQUEST_LOG).open("a") as log:
            log.write(json.dumps(line | {"changes": route.need.changes_something}) + "\n")


def parsed(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body or b"{}")
    except ValueError as error:
        raise Refused(400, f"Format error in JSON body: {error}") from error
    if not isinstance(value, dict):
        raise Refused(400, "Format error in JSON body: an object is expected")
    return value


def answer(result: Any) -> Response:
    match result:
        case Text(text):
            return PlainTextResponse(text)
        case Bare(body):
            return JSONResponse(body)
        case _:
            return JSONResponse({"result": result, "status": "ok", "time": 0.0})
