"""Who does not lead changes nothing; looking is free."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from memory_contracts.errors import Unavailable
from memory_operator.controller.correlator import Event, ObjectReference, Post
from memory_operator.controller.event_api import KubernetesEventApi
from memory_operator.kube.client import KubeClient
from memory_operator.kube.kinds import CONFIG_MAP
from memory_operator.providers.shapes import everything, permit_of


@dataclass
class Office:
    """A term."""

    is_leader: bool = True
    epoch: int = 1

    async def raise_epoch(self, above: int) -> int:
        return above + 1


class Server:
    """Counts requests, and answers none."""

    def __init__(self) -> None:
        self.asked = 0

    async def exchange(self, *_: Any) -> Any:
        self.asked += 1
        raise TimeoutError


def test_the_permit_ends_with_the_term():
    office = Office()
    permit = permit_of(office)
    permit()

    office.is_leader = False

    with pytest.raises(Unavailable, match="does not lead any more"):
        permit()


def test_where_nobody_else_can_be_everything_is_permitted():
    assert permit_of(None) is everything
    everything()


CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "team-a", "name": "notes-api"}}


async def test_no_change_reaches_the_api_server_after_the_term():
    server = Server()
    client = KubeClient(server, permit=permit_of(Office(is_leader=False)))  # type: ignore[arg-type]

    for change in (
        client.apply(CONFIG, "memory-operator"),
        client.merge(CONFIG_MAP, "team-a", "notes-api", {}),
        client.delete(CONFIG_MAP, "team-a", "notes-api", "uid-1"),
    ):
        with pytest.raises(Unavailable, match="does not lead any more"):
            await change
    assert server.asked == 0

    with pytest.raises(Unavailable):
        await client.get(CONFIG_MAP, "team-a", "notes-api")
    assert server.asked == 1


async def test_no_event_is_posted_after_the_term():
    server = Server()
    about = ObjectReference("v1", "ConfigMap", "team-a", "notes-api", "uid-1")
    post = Post(Event(about, "Available", "it answers"), "notes.1", 1)
    events = KubernetesEventApi(
        server,  # type: ignore[arg-type]
        controller="a/b",
        instance="c",
        permit=permit_of(Office(is_leader=False)),
    )

    for write in (events.create, events.continue_series):
        with pytest.raises(Unavailable, match="does not lead any more"):
            await write(post, datetime.now(UTC))
    assert server.asked == 0
