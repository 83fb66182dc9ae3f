"""Objects of somebody else under the names that are needed: told, never touched, not even by a deletion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import redis
from faults import DELETE, HEAL_SECONDS, Case, kubernetes_namespace, new_case, remove_clusters, sql
from kafka.world import KafkaWorld
from kube import Kube

THEIRS = {"app": "theirs"}
CONTAINER = {"name": "theirs", "image": "theirs:1"}
# For each kind what makes an object of it complete.
MANIFESTS: dict[tuple[str, str, str], dict[str, Any]] = {
    ("v1", "Secret", "credentials"): {"data": {"key": "dGhlaXJz"}},
    ("v1", "Secret", "binding"): {"data": {"key": "dGhlaXJz"}},
    ("v1", "ConfigMap", "api"): {"data": {"key": "theirs"}},
    ("v1", "ServiceAccount", "api"): {"automountServiceAccountToken": True},
    ("v1", "Service", "api"): {"spec": {"selector": THEIRS, "ports": [{"port": 80}]}},
    ("apps/v1", "Deployment", "api"): {
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": THEIRS},
            "template": {"metadata": {"labels": THEIRS}, "spec": {"containers": [CONTAINER]}},
        }
    },
    ("policy/v1", "PodDisruptionBudget", "api"): {"spec": {"minAvailable": 1, "selector": {"matchLabels": THEIRS}}},
    ("networking.k8s.io/v1", "NetworkPolicy", "api"): {"spec": {"podSelector": {"matchLabels": THEIRS}}},
    ("autoscaling/v2", "HorizontalPodAutoscaler", "api"): {
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs"}, "maxReplicas": 3}
    },
}


@dataclass(frozen=True)
class World:
    """All the places where somebody else may have been first."""

    kube: Kube
    backends: Any

    @property
    def kafka(self) -> KafkaWorld:
        return KafkaWorld(self.backends.kafka)

    def qdrant(self, method: str, path: str, body: Any = None) -> Any:
        server = self.backends.qdrant
        headers = {"api-key": server.api_key}
        answer = httpx.request(method, f"{server.url}{path}", json=body, headers=headers, trust_env=False)
        return answer.raise_for_status().json()["result"]

    def sql(self, *statements: str) -> list[Any]:
        return sql(self.backends.postgres, self.backends.database, *statements)

    def redis(self, *command: str) -> Any:
        address = self.backends.redis.connection
        login = {"username": address.username, "password": address.password}
        client = redis.Redis(address.host, address.port, protocol=2, decode_responses=True, **login)
        try:
            return client.execute_command(*command)
        finally:
            client.close()


@dataclass(frozen=True)
class Foreign:
    """An object of somebody else: how it is made, what is to be seen of it, how its owner removes it."""

    name: str
    condition: str
    part: str
    make: Callable[[World, Case], Any]
    look: Callable[[World, Case], Any]
    remove: Callable[[World, Case], Any] = lambda world, case: None


def make_schema(world: World, case: Case) -> None:
    schema = case.names.schema
    world.sql(f"create schema {schema}", f"create table {schema}.memories as select 'theirs' as text")


def look_at_schema(world: World, case: Case) -> Any:
    rows = world.sql(f"select text from {case.names.schema}.memories")
    (owner,) = world.sql(f"select nspowner, nspacl from pg_namespace where nspname = '{case.names.schema}'")
    return [tuple(row) for row in rows], tuple(owner)


def make_role(world: World, case: Case) -> None:
    world.sql(f"create role {case.names.login_role('b')} login connection limit 7 password 'theirs'")


def look_at_role(world: World, case: Case) -> Any:
    query = "select oid, rolcanlogin, rolconnlimit, rolpassword, rolconfig from pg_authid join pg_roles using (oid)"
    names = "pg_authid.oid, pg_authid.rolcanlogin, pg_authid.rolconnlimit, pg_authid.rolpassword, rolconfig"
    query = f"select {names} from pg_authid join pg_roles on pg_roles.oid = pg_authid.oid"
    return [tuple(row) for row in world.sql(f"{query} where pg_authid.rolname = '{case.names.login_role('b')}'")]


def make_collection(world: World, case: Case, name: str = "") -> None:
    path = f"/collections/{name or case.names.collection}"
    world.qdrant("PUT", path, {"vectors": {"size": 4, "distance": "Dot"}})
    world.qdrant("PUT", f"{path}/points?wait=true", {"points": [{"id": 1, "vector": [1, 2, 3, 4]}]})


def look_at_collection(world: World, case: Case, name: str = "") -> Any:
    found = world.qdrant("GET", f"/collections/{name or case.names.collection}")
    return found["config"], found["points_count"], found["payload_schema"]


def make_topic(world: World, case: Case) -> None:
    world.kafka.create(case.names.topic("ingest"))
    world.kafka.produce(case.names.topic("ingest"), b"theirs")


def look_at_topic(world: World, case: Case) -> Any:
    topic = case.names.topic("ingest")
    return world.kafka.partitions(case.names.stem), world.kafka.config(topic), world.kafka.records(topic, 0)


def make_user(world: World, case: Case) -> None:
    world.redis("ACL", "SETUSER", case.names.redis_user, "on", ">theirs", "~theirs:*", "+get")
    world.redis("SET", f"{case.names.redis_prefix}key", "theirs")


def look_at_user(world: World, case: Case) -> Any:
    (line,) = [each for each in world.redis("ACL", "LIST") if f" {case.names.redis_user} " in each]
    return line, world.redis("GET", f"{case.names.redis_prefix}key")


def in_kubernetes(api_version: str, kind: str, suffix: str) -> Foreign:
    def make(world: World, case: Case) -> None:
        metadata = {"namespace": case.namespace, "name": f"{case.name}-{suffix}", "labels": THEIRS}
        manifest = {"apiVersion": api_version, "kind": kind, "metadata": metadata}
        world.kube.create(manifest | MANIFESTS[api_version, kind, suffix]).raise_for_status()
        if kind == "HorizontalPodAutoscaler":
            case.spec["api"] = {"autoscaling": {"maxReplicas": 2}}

    def look(world: World, case: Case) -> Any:
        found = case.child(kind, suffix)
        if found is None:
            return None
        kept = {name: found["metadata"].get(name) for name in ("uid", "labels", "annotations", "ownerReferences")}
        if kind == "Deployment":  # the number of its revision comes from Kubernetes itself
            del kept["annotations"]
        managers = {each["manager"] for each in found["metadata"]["managedFields"] if "memory" in each["manager"]}
        return kept, managers, {name: found.get(name) for name in MANIFESTS[api_version, kind, suffix]}

    def remove(world: World, case: Case) -> None:
        world.kube.delete(kind, case.namespace, f"{case.name}-{suffix}")

    stage = "CredentialsReady" if suffix == "credentials" else "APIAvailable"
    return Foreign(f"{kind}-{suffix}".lower(), stage, "postgres", make, look, remove)


ROWS = [
    Foreign("schema", "SchemaReady", "postgres", make_schema, look_at_schema),
    Foreign("role", "SchemaReady", "postgres", make_role, look_at_role),
    Foreign("collection", "CollectionReady", "qdrant", make_collection, look_at_collection),
    Foreign(
        "alias",
        "CollectionReady",
        "qdrant",
        lambda world, case: make_collection(world, case, case.names.alias),
        lambda world, case: look_at_collection(world, case, case.names.alias),
    ),
    Foreign("topic", "TopicReady", "kafka", make_topic, look_at_topic),
    Foreign("redis-user", "CacheReady", "redis", make_user, look_at_user),
    *(in_kubernetes(*each) for each in MANIFESTS),
]
HEALED = [
    Foreign(
        "healed-schema",
        "SchemaReady",
        "postgres",
        make_schema,
        look_at_schema,
        lambda world, case: world.sql(f"drop schema {case.names.schema} cascade"),
    ),
    Foreign(
        "healed-topic",
        "TopicReady",
        "kafka",
        make_topic,
        look_at_topic,
        lambda world, case: world.kafka.delete(case.names.topic("ingest")),
    ),
]


@pytest.fixture(scope="module")
def world(kube: Kube, backends) -> World:
    return World(kube, backends)


@pytest.fixture(scope="module")
def place(kube: Kube, operator) -> Iterator[str]:
    with kubernetes_namespace(kube, "foreign") as name:
        yield name


@pytest.fixture(scope="module")
def occupied(world: World, backends, place) -> Iterator[dict[str, tuple[Case, Any]]]:
    """Every row as a case, with what was to be seen of the foreign object before; all applied at once."""
    found = {}
    for row in [*HEALED, *ROWS]:
        case = new_case(world.kube, place, row.name, backends, row.part)
        row.make(world, case)
        found[row.name] = case, row.look(world, case)
    for case, _ in found.values():
        case.apply(deletion=DELETE)
    yield found
    remove_clusters(world.kube, [case for case, _ in found.values()])


@pytest.mark.parametrize("row", HEALED, ids=lambda row: row.name)
def test_what_is_removed_by_its_owner_makes_room(occupied, world, row):
    """Begun here, seen below: it takes its time."""
    case, _ = occupied[row.name]
    case.wait(row.condition, "False", reason="ForeignObject")
    row.remove(world, case)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_foreign_object_is_named_and_left_alone(occupied, world, row):
    case, before = occupied[row.name]

    told = case.wait(row.condition, "False", reason="ForeignObject")

    assert case.name in told["message"] or case.names.schema in told["message"]
    case.wait("Ready", "False", reason="ForeignObject")
    assert row.look(world, case) == before
    assert case.child("Deployment") is None or row.part != "postgres" or row.name == "deployment-api"


@pytest.mark.parametrize("row", HEALED, ids=lambda row: row.name)
def test_the_room_is_used(occupied, row):
    case, _ = occupied[row.name]
    case.wait(seconds=HEAL_SECONDS)


@pytest.fixture(scope="module")
def deleted(occupied) -> dict[str, tuple[Case, Any]]:
    """The cases, of which every MemoryNamespace is being deleted."""
    for case, _ in occupied.values():
        case.delete()
    return occupied


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_deletion_removes_its_own_and_leaves_the_foreign_object(deleted, world, row):
    case, before = deleted[row.name]

    case.wait_gone()

    assert row.look(world, case) == before
    names = case.names
    schemas = world.sql(f"select from pg_namespace where nspname = '{names.schema}'")
    roles = world.sql(f"select from pg_roles where rolname like '{names.schema}\\_%'")
    assert (bool(schemas), len(roles)) == (row.name == "schema", int(row.name == "role"))
    collections = {each["name"] for each in world.qdrant("GET", "/collections")["collections"]}
    expected = {"collection": {names.collection}, "alias": {names.alias}}.get(row.name, set())
    assert {each for each in collections if each.startswith(names.stem)} == expected
    topics = {names.topic("ingest")} if row.name == "topic" else set()
    assert set(world.kafka.partitions(names.stem)) == topics
    claims = world.sql(f"select from memory_operator.tenants where tenant = '{names.qualified}'")
    assert claims == []
