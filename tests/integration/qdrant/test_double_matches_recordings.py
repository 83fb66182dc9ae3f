"""The double answers as a real server did: 53 recorded exchanges, played in their order against an empty double."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import qdrant.process
from qdrant.access import signed_token
from qdrant.process import API_KEY, READ_ONLY_KEY, QdrantDouble

RECORDINGS = Path(qdrant.process.__file__).with_name("exchanges.jsonl")
EXCHANGES = [json.loads(line) for line in RECORDINGS.read_text().splitlines()]

# These answers tell of one machine or one moment: the path within the answer.
INCIDENTAL = [
    ("result", "segments_count"),  # a server makes as many as it has processors
    ("result", "id"),
    ("result", "app", "startup"),
]
NOT_IMITATED = {"snapshot"}

NOWHERE = {"collection": "mem-a-1", "matches": [{"key": "flag", "value": "no point has this"}]}
CLAIMS: dict[str, dict[str, Any]] = {
    "jwt expired": {"exp": int(time.time()) - 3600},
    "jwt for alias name": {"access": [{"collection": "mem-a", "access": "rw"}]},
    "value_exists": {"value_exists": NOWHERE},
}
ONE_COLLECTION = {"access": [{"collection": "mem-a-1", "access": "rw"}]}


def headers_of(exchange: dict[str, Any]) -> dict[str, str]:
    match exchange["request"]["credential"]:
        case "admin":
            return {"api-key": API_KEY}
        case "read-only":
            return {"api-key": READ_ONLY_KEY}
        case "wrong":
            return {"api-key": "a guess"}
        case "jwt":
            token = signed_token(ONE_COLLECTION | CLAIMS.get(exchange["name"], {}), API_KEY)
            return {"Authorization": f"Bearer {token}"} if "bearer" in exchange["name"] else {"api-key": token}
        case _:
            return {}


def send(client: httpx.Client, exchange: dict[str, Any]) -> httpx.Response:
    request = exchange["request"]
    body = {} if request["json"] is None else {"json": request["json"]}
    # A ready-made URL, for the encoded slash in one of the paths must stay encoded.
    url = f"{str(client.base_url).rstrip('/')}{request['path']}"
    return client.request(request["method"], url, params=request["params"], headers=headers_of(exchange), **body)


def body_of(response: httpx.Response) -> Any:
    return response.json() if "json" in response.headers["content-type"] else response.text


def without_incidentals(body: Any) -> Any:
    """Return a copy in which what depends on machine and moment says so."""
    copied = json.loads(json.dumps(body))
    for *path, last in INCIDENTAL:
        part = copied
        for name in path:
            part = part.get(name, {}) if isinstance(part, dict) else {}
        if isinstance(part, dict) and last in part:
            part[last] = "incidental"
    return copied


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[httpx.Response]]:
    """The double's answers to all exchanges, each sent once and in order; none can be played alone."""
    with QdrantDouble(tmp_path_factory.mktemp("qdrant")) as double, httpx.Client(base_url=double.url) as client:
        # The exchanges speak of mem-b-1 too, but how it was made is not among them.
        vectors = {"vectors": {"size": 4, "distance": "Cosine"}}
        client.put("/collections/mem-b-1", json=vectors, headers={"api-key": API_KEY}).raise_for_status()
        yield [send(client, exchange) for exchange in EXCHANGES]


@pytest.mark.parametrize(
    "number", range(len(EXCHANGES)), ids=[f"{at}-{each['name']}" for at, each in enumerate(EXCHANGES)]
)
def test_the_double_answers_as_the_real_server_did(answers, number):
    exchange, answer = EXCHANGES[number], answers[number]
    if exchange["name"] in NOT_IMITATED:
        assert answer.status_code == 501
        return

    assert (answer.status_code, without_incidentals(body_of(answer))) == (
        exchange["status"],
        without_incidentals(exchange["body"]),
    )


def test_every_recorded_exchange_is_played():
    assert len(EXCHANGES) == 53
    assert len(NOT_IMITATED) == 1
