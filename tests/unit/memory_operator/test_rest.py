"""What the answers of an API server, or of whatever stands before it, mean."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest
from kubernetes.aio.client import Configuration
from polling import until

from memory_contracts.errors import Conflict, NotFound, Rejected, Unavailable
from memory_operator.controller.metrics import REGISTRY
from memory_operator.controller.rest import MERGE_PATCH, RestClient, call

PATH = "/apis/coordination.k8s.io/v1/namespaces/default/leases/memory-operator"


@contextlib.asynccontextmanager
async def server(answer: bytes, seen: list[bytes] | None = None) -> AsyncIterator[RestClient]:
    """An HTTP server that sends `answer` to every request, and a client of it with a token."""

    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [
                line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
            ]
            body = await reader.readexactly(int(lengths[0])) if lengths else b""
            (seen if seen is not None else []).append(head + body)
            if answer == b"silence":
                await reader.read()
            writer.write(answer)
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    settings = Configuration(host=f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    settings.api_key["BearerToken"] = "Bearer the-token"
    settings.connection_pool_maxsize = 1
    async with listening:
        async with RestClient(settings) as client:
            yield client
        await asyncio.gather(*filter(None, serving))


def http(status: int, body: object) -> bytes:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(text)) + text


def refusal(status: int) -> bytes:
    return http(status, {"kind": "Status", "message": "leases is forbidden: no"})


async def test_the_object_is_returned_and_the_request_is_authorised_and_counted():
    labels, seen = {"verb": "PATCH", "kind": "Thing", "code": "200"}, []
    before = REGISTRY.get_sample_value("memory_operator_kubernetes_requests_total", labels) or 0
    async with server(http(200, {"kind": "Lease"}), seen) as client:
        found = await call(client, "PATCH", PATH, {"spec": {"a": None}}, kind="Thing", content_type=MERGE_PATCH)

    assert found == {"kind": "Lease"}
    (request,) = seen
    assert request.startswith(f"PATCH {PATH} HTTP/1.1\r\n".encode())
    assert b"authorization: bearer the-token" in request.lower()
    assert b"content-type: application/merge-patch+json" in request.lower()
    assert json.loads(request.split(b"\r\n\r\n")[1]) == {"spec": {"a": None}}
    assert REGISTRY.get_sample_value("memory_operator_kubernetes_requests_total", labels) == before + 1


@pytest.mark.parametrize("value", ["half a pair \ud83d", 2**64], ids=["a broken text", "a long number"])
async def test_whatever_python_holds_is_sent(value):
    seen: list[bytes] = []
    async with server(http(200, {"kind": "Lease"}), seen) as client:
        await call(client, "PATCH", PATH, {"value": value}, kind="Lease")

    assert json.loads(seen[0].split(b"\r\n\r\n")[1]) == {"value": value}


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (400, Rejected),
        (401, Unavailable),
        (403, Rejected),
        (404, NotFound),
        (409, Conflict),
        (410, Conflict),
        (422, Rejected),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
        (504, Unavailable),
    ],
)
async def test_a_refusal_has_one_of_three_meanings_and_the_servers_own_words(status, meaning):
    async with server(refusal(status)) as client:
        with pytest.raises(meaning, match=rf"^GET {PATH}: leases is forbidden: no$") as caught:
            await call(client, "GET", PATH, kind="Lease")

    assert type(caught.value) is meaning


async def test_a_body_of_another_shape_is_refused_whatever_the_status_says():
    said = "failed to create typed patch object (a/b; apps/v1, Kind=Deployment): .spec.colour: field not declared"
    async with server(http(500, {"kind": "Status", "message": said})) as client:
        with pytest.raises(Rejected, match=r"\.spec\.colour: field not declared$"):
            await call(client, "PATCH", PATH, kind="Deployment")


@pytest.mark.parametrize(
    "answer",
    [
        http(200, b"<html>log in</html>"),
        http(502, b"<html>bad gateway</html>"),
        http(200, [1, 2]),
        http(200, b""),
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"no HTTP at all\r\n\r\n",
        b"",
    ],
    ids=["a page", "a proxy", "a list", "nothing", "half an answer", "another protocol", "hung up"],
)
async def test_what_is_no_answer_of_an_api_server_is_tried_again_later(answer):
    async with server(answer) as client:
        with pytest.raises(Unavailable, match=f"^GET {PATH}"):
            await call(client, "GET", PATH, kind="Lease")


async def test_a_server_that_is_silent_costs_no_more_than_the_time_allowed():
    async with server(b"silence") as client:
        with pytest.raises(Unavailable, match=r"no answer within 0\.2 s"):
            await call(client, "GET", PATH, kind="Lease", seconds=0.2)


async def test_nobody_there_is_unavailable():
    async with RestClient(Configuration(host="http://127.0.0.1:1")) as client:
        with pytest.raises(Unavailable, match="at the API server"):
            await call(client, "GET", PATH, kind="Lease")


async def test_cancellation_passes_through():
    async with server(b"silence") as client:
        calling = asyncio.create_task(call(client, "GET", PATH, kind="Lease"))
        await asyncio.sleep(0.1)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling


async def test_what_waited_for_a_connection_is_not_sent_when_it_is_not_permitted_any_more():
    """The only connection is taken by a question that is not answered in time."""
    seen: list[bytes] = []
    permitted = True

    def permit() -> None:
        if not permitted:
            raise Unavailable("this replica does not lead any more")

    async with server(b"silence", seen) as client:
        asking = asyncio.create_task(call(client, "GET", PATH, kind="Lease", seconds=0.5))
        await until(lambda: seen)
        writing = asyncio.create_task(call(client, "PATCH", PATH, {"spec": {}}, kind="Lease", permit=permit))
        await asyncio.sleep(0)  # it runs until it has to wait for the connection
        permitted = False

        with pytest.raises(Unavailable, match="no answer"):
            await asking
        with pytest.raises(Unavailable, match="does not lead any more"):
            await writing

    assert [request.partition(b" ")[0] for request in seen] == [b"GET"]
