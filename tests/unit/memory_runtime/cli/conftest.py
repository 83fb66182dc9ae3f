"""A service that remembers in a dictionary and answers as the HTTP API does, and `soma` run against it."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, TypeAlias
from urllib.parse import unquote

import pytest
from click.testing import CliRunner, Result

from memory_contracts.errors import Rejected
from memory_contracts.identifiers import canonical_coordinate, memory_id, parse_coordinate
from memory_runtime.cli import client
from memory_runtime.cli.app import soma

TOKEN = "a-token"
Answer: TypeAlias = tuple[int, Any, Mapping[str, str]]
Run: TypeAlias = Callable[..., Result]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class FakeService:
    """Its state: what it was asked, what it remembers, and answers to give before any other."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    memories: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers_first: list[Answer] = field(default_factory=list)
    refuses_text: str | None = None

    def calls(self, method: str, path: str) -> list[Request]:
        return [request for request in self.requests if (request.method, request.path) == (method, path)]

    def texts(self) -> list[str]:
        return [memory["payload"]["text"] for memory in self.memories.values()]

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        if self.answers_first:
            return self.answers_first.pop(0)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return problem(401, "the token is missing or unknown")
        try:
            return self._route(request)
        except Rejected as error:
            return problem(422, error.detail, error.field)

    def _route(self, request: Request) -> Answer:
        match request.method, request.path.split("/")[1:]:
            case "POST", ["store"]:
                return 200, self._store(request.json) | {"token": "t1"}, {}
            case "POST", ["store_bulk"]:
                items = request.json["items"]
                for number, item in enumerate(items):
                    self._check(item, number)
                return 200, {"stored": len(items), "results": [self._store(item) for item in items], "token": "t2"}, {}
            case "POST", ["recall"]:
                found = [memory | {"score": 0.5, "explain": {"dense": 0.25}} for memory in self.memories.values()]
                return 200, {"matches": found[: request.json["top_k"]], "token": "t3"}, {}
            case "GET", ["stats"]:
                return 200, {"memories": len(self.memories), "database": {"reachable": True}}, {}
            case "GET" | "DELETE", ["memories", coordinate]:
                return self._one(request.method, canonical_coordinate(parse_coordinate(unquote(coordinate))))
        return problem(404, "no such route")

    def _check(self, item: dict[str, Any], number: int) -> None:
        if self.refuses_text is not None and self.refuses_text in item["payload"].get("text", ""):
            raise Rejected("the text is refused", field=f"items[{number}].payload.text")

    def _store(self, item: dict[str, Any]) -> dict[str, Any]:
        coordinate = parse_coordinate(item["coord"])
        key = canonical_coordinate(coordinate)
        version = self.memories.get(key, {"version": 0})["version"] + 1
        known = {"id": str(memory_id("team/notes", coordinate)), "coord": list(coordinate), "version": version}
        self.memories[key] = {"importance": 1.0, "type": "episodic"} | item | known
        return {"ok": True} | known

    def _one(self, method: str, key: str) -> Answer:
        if key not in self.memories:
            return problem(404, f"there is no memory at {key}", "coord")
        if method == "GET":
            return 200, self.memories[key], {}
        del self.memories[key]
        return 200, {"ok": True}, {}


def problem(status: int, detail: str, field: str | None = None, **headers: str) -> Answer:
    body = {"type": "about:blank", "title": "Problem", "status": status, "detail": detail}
    return (
        status,
        body | ({"field": field} if field else {}),
        {name.replace("_", "-"): headers[name] for name in headers},
    )


def handler_of(service: FakeService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer, headers = service.answer(Request(self.command, self.path, dict(self.headers), body))
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self.handle_any()

        def do_POST(self) -> None:
            self.handle_any()

        def do_DELETE(self) -> None:
            self.handle_any()

        def log_message(self, format: str, *args: Any) -> None:
            return

    return Handler


@pytest.fixture
def service() -> Iterator[FakeService]:
    state = FakeService()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_of(state)) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, with nothing in the environment that names a service."""
    for name in ("SOMA_URL", "SOMA_API_TOKEN", "SOMA_API_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(client, "RETRY_DELAYS", (0.01, 0.01, 0.01))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Run:
    """`soma` with the given arguments, and the service of the environment only."""

    def run_soma(*arguments: str, text: str | bytes | None = None) -> Result:
        return CliRunner().invoke(soma, arguments, input=text)

    return run_soma


@pytest.fixture
def soma_here(run: Run, service: FakeService, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`soma` that knows the fake service from the environment."""
    monkeypatch.setenv("SOMA_URL", service.url)
    monkeypatch.setenv("SOMA_API_TOKEN", TOKEN)
    return run
